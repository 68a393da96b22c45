"""The quantising run, which reuses codes where the vector and the tokenizer are unchanged."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from sid_assets.core import schema
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.stream import Quantised, quantise
from sid_assets.core.quantise.tokenizer import load_tokenizer
from sid_assets.core.schema import PidType
from sid_assets.core.store.chunks import (
    IN_THIS_PROCESS,
    Backend,
    Chunk,
    Say,
    chunks_of_parts,
    once,
    run_chunks,
)
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.parts import Part, read_part
from sid_assets.core.store.pid_ranges import DamageError, SortedParts
from sid_assets.core.store.provenance import Provenance, derive
from sid_assets.core.store.sharing import PartSharer
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version

CODES_COLUMNS = ["pid", "codes", "vector_hash", "residual_norms"]


@dataclass
class CodesProgress:
    """The progress of a run.

    Attributes:
        total_rows: Items of the table.
        rows: Items done: computed, reused or resumed.
        computed: Items that this run quantised.
        reused: Items whose codes were reused.
        resumed: Items in parts that an unfinished run of the same work had completed.
    """

    total_rows: int
    rows: int = 0
    computed: int = 0
    reused: int = 0
    resumed: int = 0

    def add(self, chunk: Chunk, counts: Quantised | None) -> None:
        """Count a chunk; no counts means that an earlier run completed it."""
        self.rows += chunk.rows
        if counts is None:
            self.resumed += chunk.rows
        else:
            self.computed += counts.computed
            self.reused += counts.reused

    def describe(self) -> str:
        """One line for the log."""
        return (
            f"{self.rows:,} of {self.total_rows:,} items: {self.computed:,} quantised, "
            f"{self.reused:,} reused, {self.resumed:,} done by an earlier run"
        )


@dataclass(frozen=True)
class ChunkEncoder:
    """The worker that makes the rows of `codes` for a part of `item_embeddings`.

    Attributes:
        embeddings: The vectors.
        earlier: Earlier codes of the same tokenizer, to reuse.
        tokenizer: Quantises the other items.
        device: Where to compute; None means the GPU if available, else the CPU.
        sharer: Shares parts with the version of the earlier codes.
    """

    embeddings: Version
    earlier: SortedParts | None
    tokenizer: Version
    device: str | None
    sharer: PartSharer | None

    @cached_property
    def encoder(self) -> Encoder:
        """The tokenizer on the device, loaded once in every process that computes."""
        return Encoder(load_tokenizer(self.tokenizer), self.device)

    def share(self, chunk: Chunk, name: str, say: Say) -> tuple[Part, Quantised] | None:
        """Share the part of the earlier codes for the same vectors, if there is one."""
        part = self.sharer.part_of(chunk, say) if self.sharer else None
        if not (self.sharer and part):
            return None
        codes = list(self.sharer.read(part, ["pid", "vector_hash"]))
        if not self._are_of_these_vectors(codes, chunk):
            return None
        return self.sharer.share(part, name, say), Quantised(reused=chunk.rows)

    def __call__(self, chunk: Chunk, say: Say) -> tuple[Iterable[pa.RecordBatch], Quantised]:
        """Reuse or compute the codes of a chunk."""

        def on_damage(damage: DamageError) -> None:
            say(f"{damage} Its items are quantised again.")

        earlier = None
        if self.earlier:
            pids = chunk.first_pid, chunk.last_pid
            earlier = list(self.earlier.between(*pids, CODES_COLUMNS, on_damage))
            if self._are_of_these_vectors(earlier, chunk):
                return earlier, Quantised(reused=chunk.rows)
        counts = Quantised()
        vectors = self._read(chunk, ["pid", "embedding", "vector_hash"])
        return quantise(vectors, self.encoder, earlier, counts), counts

    def _are_of_these_vectors(self, codes: list[pa.RecordBatch], chunk: Chunk) -> bool:
        """Whether the codes cover the whole chunk, so that its vectors need not be read."""
        columns = ["pid", "vector_hash"]
        wanted = pa.Table.from_batches(self._read(chunk, columns))
        return bool(codes) and pa.Table.from_batches(codes).select(columns).equals(wanted)

    def _read(self, chunk: Chunk, columns: list[str]) -> Iterator[pa.RecordBatch]:
        part = self.embeddings.parts[chunk.number]
        return read_part(self.embeddings.folder, part, columns)


def encode_items(
    store: Store,
    table: str,
    embeddings: Version,
    tokenizer: Version,
    device: str | None,
    warn: Callable[[str], None],
    on_progress: Callable[[CodesProgress], None],
    backend: Backend = IN_THIS_PROCESS,
) -> tuple[Draft, CodesProgress]:
    """Make a draft of `codes` for these vectors; the caller commits it.

    Args:
        store: The store of the tables.
        table: Asset key of `codes`.
        embeddings: The version of `item_embeddings`.
        tokenizer: The version of `tokenizer_checkpoint`.
        device: Where to compute; None means the GPU if available, else the CPU.
        warn: Called with the text of each warning.
        on_progress: Called after every part.
        backend: Where the parts are computed.

    Raises:
        InputError: The vectors and the tokenizer belong to different embedding spaces.
        StoreError: Another run is running, or the disk is full.
    """
    provenance = derive(table, embeddings.provenance, tokenizer.provenance)
    before, pid_type = store.current(table), embeddings.pid_type
    if before and not _same_kind(before, provenance, pid_type):
        before = None
    progress = CodesProgress(total_rows=embeddings.rows)

    def on_done(chunk: Chunk, counts: Quantised, resumed: bool) -> None:
        progress.add(chunk, None if resumed else counts)
        on_progress(progress)

    key = f"{embeddings.provenance.version}-{provenance.tokenizer}"
    with store.draft(table) as draft:
        draft.begin(key)
        worker = ChunkEncoder(
            embeddings,
            SortedParts.of(before) if before else None,
            tokenizer,
            device,
            PartSharer(before, draft.folder) if before else None,
        )
        parts = run_chunks(
            draft,
            chunks_of_parts(embeddings),
            provenance.attach(schema.codes(pid_type)),
            worker,
            on_done,
            Quantised,
            worker.share,
            once(warn),
            backend,
        )
        draft.finish(parts, provenance)
    return draft, progress


def _same_kind(before: Version, provenance: Provenance, pid_type: PidType) -> bool:
    """Whether codes of a version can be reused where the vector is unchanged."""
    return before.provenance.tokenizer == provenance.tokenizer and before.pid_type == pid_type
