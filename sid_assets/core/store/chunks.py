"""Work cut into chunks: what a run finished before it was killed is not done again.

A chunk is a range of pids and one part file. Its worker gets the chunk, computes and yields rows;
they are written under a temporary name, renamed, and noted beside the part with their digest. The
next run takes a noted part whose digest still holds, and does the others. The summary of a chunk
is noted too, so that what the first run counted is not lost.
"""

import dataclasses
import json
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.schema import Pid
from sid_assets.core.store.parts import (
    Part,
    PartWriter,
    file_digest,
    open_part,
    part_name,
    read_footer,
    readable,
)
from sid_assets.core.store.versions import Staging, Version, write_json

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
    staging: Staging,
    chunks: Sequence[Chunk],
    schema: pa.Schema,
    work: Work[Summary],
    on_done: Callable[[Chunk, Summary, bool], None],
    summary_type: type[Summary],
) -> tuple[Part, ...]:
    """Do the chunks that are not done yet, one after the other, each into a part of its own.

    Args:
        staging: Where the parts go, and where those of an unfinished run are found.
        chunks: All chunks, in the order of their pids.
        schema: Of the parts, with the provenance in its metadata.
        work: Computes the rows of a chunk, a block at a time.
        on_done: Told of every chunk, its summary, and whether an earlier run had done it.
        summary_type: A dataclass of what JSON can hold.

    Returns:
        The parts of all chunks, in their order.
    """
    paths = [staging.folder / part_name(chunk.number, len(chunks)) for chunk in chunks]
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


def finished_parts(staging: Staging) -> list[Part]:
    """The parts that a run left in a staging folder, in the order of their pids.

    They are not read: whoever reads their rows finds out whether they are whole.
    """
    paths = sorted(staging.folder.glob("part-*.parquet"), key=lambda path: path.name)
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


class DamageError(StoreError):
    """A part, or a row group of it, that cannot be read.

    Attributes:
        path: The part file.
        rows: How many rows are lost.
        pids: Smallest and largest pid that may be among them.
    """

    def __init__(self, path: UPath, rows: int, pids: tuple[Pid, Pid], message: str) -> None:
        super().__init__(message)
        self.path = path
        self.rows = rows
        self.pids = pids


OnDamage = Callable[[DamageError], None]
"""Told of what cannot be read and is left out."""


class SortedParts:
    """Part files of a table sorted by pid, to read ranges of pids from.

    The footer of the part that was read last is kept: a chunk's neighbour is often in the same one.
    """

    def __init__(self, folder: UPath, parts: Sequence[Part]) -> None:
        """Nothing is read yet.

        Args:
            folder: Where the parts are.
            parts: Their summaries, in the order of their pids; pids of two parts do not overlap.
        """
        self._folder = folder
        self._parts = [part for part in parts if part.rows]
        self._last_pids = [part.last_pid for part in self._parts]
        self._footer: _Footer | None = None

    @classmethod
    def of(cls, version: Version) -> "SortedParts":
        """The parts of a committed version."""
        return cls(version.folder, version.parts)

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self._parts)

    def all_rows(self, columns: Sequence[str], on_damage: OnDamage) -> Iterator[pa.RecordBatch]:
        """All rows, a row group at a time, but for those that cannot be read."""
        if self._parts:
            yield from self.between(
                self._parts[0].first_pid, self._last_pids[-1], columns, on_damage
            )

    def spread_pids(self, count: int, on_damage: OnDamage) -> list[Pid]:
        """The pids of at most so many rows, spread evenly over the table."""
        first_rows = np.cumsum([0, *(part.rows for part in self._parts)])
        pids = []
        for row in np.unique(np.linspace(0, max(first_rows[-1] - 1, 0), count, dtype=np.int64)):
            number = int(np.searchsorted(first_rows, row, side="right")) - 1
            for part in self._parts[number : number + 1]:
                rows = self.between(part.first_pid, part.last_pid, ["pid"], on_damage)
                known = [pid for batch in rows for pid in batch["pid"].to_pylist()]
                pids += known[row - first_rows[number] :][:1]
        return pids

    def between(
        self, first_pid: Pid, last_pid: Pid, columns: Sequence[str], on_damage: OnDamage
    ) -> Iterator[pa.RecordBatch]:
        """The rows from one pid to another, both included, a row group at a time.

        Args:
            first_pid: Smallest pid wanted.
            last_pid: Largest pid wanted.
            columns: Columns wanted; `pid` among them.
            on_damage: Told of what cannot be read and is left out, before a row behind it comes.
        """
        for number in range(bisect_left(self._last_pids, first_pid), len(self._parts)):
            part = self._parts[number]
            if part.first_pid > last_pid:
                return
            try:
                yield from self._rows_between(part, first_pid, last_pid, columns, on_damage)
            except StoreError as error:
                pids = (part.first_pid, part.last_pid)
                on_damage(DamageError(self._folder / part.name, part.rows, pids, str(error)))

    def _rows_between(
        self,
        part: Part,
        first_pid: Pid,
        last_pid: Pid,
        columns: Sequence[str],
        on_damage: OnDamage,
    ) -> Iterator[pa.RecordBatch]:
        path = self._folder / part.name
        footer = self._footer_of(path, part)
        with readable(path):
            file = open_part(path, footer.metadata)
        with file:
            for group, pids in enumerate(footer.pids):
                if pids and (pids[1] < first_pid or pids[0] > last_pid):
                    continue
                try:
                    rows = file.read_row_group(group, list(columns), use_threads=False)
                except (pa.ArrowException, OSError) as error:
                    lost = footer.metadata.row_group(group).num_rows
                    message = f"{path}: row group {group} is damaged ({error})."
                    on_damage(
                        DamageError(path, lost, pids or (part.first_pid, part.last_pid), message)
                    )
                    continue
                start, stop = _count_below(rows, first_pid), _count_up_to(rows, last_pid)
                yield from rows.slice(start, stop - start).to_batches()

    def _footer_of(self, path: UPath, part: Part) -> "_Footer":
        if self._footer is None or self._footer.path != path:
            self._footer = _Footer.read(path, part)
        return self._footer


@dataclass(frozen=True)
class _Footer:
    """What the end of a part file says.

    Attributes:
        path: The file.
        metadata: As pyarrow reads it.
        pids: Smallest and largest pid of each row group; None where that is not said.
    """

    path: UPath
    metadata: pq.FileMetaData
    pids: list[tuple[Pid, Pid] | None]

    @classmethod
    def read(cls, path: UPath, part: Part) -> "_Footer":
        metadata = read_footer(path, part)
        pid = metadata.schema.to_arrow_schema().get_field_index("pid")
        groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
        return cls(path, metadata, [_bounds(group.column(pid).statistics) for group in groups])


def _count_below(rows: pa.Table, pid: Pid) -> int:
    return pc.sum(pc.less(rows.column("pid"), pid)).as_py() or 0


def _count_up_to(rows: pa.Table, pid: Pid) -> int:
    return pc.sum(pc.less_equal(rows.column("pid"), pid)).as_py() or 0


def _bounds(statistics: pq.Statistics | None) -> tuple[Pid, Pid] | None:
    if statistics is None or not statistics.has_min_max:
        return None
    return statistics.min, statistics.max
