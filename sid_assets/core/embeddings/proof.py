"""Proof, before the first item is embedded, that the embedder matches the existing vectors.

The canary compares the vectors of a few probe texts with those stored earlier. The embedder of
adopted vectors is only declared; a vector does not show what made it. So the first run that embeds
something embeds a few adopted items again and compares.
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
from sid_assets.core.store.pid_ranges import DamageError, SortedParts

COMPARED_ITEMS = 8


@dataclass
class ProvenEmbedder:
    """An embedder that proves, before its first text, that it still gives the same vectors.

    Attributes:
        embedder: The embedder.
        canary: The result of `probe` from the time when the reused vectors were made. If there are
            none yet, the result from now; None until first use.
    """

    embedder: Embedder
    canary: dict[str, Any] | None
    _proven: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process loads weights of its own, and proves them."""
        return ProvenEmbedder, (self.embedder, self.canary)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed a chunk of texts.

        Raises:
            InputError: The embedder no longer gives the same vectors.
        """
        self.prove()
        return self.embedder.embed(texts)

    def prove(self) -> None:
        """Compare the vectors of the probe texts, once.

        Raises:
            InputError: The embedder no longer gives the same vectors.
        """
        if self._proven:
            return
        now = probe(self.embedder)
        if self.canary is not None:
            check_canary(self.canary, now)
        if self.canary is None or self.canary["texts"] != now["texts"]:
            self.canary = now  # nothing stored, or for other probe texts
        self._proven = True


def check_adopted(
    vectors: SortedParts, texts: SortedParts, embedder: Embedder, log: Callable[[str], None]
) -> None:
    """Compare a few vectors, spread over the table, with those that their items' texts get now.

    A vector may be that of an older text of its item, so a few differences prove nothing. Eight
    differences out of eight do.

    Args:
        vectors: Rows of `item_embeddings` that were adopted.
        texts: Rows of `item_texts`.
        embedder: The embedder that is declared to have made the vectors.
        log: Receives a warning if some differ.

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
        f"The adopted vectors of {len(others)} of {len(rows)} compared items differ from those "
        f"that {embedder.space.model} gives for their texts (cosine, at least {SAME_COSINE} for "
        f"the same model: {', '.join(f'{pid}: {value:.3f}' for pid, value in others.items())})"
    )
    if len(others) < COMPARED_ITEMS:
        log(f"{found}. The texts may have changed since then; the vectors are kept.")
        return
    raise InputError(
        f"{found}. They were made by another model, pooling or prompt, or from other texts. Set "
        "the embedder or the text template to what made them. Or embed these items: unset "
        "SID_EMBEDDINGS and, if the vectors were adopted already, set another SID_DATA_DIR."
    )


def _pair_of(pid: Pid, vectors: SortedParts, texts: SortedParts) -> tuple[np.ndarray, str] | None:
    """An item's vector, float32 (1, 4096), and its text; None if the text has changed."""
    vector = _row(vectors, pid, ["pid", "embedding", "text_hash"])
    text = _row(texts, pid, ["pid", "text", "text_hash"])
    if vector is None or text is None or vector["text_hash"] != text["text_hash"]:
        return None
    return vectors_of(vector["embedding"]), text["text"][0].as_py()


def _row(table: SortedParts, pid: Pid, columns: list[str]) -> pa.RecordBatch | None:
    rows = table.between(pid, pid, columns, _pass_over)
    return next((row for row in rows if row.num_rows), None)


def _pass_over(damage: DamageError) -> None:
    """Skip what cannot be read. Code that needs it reports the damage."""
