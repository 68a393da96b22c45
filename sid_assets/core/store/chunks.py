"""Work cut into chunks: what a run finished before it was killed is not done again.

A chunk is a range of pids and one part file. Its worker gets the chunk, computes and yields rows;
they are written under a temporary name, renamed, and noted beside the part with their digest. The
next run takes a noted part whose digest still holds, and does the others. The summary of a chunk
is noted too, so that what the first run counted is not lost.
"""

import dataclasses
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.schema import Pid
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.parts import Part, PartWriter, file_digest, part_name
from sid_assets.core.store.places import write_json
from sid_assets.core.store.versions import Version

BLOCKS_AHEAD = 2
"""Blocks of rows that wait for the disk while the next one is computed."""


@dataclass(frozen=True)
class Chunk:
    """A range of rows of a table that is sorted by pid.

    Attributes:
        number: Its place among the chunks, from 0.
        rows: How many rows of the table it has.
        first_pid: Pid of its first row.
        last_pid: Pid of its last row.
    """

    number: int
    rows: int
    first_pid: Pid
    last_pid: Pid

    def is_in(self, part: Part) -> bool:
        """Whether a part holds the rows of this chunk, and not of one that was cut elsewhere."""
        mine = (self.rows, self.first_pid, self.last_pid)
        return mine == (part.rows, part.first_pid, part.last_pid)


Summary = TypeVar("Summary")

Work = Callable[[Chunk], tuple[Iterable[pa.RecordBatch], Summary]]
"""Computes a chunk: its rows, and a summary that is complete when they are used up."""


def run_chunks(
    draft: Draft,
    chunks: Sequence[Chunk],
    schema: pa.Schema,
    work: Work[Summary],
    on_done: Callable[[Chunk, Summary, bool], None],
    summary_type: type[Summary],
) -> tuple[Part, ...]:
    """Do the chunks that are not done yet, one after the other, each into a part of its own.

    Args:
        draft: Where the parts go, and where those of an unfinished run are found.
        chunks: All chunks, in the order of their pids.
        schema: Of the parts, with the provenance in its metadata.
        work: Computes the rows of a chunk, a block at a time.
        on_done: Told of every chunk, its summary, and whether an earlier run had done it.
        summary_type: A dataclass of what JSON can hold.

    Returns:
        The parts of all chunks, in their order.
    """
    paths = [draft.folder / part_name(chunk.number, len(chunks)) for chunk in chunks]
    with ThreadPoolExecutor() as readers:
        found = list(readers.map(lambda path: _finished(path, summary_type), paths))
    parts = []
    for chunk, path, done in zip(chunks, paths, found, strict=True):
        if done and chunk.is_in(done[0]):
            part, summary = done
        else:
            done = None
            blocks, summary = work(chunk)
            part = write_chunk(path, schema, chunk, blocks)
            _Note(part, vars(summary)).write(path)
        on_done(chunk, summary, done is not None)
        parts.append(part)
    return tuple(parts)


def write_chunk(
    path: UPath, schema: pa.Schema, chunk: Chunk, blocks: Iterable[pa.RecordBatch]
) -> Part:
    """Write the rows of a chunk; a block is written while the next ones are computed.

    Raises:
        StoreError: The rows are not those of the chunk, or the place cannot be written.
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
        raise StoreError(f"{path}: {chunk.rows:,} rows were wanted, {writer.part.rows:,} computed.")
    return writer.part


def finished_parts(folder: UPath) -> list[Part]:
    """The parts that a run left in the folder of its draft, in the order of their pids.

    They are not read: whoever reads their rows finds out whether they are whole.
    """
    paths = sorted(folder.glob("part-*.parquet"), key=lambda path: path.name)
    return [note.part for path in paths if (note := _Note.read(path))]


def _finished(path: UPath, summary_type: type[Summary]) -> tuple[Part, Summary] | None:
    """The part at a path and its worker's summary; None where it is missing or damaged."""
    note = _Note.read(path)
    if note is None or file_digest(path) != note.part.digest:
        return None
    try:
        return note.part, summary_type(**note.summary)
    except TypeError:  # another release of this package wrote it
        return None


@dataclass(frozen=True)
class _Note:
    """What is kept beside a part when it is done.

    Attributes:
        part: Its summary as a file.
        summary: What its worker counted.
    """

    part: Part
    summary: dict[str, Any]

    def write(self, path: UPath) -> None:
        """Write it beside the part at a path."""
        write_json(_note(path), dataclasses.asdict(self))

    @classmethod
    def read(cls, path: UPath) -> "_Note | None":
        """That of the part at a path, if the part has the size that is noted."""
        try:
            fields = json.loads(_note(path).read_text())
            note = cls(Part(**fields["part"]), fields["summary"])
            return note if path.stat().st_size == note.part.bytes else None
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _note(path: UPath) -> UPath:
    # Readers of a folder of parquet files pass over names that start with an underscore.
    return path.with_name(f"_{path.name}.json")


def chunks_of_parts(version: Version) -> list[Chunk]:
    """A chunk for each part of a table, so that another table gets the same parts."""
    return [
        Chunk(number, part.rows, part.first_pid, part.last_pid)
        for number, part in enumerate(version.parts)
    ]
