"""Proof, before the first item, that the embedder gives the vectors that are there.

The canary compares what it gives for a few probe texts with what it gave. What made adopted
vectors is declared, and nothing in a vector tells: the first run that embeds something embeds a
few of their items again and compares.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.embedders import Embedded, Embedder
from sid_assets.core.embedders.canary import SAME_COSINE, check_canary, probe
from sid_assets.core.errors import InputError
from sid_assets.core.schema import Pid
from sid_assets.core.store.chunks import DamageError, SortedParts

COMPARED_ITEMS = 8


@dataclass
class ProvenEmbedder:
    """An embedder that proves, before its first text, that it gives the vectors it gave.

    Attributes:
        embedder: The embedder.
        canary: What it gave for the probe texts when the vectors that are taken over were made.
            Where there are none yet, what it gives now; None until it is first used.
    """

    embedder: Embedder
    canary: dict[str, Any] | None
    _proven: bool = False

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed a chunk of texts.

        Raises:
            InputError: Its vectors are no longer those that it gave.
        """
        self.prove()
        return self.embedder.embed(texts)

    def prove(self) -> None:
        """Compare the vectors of the probe texts, once.

        Raises:
            InputError: Its vectors are no longer those that it gave.
        """
        if self._proven:
            return
        now = probe(self.embedder)
        if self.canary is not None:
            check_canary(self.canary, now)
        if self.canary is None or self.canary["texts"] != now["texts"]:
            self.canary = now  # of the probe texts of today, which cannot be compared
        self._proven = True


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
