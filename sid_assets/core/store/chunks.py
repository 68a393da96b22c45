"""Work cut into chunks: a run does not repeat the chunks that a killed run finished.

A chunk is a range of pids and one part file. Its worker receives the chunk, computes rows and
yields them. The part is written under a temporary name and renamed, and a note beside it records
its digest. The next run reuses each part whose digest matches its note, and does the other chunks.
The note also keeps the worker's summary, so that the counts of the first run are not lost. A chunk
that the previous version has as a part, row by row, may share that part instead.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pyarrow as pa
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.schema import Pid
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.parts import Part, PartWriter, file_digest, part_name
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

Work = Callable[[Chunk], tuple[Iterable[pa.RecordBatch], Summary]]
"""Computes a chunk: its rows, and a summary that is complete once the rows are consumed."""

Share = Callable[[Chunk, str], tuple[Part, Summary] | None]
"""Makes a part of the previous version, which has the rows of the chunk, a part of the draft under
a file name; None if there is no such part. Threads call it at the same time."""


def run_chunks(
    draft: Draft,
    chunks: Sequence[Chunk],
    schema: pa.Schema,
    work: Work[Summary],
    on_done: Callable[[Chunk, Summary, bool], None],
    summary_type: type[Summary],
    share: Share[Summary] = lambda chunk, name: None,
) -> tuple[Part, ...]:
    """Do the chunks that are not done yet, one after the other, each into its own part.

    Args:
        draft: Receives the parts, and may already hold those of an unfinished run.
        chunks: All chunks, in pid order.
        schema: Schema of the parts, with the provenance in its metadata.
        work: Computes the rows of a chunk, block by block.
        on_done: Called with each chunk, its summary, and whether an earlier run had done it.
        summary_type: A dataclass whose fields can be stored as JSON.
        share: Shares the part of a chunk with the previous version.

    Returns:
        The parts of all chunks, in order.
    """

    def path_of(chunk: Chunk) -> UPath:
        return draft.folder / part_name(chunk.number, len(chunks))

    def found(chunk: Chunk) -> tuple[tuple[Part, Summary] | None, bool]:
        """The part that needs no work and its summary, and whether an earlier run did the work."""
        if finished := _finished(draft, path_of(chunk).name, chunk, summary_type):
            return finished, True
        return share(chunk, path_of(chunk).name), False

    parts = []
    with ThreadPoolExecutor() as readers:
        try:
            # The readers are ahead: digests are computed while other chunks are done.
            for chunk, (done, resumed) in zip(chunks, readers.map(found, chunks), strict=True):
                part, summary = done or _do(chunk, path_of(chunk), schema, work)
                on_done(chunk, summary, resumed)
                parts.append(part)
        finally:
            readers.shutdown(cancel_futures=True)
    return tuple(parts)


def _do(chunk: Chunk, path: UPath, schema: pa.Schema, work: Work[Summary]) -> tuple[Part, Summary]:
    """Write the part of a chunk and its note."""
    blocks, summary = work(chunk)
    part = write_chunk(path, schema, chunk, blocks)
    _Note(part, vars(summary)).write(path)
    return part, summary


def write_chunk(
    path: UPath, schema: pa.Schema, chunk: Chunk, blocks: Iterable[pa.RecordBatch]
) -> Part:
    """Write the rows of a chunk; a block is written while the next ones are computed.

    Raises:
        StoreError: The rows are not those of the chunk, or the folder cannot be written.
    """
    with PartWriter(path, schema) as writer, ThreadPoolExecutor(max_workers=1) as thread:
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


def _finished(
    draft: Draft, name: str, chunk: Chunk, summary_type: type[Summary]
) -> tuple[Part, Summary] | None:
    """The part of a chunk that this run or an earlier one finished, and its worker's summary.

    None if it is missing, damaged, or of a chunk that was cut differently.
    """
    for folder in (draft.folder, *draft.earlier_folders):
        note = _Note.read(folder / name)
        if (
            note is None
            or not chunk.is_in(note.part)
            or file_digest(folder / name) != note.part.digest
        ):
            continue
        part = note.part if folder == draft.folder else replace(note.part, folder=folder.name)
        with suppress(TypeError):  # another release of this package wrote it
            return part, summary_type(**note.summary)
    return None


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
        """The note of the part at a path; None unless the part has the size in the note."""
        try:
            fields = read_sealed(_note(path))
            note = cls(Part(**fields["part"]), fields["summary"])
            return note if path.stat().st_size == note.part.bytes else None
        except (OSError, ValueError, TypeError, KeyError):
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
