"""The worker of the embedding run: it makes the rows of a chunk, as decided by the survey."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from sid_assets.core.arrow.hashes import vector_hashes
from sid_assets.core.arrow.vectors import require_unit_vectors, vector_array, vectors_of
from sid_assets.core.embeddings.proof import ProvenEmbedder
from sid_assets.core.embeddings.sources import EMBED, Source, beside
from sid_assets.core.embeddings.survey import decide, embedded_again
from sid_assets.core.errors import StoreError
from sid_assets.core.schema import EMBEDDING_DIM, HASH, HASH_BYTES
from sid_assets.core.store.chunks import Chunk, Say
from sid_assets.core.store.parts import VECTOR_ROW_GROUP, Part
from sid_assets.core.store.pid_ranges import DamageError, OnDamage, SortedParts
from sid_assets.core.store.sharing import PartSharer


@dataclass
class ChunkSummary:
    """The work done for a chunk; complete when all its rows have been consumed.

    Attributes:
        embedded: Items that were embedded; the other vectors come from a source.
        adopted: Items whose vectors were adopted from files.
        tokens: Tokens computed.
        padded_tokens: The same, including padding.
        truncated: Texts that were truncated.
        seconds: Time spent embedding.
        damage: Messages about what could not be read; the affected items were decided again.
    """

    embedded: int = 0
    adopted: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    truncated: int = 0
    seconds: float = 0.0
    damage: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class ItemChunk(Chunk):
    """A chunk of items, and where their vectors come from.

    Attributes:
        origins: The source of each item, or `EMBED`: int16, shape (rows,).
        is_unchanged: Whether all are reused from the previous version.
    """

    origins: np.ndarray
    is_unchanged: bool


@dataclass(frozen=True)
class ChunkEmbedder:
    """The worker: the rows of `item_embeddings` for a chunk of `item_texts`.

    It can be pickled before the embedder is loaded, so another process can run it.

    Attributes:
        texts: The new texts.
        sources: Where vectors are reused from.
        embedder: Embeds the rest.
        sharer: Shares parts with the previous version; None if its vectors cannot be reused.
    """

    texts: SortedParts
    sources: tuple[Source, ...]
    embedder: ProvenEmbedder
    sharer: PartSharer | None

    def __call__(self, chunk: ItemChunk, say: Say) -> tuple[Iterator[pa.RecordBatch], ChunkSummary]:
        """Reuse or embed the vectors of a chunk."""
        summary = ChunkSummary()
        return self._rows(chunk, summary), summary

    def share(self, chunk: ItemChunk, name: str, say: Say) -> tuple[Part, ChunkSummary] | None:
        """Share the part of the previous version with the rows of a chunk, if there is one.

        All rows are reused from that version, and the part has as many in the same range of pids:
        it has these rows and no others.
        """
        if self.sharer is None or not chunk.is_unchanged:
            return None
        part = self.sharer.part_of(chunk, say)
        return (self.sharer.share(part, name, say), ChunkSummary()) if part else None

    def _rows(self, chunk: ItemChunk, summary: ChunkSummary) -> Iterator[pa.RecordBatch]:
        texts = self._texts(chunk)
        origins = self._without_emptied(texts, chunk.origins, summary)
        # All at once: the embedder sorts them by length.
        fresh = self._embed(texts.filter(pa.array(origins == EMBED)), summary)
        asked = _asked(origins)
        row = used = 0
        for block in self._with_vectors(texts, asked, summary):
            here = origins[row : row + block.num_rows]
            count = int((here == EMBED).sum())
            vectors = _Vectors.empty(block.num_rows)
            vectors.put(here == EMBED, fresh.slice(used, count))
            self._take(block, here, asked, vectors, summary)
            yield vectors.rows(block)
            row, used = row + block.num_rows, used + count

    def _texts(self, chunk: Chunk) -> pa.RecordBatch:
        def fail(damage: StoreError) -> None:
            raise StoreError(f"{damage} Materialise item_texts again.") from damage

        columns = ["pid", "text", "text_hash"]
        rows = self.texts.between(chunk.first_pid, chunk.last_pid, columns, on_damage=fail)
        return pa.Table.from_batches(rows).combine_chunks().to_batches()[0]

    def _without_emptied(
        self, texts: pa.RecordBatch, origins: np.ndarray, summary: ChunkSummary
    ) -> np.ndarray:
        """The origins, with items decided again if their source was emptied since the survey.

        This run's own draft is always emptied: its parts were either resumed or are damaged.
        """
        emptied = np.array([*(source.parts.rows == 0 for source in self.sources), False])
        lost = emptied[origins]
        if lost.any():
            origins = origins.copy()
            origins[lost] = self._decide(texts.filter(pa.array(lost)), origins[lost], summary)
        return origins

    def _decide(
        self, texts: pa.RecordBatch, after: np.ndarray, summary: ChunkSummary
    ) -> np.ndarray:
        return decide(texts, self.sources, after, _noted_in(summary))

    def _with_vectors(
        self, texts: pa.RecordBatch, asked: list[int], summary: ChunkSummary
    ) -> Iterator[pa.RecordBatch]:
        """Texts in blocks, joined with the vectors of the given sources."""
        starts = range(0, texts.num_rows, VECTOR_ROW_GROUP)
        return beside(
            (texts.slice(start, VECTOR_ROW_GROUP) for start in starts),
            [self.sources[number] for number in asked],
            ["embedding", "vector_hash"],
            _noted_in(summary),
            (texts["pid"][0].as_py(), texts["pid"][-1].as_py()),
        )

    def _take(
        self,
        block: pa.RecordBatch,
        origins: np.ndarray,
        asked: list[int],
        vectors: "_Vectors",
        summary: ChunkSummary,
    ) -> None:
        """Fill in the vectors of a block of `_with_vectors` that come from sources."""
        lost = np.zeros(block.num_rows, bool)
        for place, number in enumerate(asked):
            found, hashes = block[f"embedding_{place}"], block[f"vector_hash_{place}"]
            there = (origins == number) & found.is_valid().to_numpy(zero_copy_only=False)
            chosen = pa.array(there)
            taken = _Vectors(vectors_of(found.filter(chosen)), _raw(hashes.filter(chosen)))
            vectors.put(there, taken)
            lost |= (origins == number) & ~there
            if self.sources[number].kind == "adopted":
                summary.adopted += int(there.sum())
        if lost.any():  # through damage that shows only when vectors are read
            texts = block.filter(pa.array(lost)).select(["pid", "text", "text_hash"])
            vectors.put(lost, self._again(texts, origins[lost], summary))

    def _again(
        self, texts: pa.RecordBatch, failed: np.ndarray, summary: ChunkSummary
    ) -> "_Vectors":
        """The vectors of a few texts whose source failed: from a later source, or embedded."""
        origins = self._decide(texts, failed, summary)
        vectors = _Vectors.empty(texts.num_rows)
        to_embed = origins == EMBED
        vectors.put(to_embed, self._embed(texts.filter(pa.array(to_embed)), summary))
        asked = _asked(origins)
        (block,) = self._with_vectors(texts, asked, summary)
        self._take(block, origins, asked, vectors, summary)
        return vectors

    def _embed(self, texts: pa.RecordBatch, summary: ChunkSummary) -> "_Vectors":
        if not texts.num_rows:
            return _Vectors.empty(0)
        self.embedder.prove()  # which loads the weights
        started = time.perf_counter()
        embedded = self.embedder.embed(texts["text"].to_pylist())
        summary.seconds += time.perf_counter() - started
        require_unit_vectors(embedded.vectors, texts["pid"], self.embedder.embedder.space.model)
        summary.embedded += texts.num_rows
        summary.tokens += embedded.tokens
        summary.padded_tokens += embedded.padded_tokens
        summary.truncated += embedded.truncated
        return _Vectors(embedded.vectors, _raw(vector_hashes(embedded.vectors)))


def _asked(origins: np.ndarray) -> list[int]:
    """The sources that at least one item uses."""
    return np.unique(origins[origins != EMBED]).tolist()


def _noted_in(summary: ChunkSummary) -> OnDamage:
    def note(damage: DamageError) -> None:
        summary.damage.append(embedded_again(damage))

    return note


@dataclass(frozen=True)
class _Vectors:
    """Vectors, float32 (n, 4096), and their hashes, raw bytes (n,)."""

    vectors: np.ndarray
    hashes: np.ndarray

    @classmethod
    def empty(cls, rows: int) -> "_Vectors":
        return cls(np.empty((rows, EMBEDDING_DIM), np.float32), np.empty(rows, f"V{HASH_BYTES}"))

    def slice(self, start: int, rows: int) -> "_Vectors":
        return _Vectors(self.vectors[start : start + rows], self.hashes[start : start + rows])

    def put(self, rows: np.ndarray, others: "_Vectors") -> None:
        """Set the vectors and hashes of some rows: bool, shape (n,)."""
        self.vectors[rows] = others.vectors
        self.hashes[rows] = others.hashes

    def rows(self, texts: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of `item_embeddings` for these rows of `item_texts`."""
        hashes = pa.py_buffer(self.hashes)
        return pa.RecordBatch.from_pydict(
            {
                "pid": texts["pid"],
                "embedding": vector_array(self.vectors),
                "text_hash": texts["text_hash"],
                "vector_hash": pa.Array.from_buffers(HASH, len(self.hashes), [None, hashes]),
            }
        )


def _raw(hashes: pa.Array) -> np.ndarray:
    """Hashes as raw bytes of fixed length, shape (n,)."""
    return np.frombuffer(b"".join(hashes.to_pylist()), f"V{HASH_BYTES}")
