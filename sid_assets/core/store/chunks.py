"""Work cut into chunks: a run does not repeat the chunks that a killed run finished.

A chunk is a range of pids and one part file. Its worker receives the chunk, computes rows and
yields them. The part is written under a temporary name and renamed, and a note beside it records
its digest. The next run reuses each part whose digest matches its note, and does the other chunks.
The note also keeps the worker's summary, so that the counts of the first run are not lost. A chunk
that the previous version has as a part, row by row, may share that part instead.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.schema import Pid
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.parts import Part, PartWriter, file_digest, part_name
from sid_assets.core.store.places import require_reachable
from sid_assets.core.store.sealed import read_sealed, write_sealed
from sid_assets.core.store.versions import Version

BLOCKS_AHEAD = 2
"""Blocks of rows that may wait for the disk while the next one is computed."""


@dataclass(frozen=True)
class Chunk:
    """A range of rows of a table that is sorted by pid.

    Attributes:
        number: Its position among the chunks, from 0.
        rows: Number of rows.
        first_pid: Pid of the first row.
        last_pid: Pid of the last row.
    """

    number: int
    rows: int
    first_pid: Pid
    last_pid: Pid

    def is_in(self, part: Part) -> bool:
        """Whether a part holds the rows of this chunk, not of one that was cut differently."""
        mine = (self.rows, self.first_pid, self.last_pid)
        return mine == (part.rows, part.first_pid, part.last_pid)


Summary = TypeVar("Summary")

Say = Callable[[str], None]
"""Receives messages about a chunk, which the run logs once the chunk is done."""

Work = Callable[[Any, Say], tuple[Iterable[pa.RecordBatch], Summary]]
"""Computes a chunk: its rows, and a summary that is complete once the rows are consumed. The chunk
is a `Chunk`, or of a class of its own that has more of what is needed."""

Share = Callable[[Any, str, Say], tuple[Part, Summary] | None]
"""Makes a part of the previous version, which has the rows of the chunk, a part of the draft under
a file name; None if there is no such part. Threads call it at the same time."""


def share_nothing(chunk: Chunk, name: str, say: Say) -> None:
    """A `Share` for tables that have no previous version."""


def once(log: Callable[[str], None]) -> Callable[[str], None]:
    """The same log, without repeated messages."""
    told: set[str] = set()

    def tell(message: str) -> None:
        if message not in told:
            told.add(message)
            log(message)

    return tell


@dataclass(frozen=True)
class Done(Generic[Summary]):
    """A chunk whose part is in the draft.

    Attributes:
        number: The chunk's number.
        part: Its part.
        summary: What was counted.
        resumed: Whether an earlier run did the work.
        messages: What is to be logged.
    """

    number: int
    part: Part
    summary: Summary
    resumed: bool = False
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChunkTask(Generic[Summary]):
    """What is done for every chunk of a draft. It can be pickled, so that others can do it.

    Attributes:
        folder: The folder of the draft.
        earlier: Folders in which earlier runs of the same work left parts.
        total: Number of chunks.
        schema: Schema of the parts, with the provenance in its metadata.
        work: Computes the rows of a chunk.
        share: Shares the part of a chunk with the previous version.
        summary_type: A dataclass whose fields can be stored as JSON.
    """

    folder: UPath
    earlier: tuple[UPath, ...]
    total: int
    schema: pa.Schema
    work: Work[Summary]
    share: Share[Summary]
    summary_type: type[Summary]

    def do(self, chunk: Chunk) -> Done[Summary]:
        """Do a chunk, unless its part is there or can be shared.

        Raises:
            WrittenByAnotherError: Another process did the same chunk at the same time.
        """
        said: list[str] = []
        return self.found(chunk, said) or self.make(chunk, said)

    def found(self, chunk: Chunk, said: list[str]) -> Done[Summary] | None:
        """The part of a chunk if it needs no work: an earlier run did it, or it can be shared."""
        name = part_name(chunk.number, self.total)
        for folder in (self.folder, *self.earlier):
            if done := self._finished(folder, name, chunk):
                return done
        if shared := self.share(chunk, name, said.append):
            return Done(chunk.number, *shared, messages=tuple(said))
        return None

    def make(self, chunk: Chunk, said: list[str]) -> Done[Summary]:
        """Write the part of a chunk and its note; messages are added to those already said.

        Raises:
            WrittenByAnotherError: Another process did the same chunk at the same time.
        """
        name = part_name(chunk.number, self.total)
        path = self.folder / name
        # This process may have been paused, and another one has made and reported the part since.
        if done := self._finished(self.folder, name, chunk):
            return done
        path.unlink(missing_ok=True)  # damaged, or of a chunk that was cut differently
        blocks, summary = self.work(chunk, said.append)
        part = write_chunk(path, self.schema, chunk, blocks)
        _Note(part, vars(summary)).write(path)
        return Done(chunk.number, part, summary, messages=tuple(said))

    def _finished(self, folder: UPath, name: str, chunk: Chunk) -> Done[Summary] | None:
        """A finished part; None if it is missing, damaged, or of a chunk cut differently."""
        path = folder / name
        note = _Note.read(path)
        if note is None or not chunk.is_in(note.part) or file_digest(path) != note.part.digest:
            return None
        part = note.part if folder == self.folder else replace(note.part, folder=folder.name)
        try:
            return Done(chunk.number, part, self.summary_type(**note.summary), resumed=True)
        except TypeError:  # another release of this package wrote it
            return None


class Backend(Protocol):
    """Where chunks are computed."""

    def run(
        self, task: ChunkTask[Summary], chunks: Sequence[Chunk]
    ) -> Generator[Done[Summary], None, None]:
        """Do all chunks, in any order; a chunk is yielded once it is done."""
        ...


class OneAfterTheOther:
    """Does all chunks in this process, in their order."""

    def run(
        self, task: ChunkTask[Summary], chunks: Sequence[Chunk]
    ) -> Generator[Done[Summary], None, None]:
        """Do the chunks. Threads are ahead: they read the digests of finished parts meanwhile."""

        def found(chunk: Chunk) -> tuple[Done[Summary] | None, list[str]]:
            said: list[str] = []
            return task.found(chunk, said), said

        with ThreadPoolExecutor() as readers:
            try:
                for chunk, (done, said) in zip(chunks, readers.map(found, chunks), strict=True):
                    yield done or task.make(chunk, said)
            finally:
                readers.shutdown(cancel_futures=True)


IN_THIS_PROCESS = OneAfterTheOther()


def run_chunks(
    draft: Draft,
    chunks: Sequence[Chunk],
    schema: pa.Schema,
    work: Work[Summary],
    on_done: Callable[[Chunk, Summary, bool], None],
    summary_type: type[Summary],
    share: Share[Summary] = share_nothing,
    log: Callable[[str], None] = lambda message: None,
    backend: Backend = IN_THIS_PROCESS,
) -> tuple[Part, ...]:
    """Do the chunks that are not done yet, each into its own part.

    Args:
        draft: Receives the parts, and may already hold those of an unfinished run.
        chunks: All chunks, in pid order.
        schema: Schema of the parts, with the provenance in its metadata.
        work: Computes the rows of a chunk, block by block.
        on_done: Called with each chunk, its summary, and whether an earlier run had done it.
        summary_type: A dataclass whose fields can be stored as JSON.
        share: Shares the part of a chunk with the previous version.
        log: Receives messages about chunks.
        backend: Where the chunks are computed.

    Returns:
        The parts of all chunks, in order.

    Raises:
        StoreError: Another run has taken the write lock of the table meanwhile.
    """
    earlier = tuple(draft.earlier_folders)
    task = ChunkTask(draft.folder, earlier, len(chunks), schema, work, share, summary_type)
    parts: dict[int, Part] = {}
    with closing(backend.run(task, chunks)) as results:
        for done in results:
            for message in done.messages:
                log(message)
            on_done(chunks[done.number], done.summary, done.resumed)
            if draft.claim:  # nobody computes for hours what cannot be committed
                draft.claim.lease.require_not_lost()
            parts[done.number] = done.part
    return tuple(parts[number] for number in sorted(parts))


def write_chunk(
    path: UPath, schema: pa.Schema, chunk: Chunk, blocks: Iterable[pa.RecordBatch]
) -> Part:
    """Write the rows of a chunk; a block is written while the next ones are computed.

    Raises:
        StoreError: The rows are not those of the chunk, or the folder cannot be written.
        WrittenByAnotherError: Another process wrote the same chunk meanwhile.
    """
    with (
        PartWriter(path, schema, exclusive=True) as writer,
        ThreadPoolExecutor(max_workers=1) as thread,
    ):
        written: deque[Future[None]] = deque()
        for block in blocks:
            written.append(thread.submit(writer.write, block))
            if len(written) > BLOCKS_AHEAD:
                written.popleft().result()
        for block in written:
            block.result()
    if not chunk.is_in(writer.part):
        raise StoreError(
            f"{path}: expected {chunk.rows:,} rows (pids {chunk.first_pid!r} to "
            f"{chunk.last_pid!r}), but computed {writer.part.rows:,} (pids "
            f"{writer.part.first_pid!r} to {writer.part.last_pid!r})."
        )
    return writer.part


def finished_parts(folder: UPath) -> list[Part]:
    """The parts that a run left in the folder of its draft, in pid order.

    Their rows are not read, so damage shows only when they are.
    """
    paths = sorted(folder.glob("part-*.parquet"), key=lambda path: path.name)
    return [note.part for path in paths if (note := _Note.read(path))]


@dataclass(frozen=True)
class _Note:
    """What is stored beside a finished part.

    Attributes:
        part: The summary of the part file.
        summary: What its worker counted.
    """

    part: Part
    summary: dict[str, Any]

    def write(self, path: UPath) -> None:
        """Write the note beside the part at a path."""
        write_sealed(_note(path), dataclasses.asdict(self))

    @classmethod
    def read(cls, path: UPath) -> "_Note | None":
        """The note of the part at a path; None unless the part has the size in the note.

        Raises:
            UnreachableError: The object store does not show it now.
        """
        try:
            fields = read_sealed(_note(path))
            note = cls(Part(**fields["part"]), fields["summary"])
            return note if path.stat().st_size == note.part.bytes else None
        except (OSError, ValueError, TypeError, KeyError) as error:
            require_reachable(path, error)
            return None


def _note(path: UPath) -> UPath:
    # Readers of a folder of parquet files skip names that start with an underscore.
    return path.with_name(f"_{path.name}.json")


def chunks_of_parts(version: Version) -> list[Chunk]:
    """One chunk for each part of a table, so that another table gets the same parts."""
    return [
        Chunk(number, part.rows, part.first_pid, part.last_pid)
        for number, part in enumerate(version.parts)
    ]
