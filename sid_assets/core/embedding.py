"""The embedding run: only what is new or changed is embedded, and a crash costs one chunk.

The new texts and the vectors of the version before are both sorted by pid. Each chunk takes over
the vectors of items whose text is unchanged, bit for bit, from that version or from what an
unfinished run staged, and embeds the rest.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.chunks import Chunk, SortedParts, finished_parts, run_chunks
from sid_assets.core.embedders import Embedder
from sid_assets.core.embedders.canary import check_canary, probe
from sid_assets.core.hashing import vector_hashes
from sid_assets.core.provenance import derive
from sid_assets.core.refresh import (
    Changes,
    RefreshPolicy,
    require_same_space,
    require_small_change,
)
from sid_assets.core.schema import EMBEDDING_DIM, HASH, HASH_BYTES
from sid_assets.core.sorted_join import joined
from sid_assets.core.vectors import require_unit_vectors, vector_array, vectors_of
from sid_assets.core.versions import StagedTable, Store, Version

CHUNK_SECONDS = 120.0
"""How long a chunk should take: what a crash costs."""

CHUNK_ROWS = 4096
"""The most rows of a chunk, however fast the device: 64 MB of vectors."""

COMPARED_ROWS = 65_536
CALIBRATION_SECONDS = 2.0
CALIBRATION_TEXTS = 64


@dataclass
class Progress:
    """How far a run is; `rows` grows to `total_rows`.

    Attributes:
        total_rows: Items of the table.
        rows: Items done, one way or another.
        embedded: Items that were embedded by this run.
        reused: Items whose vector was taken over.
        resumed: Items in parts that an unfinished run of the same work had done.
        tokens: Tokens computed.
        padded_tokens: The same with padding.
        truncated: Texts that were cut.
        seconds: Time spent embedding.
        started: When the run started, by the monotonic clock.
    """

    total_rows: int
    rows: int = 0
    embedded: int = 0
    reused: int = 0
    resumed: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    truncated: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def add(self, chunk: Chunk, summary: "ChunkSummary | None") -> None:
        """Count a chunk; without a summary an earlier run had done it."""
        self.rows += chunk.rows
        if summary is None:
            self.resumed += chunk.rows
            return
        self.embedded += summary.embedded
        self.reused += summary.reused
        self.tokens += summary.tokens
        self.padded_tokens += summary.padded_tokens
        self.truncated += summary.truncated
        self.seconds += summary.seconds

    def describe(self) -> str:
        """One line for the log: items done, speed and time left."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        done = self.rows - self.resumed
        left = (self.total_rows - self.rows) * elapsed / done if done else 0.0
        return (
            f"{self.rows:,} of {self.total_rows:,} items, {done / elapsed:,.0f} items/s, "
            f"{self.tokens / max(self.seconds, 1e-9):,.0f} tokens/s, about {left / 60:,.1f} "
            "minutes left"
        )


def embed_items(
    store: Store,
    table: str,
    texts: Version,
    embedder: Embedder,
    policy: RefreshPolicy,
    log: Callable[[str], None],
    on_progress: Callable[[Progress], None],
) -> tuple[StagedTable, Changes, Progress]:
    """Make the version of `item_embeddings` for these texts, and leave its commit to the caller.

    Args:
        store: Where the tables are.
        table: Asset key of `item_embeddings`.
        texts: The version of `item_texts`.
        embedder: Embeds what cannot be taken over.
        policy: What the refresh may do.
        log: Takes warnings, in words.
        on_progress: Told after every chunk.

    Raises:
        InputError: The refresh would do what the policy forbids, or the embedder does not give
            the vectors it gave.
        StoreError: Another run is at it, or the disk is full.
    """
    before = store.current(table)
    space = embedder.space
    if not require_same_space(before, space, policy):
        before = None
    changes = find_changes(texts, before)
    require_small_change(changes, policy)
    work_left = bool(changes.new + changes.changed)
    canary = _canary(before, embedder, work_left)
    staging = store.stage(
        table,
        key=f"{texts.provenance.version}-{space.digest}",
        make_state=lambda: {
            "space": space.digest,
            "characters_per_chunk": _characters_per_chunk(texts, embedder, work_left),
        },
    )
    try:
        sources = [SortedParts.of(before)] if before else []
        sources += [
            SortedParts(other.folder, finished_parts(other))
            for other in store.unfinished(table)
            if other.folder != staging.folder and other.state.get("space") == space.digest
        ]
        provenance = derive(table, texts.provenance, space=space, details={"canary": canary})
        progress = Progress(total_rows=texts.rows)

        def on_done(chunk: Chunk, summary: ChunkSummary | None) -> None:
            progress.add(chunk, summary)
            on_progress(progress)

        parts = run_chunks(
            staging,
            cut_chunks(texts, staging.state["characters_per_chunk"]),
            provenance.attach(schema.item_embeddings(schema.pid_type_of(texts.schema()))),
            ChunkEmbedder(
                texts, tuple(sources), embedder, lambda error: log(f"{error} Embedding again.")
            ),
            on_done,
        )
    except BaseException:
        staging.close()
        raise
    return StagedTable(staging, parts, provenance), changes, progress


def _canary(before: Version | None, embedder: Embedder, work_left: bool) -> Any:
    """The probe vectors to store with the table, once they are seen to be what they were.

    Where nothing is to be embedded the weights are not loaded only to look.
    """
    stored = before.provenance.details.get("canary") if before else None
    if not work_left:
        return stored
    now = probe(embedder)
    if stored is None:
        return now
    check_canary(stored, now)
    return stored


def _characters_per_chunk(texts: Version, embedder: Embedder, work_left: bool) -> float:
    if not work_left:
        return math.inf
    sample = next(iter(texts.stream(["text"], batch_rows=CALIBRATION_TEXTS)))
    speed = measure_speed(embedder, sample.column("text").to_pylist())
    return speed * CHUNK_SECONDS


def find_changes(texts: Version, before: Version | None) -> Changes:
    """Compare the new texts with the version of `item_embeddings` before, by pid and text hash."""
    if before is None:
        return Changes(new=texts.rows, changed=0, unchanged=0, removed=0)
    columns = ["pid", "text_hash"]
    earlier = (
        batch.rename_columns(["pid", "earlier_hash"])
        for batch in before.stream(columns, batch_rows=COMPARED_ROWS)
    )
    known = unchanged = 0
    earlier_hash = pa.schema([("earlier_hash", HASH)])
    for batch in joined(texts.stream(columns, batch_rows=COMPARED_ROWS), earlier, earlier_hash):
        hashes = batch.column("earlier_hash")
        known += batch.num_rows - hashes.null_count
        unchanged += pc.sum(pc.equal(batch.column("text_hash"), hashes)).as_py() or 0
    return Changes(
        new=texts.rows - known,
        changed=known - unchanged,
        unchanged=unchanged,
        removed=before.rows - known,
    )


def measure_speed(embedder: Embedder, texts: Sequence[str]) -> float:
    """Characters a second that the embedder does here, from a calibration of a few seconds.

    The first texts warm it up, so that loading weights does not count.
    """
    embedder.embed(texts[:1])
    characters, started, size = 0, time.perf_counter(), 1
    position = 0
    while position < len(texts) and time.perf_counter() - started < CALIBRATION_SECONDS:
        batch = texts[position : position + size]
        embedder.embed(batch)
        characters += sum(map(len, batch))
        position, size = position + size, size * 2
    return characters / max(time.perf_counter() - started, 1e-9)


def cut_chunks(texts: Version, characters_per_chunk: float) -> list[Chunk]:
    """Cut the texts into ranges of pids by work: by characters, and at most `CHUNK_ROWS` rows."""
    chunks: list[Chunk] = []
    rows, characters = 0, 0
    first_pid = last_pid = 0
    for batch in texts.stream(["pid", "text"], batch_rows=16_384):
        lengths = pc.utf8_length(batch.column("text")).to_pylist()
        for pid, length in zip(batch.column("pid").to_pylist(), lengths, strict=True):
            if rows and (rows == CHUNK_ROWS or characters + length > characters_per_chunk):
                chunks.append(Chunk(len(chunks), rows, first_pid, last_pid))
                rows, characters = 0, 0
            first_pid = pid if rows == 0 else first_pid
            last_pid, rows, characters = pid, rows + 1, characters + length
    return [*chunks, Chunk(len(chunks), rows, first_pid, last_pid)]


@dataclass(frozen=True)
class ChunkSummary:
    """What a chunk took: items embedded and taken over, and what embedding cost."""

    embedded: int
    reused: int
    tokens: int
    padded_tokens: int
    truncated: int
    seconds: float


@dataclass(frozen=True)
class ChunkEmbedder:
    """The worker: the rows of `item_embeddings` for a chunk of `item_texts`.

    It can be pickled as long as the embedder is not loaded, so another process can run it.

    Attributes:
        texts: The new texts.
        sources: Where vectors of the same embedding space are taken over from.
        embedder: Embeds the rest.
        on_damage: Told of parts of the sources that cannot be read; their items are embedded.
    """

    texts: Version
    sources: tuple[SortedParts, ...]
    embedder: Embedder
    on_damage: Callable[[Exception], None]

    def __call__(self, chunk: Chunk) -> tuple[pa.Table, ChunkSummary]:
        """Take over and embed the vectors of a chunk."""
        texts = self._read_texts(chunk)
        vectors = np.empty((texts.num_rows, EMBEDDING_DIM), np.float32)
        hashes = np.empty(texts.num_rows, f"V{HASH_BYTES}")
        missing = np.ones(texts.num_rows, bool)
        for source in self.sources:
            if missing.any():
                self._take_over(source, chunk, texts, vectors, hashes, missing)
        rows = np.flatnonzero(missing)
        summary = self._embed(texts, rows, vectors, hashes)
        columns = {
            "pid": texts.column("pid"),
            "embedding": vector_array(vectors),
            "text_hash": texts.column("text_hash"),
            "vector_hash": pa.FixedSizeBinaryArray.from_buffers(
                HASH, len(hashes), [None, pa.py_buffer(hashes)]
            ),
        }
        return pa.table(columns), summary

    def _read_texts(self, chunk: Chunk) -> pa.Table:
        def fail(error: Exception) -> None:
            raise error

        columns = ["pid", "text", "text_hash"]
        tables = SortedParts.of(self.texts).between(
            chunk.first_pid, chunk.last_pid, columns, on_damage=fail
        )
        return pa.concat_tables(tables).combine_chunks()

    def _take_over(
        self,
        source: SortedParts,
        chunk: Chunk,
        texts: pa.Table,
        vectors: np.ndarray,
        hashes: np.ndarray,
        missing: np.ndarray,
    ) -> None:
        """Fill in the vectors of items that the source has with the same text."""
        columns = ["pid", "embedding", "text_hash", "vector_hash"]
        for earlier in source.between(chunk.first_pid, chunk.last_pid, columns, self.on_damage):
            place = pc.index_in(earlier.column("pid"), value_set=texts.column("pid"))
            same = pc.equal(texts.column("text_hash").take(place), earlier.column("text_hash"))
            usable = pc.fill_null(same, False).to_numpy()
            usable[usable] = missing[place.filter(pa.array(usable)).to_numpy()]
            places = place.filter(pa.array(usable)).to_numpy()
            vectors[places] = vectors_of(earlier.column("embedding"))[usable]
            hashes[places] = _hashes_of(earlier.column("vector_hash"))[usable]
            missing[places] = False

    def _embed(
        self, texts: pa.Table, rows: np.ndarray, vectors: np.ndarray, hashes: np.ndarray
    ) -> ChunkSummary:
        reused = texts.num_rows - rows.size
        if not rows.size:
            return ChunkSummary(0, reused, 0, 0, 0, 0.0)
        started = time.perf_counter()
        wanted = texts.take(rows)
        embedded = self.embedder.embed(wanted.column("text").to_pylist())
        seconds = time.perf_counter() - started
        require_unit_vectors(
            embedded.vectors, wanted.column("pid").combine_chunks(), self.embedder.space.model
        )
        vectors[rows] = embedded.vectors
        hashes[rows] = _hashes_of(vector_hashes(embedded.vectors))
        return ChunkSummary(
            embedded=rows.size,
            reused=reused,
            tokens=embedded.tokens,
            padded_tokens=embedded.padded_tokens,
            truncated=embedded.truncated,
            seconds=seconds,
        )


def _hashes_of(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A column of hashes as raw bytes of fixed length, shape (n,)."""
    values = column.to_pylist()
    return np.frombuffer(b"".join(values), f"V{HASH_BYTES}")
