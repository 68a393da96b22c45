"""The embedding run: only what is new or changed is embedded, and a crash costs one chunk.

The new texts and the vectors of the version before are both sorted by pid. Each chunk takes over
the vectors of items whose text is unchanged, bit for bit, from that version or from what an
unfinished run staged, and embeds the rest.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.hashes import vector_hashes
from sid_assets.core.arrow.vectors import require_unit_vectors, vector_array, vectors_of
from sid_assets.core.embedders import Embedded, Embedder
from sid_assets.core.embedders.canary import check_canary, probe
from sid_assets.core.embeddings.adopt import Adopted, VectorFiles, adopt
from sid_assets.core.embeddings.plan import Plan, embedded_again, make_plan, measure_speed
from sid_assets.core.embeddings.proof import check_adopted
from sid_assets.core.embeddings.sources import VectorSources, unfinished_runs
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.refresh import (
    Changes,
    RefreshPolicy,
    require_same_generation,
    require_small_change,
)
from sid_assets.core.schema import EMBEDDING_DIM, HASH, HASH_BYTES
from sid_assets.core.store.chunks import Chunk, SortedParts, run_chunks
from sid_assets.core.store.parts import VECTOR_ROW_GROUP, Part
from sid_assets.core.store.provenance import Provenance, derive
from sid_assets.core.store.versions import StagedTable, Staging, Store, Version

CHUNK_SECONDS = 120.0
"""How long the embedding of a chunk should take: what a crash costs."""

CHUNK_ROWS = 8192
"""The most rows of a chunk, however little is to be embedded: 128 MB of vectors. The embedder gets
all its texts at once, to sort them by length."""

CHUNK_CHARACTERS = 50_000_000
"""The most characters of a chunk, whose texts are in memory at once."""

COMPARED_ROWS = 16_384


@dataclass
class Progress:
    """How far a run is; `rows` grows to `total_rows`.

    Attributes:
        total_rows: Items of the table.
        rows: Items done, one way or another.
        embedded: Items that were embedded by this run.
        reused: Items whose vector was taken over from the store.
        adopted: Items whose vector was taken over from files that somebody else made.
        resumed: Items in parts that an unfinished run of the same work had done.
        tokens: Tokens computed by this run.
        padded_tokens: The same with padding.
        truncated: Texts that were cut, those of resumed parts included.
        seconds: Time spent embedding.
        started: When the first chunk was begun, by the monotonic clock.
    """

    total_rows: int
    rows: int = 0
    embedded: int = 0
    reused: int = 0
    adopted: int = 0
    resumed: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    truncated: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def add(self, chunk: Chunk, summary: "ChunkSummary", resumed: bool) -> None:
        """Count a chunk, which an earlier run may have done."""
        self.rows += chunk.rows
        self.truncated += summary.truncated
        if resumed:
            self.resumed += chunk.rows
            return
        self.embedded += summary.embedded
        self.adopted += summary.adopted
        self.reused += chunk.rows - summary.embedded - summary.adopted
        self.tokens += summary.tokens
        self.padded_tokens += summary.padded_tokens
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


@dataclass
class ChunkSummary:
    """What a chunk took, complete when its rows are used up.

    Attributes:
        embedded: Items that were embedded; the others' vectors were taken over.
        adopted: Items whose vectors were taken over from files that somebody else made.
        tokens: Tokens computed.
        padded_tokens: The same with padding.
        truncated: Texts that were cut.
        seconds: Time spent embedding.
        damage: What could not be read of the sources, in words; its items were embedded.
    """

    embedded: int = 0
    adopted: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    truncated: int = 0
    seconds: float = 0.0
    damage: list[str] = field(default_factory=list)


def embed_items(
    store: Store,
    table: str,
    texts: Version,
    embedder: Embedder,
    policy: RefreshPolicy,
    log: Callable[[str], None],
    on_progress: Callable[[Progress], None],
    files: VectorFiles | None = None,
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
        files: Vectors of the same space that exist already, for items that have none yet.

    Raises:
        InputError: The refresh would do what the policy forbids, the embedder does not give the
            vectors it gave, or the files are not as they have to be.
        StoreError: Another run is at it, or the disk is full.
    """
    if not texts.rows:
        raise InputError(f"{texts.folder}: has no items; there is nothing to embed.")
    # Whoever looks at what is there must be the only one who can change it.
    lock = store.lock(table)
    try:
        plan, run = _prepare(store, table, texts, embedder, policy, _once(log), files)
        parts, progress = run.embed(on_progress)
    except BaseException:
        if lock:
            lock.release()
        raise
    staging = replace(run.staging, lock=lock)
    return StagedTable(staging, parts, run.provenance), plan.changes, progress


def _prepare(
    store: Store,
    table: str,
    texts: Version,
    embedder: Embedder,
    policy: RefreshPolicy,
    log: Callable[[str], None],
    files: VectorFiles | None,
) -> tuple[Plan, "_Run"]:
    """See what is to be done and whether it may be done; have a place for it."""
    rows = texts.stream(["pid", "text", "text_hash"], COMPARED_ROWS)
    plan = make_plan(store, table, rows, embedder, files=files, log=log)
    require_same_generation(plan.afresh, policy)
    require_small_change(plan.changes, policy, plan.describe())
    if plan.afresh or not plan.fits_disk:
        log(plan.describe())
    before = None if plan.afresh else store.current(table)
    adopted = None
    if files and plan.wanted and plan.adopted:
        adopted = adopt(store, table, texts, files, plan.wanted, log)
    unfinished = unfinished_runs(store, table, embedder.space, texts.pid_type)
    proven = ProvenEmbedder(embedder, _canary(before, unfinished))
    if plan.texts:
        proven.prove()
        if vouched := _vouched(before, adopted):
            check_adopted(vouched, SortedParts.of(texts), embedder, log)
    lasting = VectorSources.of(before, [], adopted)
    staging = _stage(store, table, texts, plan, proven, lasting, adopted)
    others = [run for run in unfinished if run.folder != staging.folder]
    sources = VectorSources.of(before, others, adopted)
    details = {"canary": staging.state["canary"], "adopted": plan.adopted}
    provenance = derive(table, texts.provenance, space=embedder.space, details=details)
    return plan, _Run(staging, texts, sources, proven, provenance, log)


@dataclass(frozen=True)
class _Run:
    """A run that has seen that it may begin.

    Attributes:
        staging: Where its parts go. The caller holds the lock.
        texts: What to embed.
        sources: Where vectors are taken over from.
        embedder: Embeds the rest.
        provenance: Of what it makes.
        log: Takes warnings, in words.
    """

    staging: Staging
    texts: Version
    sources: VectorSources
    embedder: "ProvenEmbedder"
    provenance: Provenance
    log: Callable[[str], None]

    def embed(self, on_progress: Callable[[Progress], None]) -> tuple[tuple[Part, ...], Progress]:
        """Do all chunks that are not done yet."""
        progress = Progress(total_rows=self.texts.rows)

        def on_done(chunk: Chunk, summary: ChunkSummary, resumed: bool) -> None:
            progress.add(chunk, summary, resumed)
            for damage in () if resumed else summary.damage:
                self.log(damage)
            on_progress(progress)

        parts = run_chunks(
            self.staging,
            [Chunk(number, *chunk) for number, chunk in enumerate(self.staging.state["chunks"])],
            self.provenance.attach(schema.item_embeddings(self.texts.pid_type)),
            ChunkEmbedder(SortedParts.of(self.texts), self.sources, self.embedder),
            on_done,
            ChunkSummary,
        )
        return parts, progress


def _once(log: Callable[[str], None]) -> Callable[[str], None]:
    """The log, which is told the same thing once."""
    told: set[str] = set()

    def tell(message: str) -> None:
        if message not in told:
            told.add(message)
            log(message)

    return tell


def _stage(
    store: Store,
    table: str,
    texts: Version,
    plan: Plan,
    embedder: "ProvenEmbedder",
    lasting: VectorSources,
    adopted: Adopted | None,
) -> Staging:
    """A folder for these texts and this embedding space: that of an unfinished run, or a new one.

    How the chunks are cut is kept with it, so that the next run finds its parts again, whatever
    became of the sources. What unfinished runs left does not count for the cut.
    """
    space = embedder.embedder.space
    return store.stage(
        table,
        key=f"{texts.provenance.version}-{space.digest}{f'-{adopted.key}' if adopted else ''}",
        make_state=lambda: {
            "texts": texts.provenance.version,
            "space": space.digest,
            "pid_type": texts.pid_type,
            "chunks": [
                [chunk.rows, chunk.first_pid, chunk.last_pid]
                for chunk in cut_chunks(texts, lasting, _characters_per_chunk(plan, embedder))
            ],
            "canary": embedder.canary,
        },
        locked=True,
    )


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


def _canary(before: Version | None, unfinished: list[Staging]) -> dict[str, Any] | None:
    """What the embedder gave for the probe texts when the vectors that are there were made.

    A version all of whose vectors were adopted has none, nor has a run that had yet to embed.
    """
    known = [before.provenance.details.get("canary")] if before else []
    known += [run.state["canary"] for run in unfinished]
    return next((canary for canary in known if canary), None)


def _vouched(before: Version | None, adopted: Adopted | None) -> SortedParts | None:
    """Adopted vectors that were never compared with the embedder's: somebody vouches for them."""
    if adopted:
        return adopted.sorted_parts
    if before and not before.provenance.details.get("canary"):
        return SortedParts.of(before)  # all of it was adopted, and nothing embedded since
    return None


def _characters_per_chunk(plan: Plan, embedder: ProvenEmbedder) -> float:
    """How much to embed for a chunk. Where there is nothing to embed, no weights are loaded."""
    if not plan.sample:
        return CHUNK_CHARACTERS
    few = plan.sample[: max(1, plan.texts // 100)]  # they are embedded twice
    return measure_speed(embedder.embed, few) * CHUNK_SECONDS


def cut_chunks(texts: Version, lasting: VectorSources, characters_per_chunk: float) -> list[Chunk]:
    """Cut the texts into ranges of pids by work: by the characters of texts to embed."""
    columns = ["pid", "text", "text_hash"]
    chunks: list[Chunk] = []
    rows = characters = work = 0
    first_pid = last_pid = None
    stream = texts.stream(columns, COMPARED_ROWS)
    for batch in lasting.beside(stream, ["text_hash"], on_damage=lambda damage: None):
        lengths = pc.utf8_length(batch["text"]).to_numpy()
        to_embed = np.where(lasting.same_text(batch).any(axis=0), 0, lengths)
        for pid, length, new in zip(
            batch["pid"].to_pylist(), lengths.tolist(), to_embed.tolist(), strict=True
        ):
            if rows and (
                rows == CHUNK_ROWS
                or work + new > characters_per_chunk
                or characters + length > CHUNK_CHARACTERS
            ):
                chunks.append(Chunk(len(chunks), rows, first_pid, last_pid))
                rows = characters = work = 0
            first_pid = pid if rows == 0 else first_pid
            last_pid, rows = pid, rows + 1
            characters, work = characters + length, work + new
    return [*chunks, Chunk(len(chunks), rows, first_pid, last_pid)]


@dataclass(frozen=True)
class ChunkEmbedder:
    """The worker: the rows of `item_embeddings` for a chunk of `item_texts`.

    It can be pickled as long as the embedder is not loaded, so another process can run it.

    Attributes:
        texts: The new texts.
        sources: Where vectors of the same embedding space are taken over from.
        embedder: Embeds the rest.
    """

    texts: SortedParts
    sources: VectorSources
    embedder: ProvenEmbedder

    def __call__(self, chunk: Chunk) -> tuple[Iterator[pa.RecordBatch], ChunkSummary]:
        """Take over and embed the vectors of a chunk."""
        summary = ChunkSummary()
        return self._rows(chunk, summary), summary

    def _rows(self, chunk: Chunk, summary: ChunkSummary) -> Iterator[pa.RecordBatch]:
        texts = self._texts(chunk)
        yield from self._fill(texts, self._missing(texts, summary), summary)

    def _texts(self, chunk: Chunk) -> pa.RecordBatch:
        def fail(damage: StoreError) -> None:
            raise StoreError(f"{damage} Materialise item_texts again.") from damage

        columns = ["pid", "text", "text_hash"]
        rows = self.texts.between(chunk.first_pid, chunk.last_pid, columns, on_damage=fail)
        return pa.Table.from_batches(rows).combine_chunks().to_batches()[0]

    def _missing(self, texts: pa.RecordBatch, summary: ChunkSummary) -> np.ndarray:
        """Which texts no source has the vector of: bool, shape (n,)."""
        rows = self._beside(texts, ["text_hash"], summary)
        return np.concatenate([~self.sources.same_text(block).any(axis=0) for block in rows])

    def _beside(
        self, texts: pa.RecordBatch, columns: list[str], summary: ChunkSummary
    ) -> Iterator[pa.RecordBatch]:
        """Texts in blocks, with what the sources have of them beside them."""
        starts = range(0, texts.num_rows, VECTOR_ROW_GROUP)
        return self.sources.beside(
            (texts.slice(start, VECTOR_ROW_GROUP) for start in starts),
            columns,
            on_damage=lambda damage: summary.damage.append(embedded_again(damage)),
            pids=(texts["pid"][0].as_py(), texts["pid"][-1].as_py()),
        )

    def _fill(
        self, texts: pa.RecordBatch, missing: np.ndarray, summary: ChunkSummary
    ) -> Iterator[pa.RecordBatch]:
        """The rows for texts, given which are to be embedded: bool, shape (n,)."""
        fresh = self._embed(texts.filter(pa.array(missing)), summary)
        row = used = 0
        for block in self._beside(texts, ["text_hash", "embedding", "vector_hash"], summary):
            vectors = _Vectors.empty(block.num_rows)
            lacking = self._take_over(block, vectors, summary)
            wanted = missing[row : row + block.num_rows]
            count = int(wanted.sum())
            vectors.put(wanted, fresh.vectors[used : used + count], fresh.hashes[used:][:count])
            row, used = row + block.num_rows, used + count
            lost = lacking & ~wanted  # by damage that shows only now that vectors are read
            if lost.any():
                again = self._embed(block.filter(pa.array(lost)), summary)
                vectors.put(lost, again.vectors, again.hashes)
            yield vectors.rows(block)

    def _take_over(
        self, block: pa.RecordBatch, vectors: "_Vectors", summary: ChunkSummary
    ) -> np.ndarray:
        """Fill in the vectors that a source has. Returns which rows none has: bool, shape (n,)."""
        lacking = np.ones(block.num_rows, bool)
        for number, same in enumerate(self.sources.same_text(block)):
            rows = same & lacking
            chosen = pa.array(rows)
            vectors.put(
                rows,
                vectors_of(block[f"embedding_{number}"].filter(chosen)),
                _raw(block[f"vector_hash_{number}"].filter(chosen)),
            )
            lacking &= ~rows
            if self.sources.has_adopted and number == self.sources.has_before:
                summary.adopted += int(rows.sum())
        return lacking

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


@dataclass(frozen=True)
class _Vectors:
    """Vectors, float32 (n, 4096), and their hashes, raw bytes (n,)."""

    vectors: np.ndarray
    hashes: np.ndarray

    @classmethod
    def empty(cls, rows: int) -> "_Vectors":
        return cls(np.empty((rows, EMBEDDING_DIM), np.float32), np.empty(rows, f"V{HASH_BYTES}"))

    def put(self, rows: np.ndarray, vectors: np.ndarray, hashes: np.ndarray) -> None:
        """Set those of some rows: bool, shape (n,)."""
        self.vectors[rows] = vectors
        self.hashes[rows] = hashes

    def rows(self, texts: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of `item_embeddings`, given those of `item_texts`."""
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
