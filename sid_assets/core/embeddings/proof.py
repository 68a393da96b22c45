"""Whether adopted vectors are those that the embedder gives: a few items are embedded again.

What made adopted vectors is declared, and nothing in a vector tells. So the first run that embeds
something anyway looks.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.embedders import Embedder
from sid_assets.core.embedders.canary import SAME_COSINE
from sid_assets.core.errors import InputError
from sid_assets.core.schema import Pid
from sid_assets.core.store.chunks import DamageError, SortedParts

COMPARED_ITEMS = 8


def check_adopted(
    vectors: SortedParts, texts: SortedParts, embedder: Embedder, log: Callable[[str], None]
) -> None:
    """Compare a few vectors, spread over the table, with what their items' texts get now.

    A vector may be that of an older text of its item, so a few that differ prove nothing; that all
    eight do, does.

    Args:
        vectors: Rows of `item_embeddings` that were adopted.
        texts: Rows of `item_texts`.
        embedder: What the vectors are declared to be of.
        log: Told of some that differ.

    Raises:
        InputError: All eight differ.
    """
    pids = vectors.spread_pids(COMPARED_ITEMS, _pass_over)
    rows = {pid: row for pid in pids if (row := _pair_of(pid, vectors, texts))}
    if not rows:
        return
    stored = np.concatenate([vector for vector, _ in rows.values()])
    now = embedder.embed([text for _, text in rows.values()]).vectors
    cosines = dict(zip(rows, (stored * now).sum(axis=1).tolist(), strict=True))
    others = {pid: cosine for pid, cosine in cosines.items() if cosine < SAME_COSINE}
    if not others:
        return
    found = (
        f"{len(others)} of {len(rows)} items compared have another adopted vector than "
        f"{embedder.space.model} gives their texts (cosine, of the same model at least "
        f"{SAME_COSINE}: {', '.join(f'{pid}: {value:.3f}' for pid, value in others.items())})"
    )
    if len(others) < COMPARED_ITEMS:
        log(f"{found}. Their texts may have changed since; such vectors are kept.")
        return
    raise InputError(
        f"{found}. They are of another model, pooling or prompt, or of other texts. Set the "
        "embedder, or the template of the texts, to what made them. Or embed these items: unset "
        "SID_EMBEDDINGS, and where they are adopted already, with another SID_DATA_DIR."
    )


def _pair_of(pid: Pid, vectors: SortedParts, texts: SortedParts) -> tuple[np.ndarray, str] | None:
    """An item's vector, float32 (1, 4096), and its text; None where that is another one now."""
    vector = _row(vectors, pid, ["pid", "embedding", "text_hash"])
    text = _row(texts, pid, ["pid", "text", "text_hash"])
    if vector is None or text is None or vector["text_hash"] != text["text_hash"]:
        return None
    return vectors_of(vector["embedding"]), text["text"][0].as_py()


def _row(table: SortedParts, pid: Pid, columns: list[str]) -> pa.RecordBatch | None:
    rows = table.between(pid, pid, columns, _pass_over)
    return next((row for row in rows if row.num_rows), None)


def _pass_over(damage: DamageError) -> None:
    """What cannot be read is not compared; whoever needs it says so."""
