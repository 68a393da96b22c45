"""Work cut into chunks: what a run finished before it was killed is not done again.

A chunk is a range of pids and one part file. Its worker gets the chunk, computes and returns rows;
they are written under a temporary name, renamed, and noted beside the part with their digest. The
next run takes a noted part whose digest still holds, and does the others.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.parts import Part, PartWriter, file_digest, part_name, readable
from sid_assets.core.places import arrow_filesystem
from sid_assets.core.schema import Pid
from sid_assets.core.versions import Staging, Version, write_json


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


Summary = TypeVar("Summary")


def run_chunks(
    staging: Staging,
    chunks: Sequence[Chunk],
    schema: pa.Schema,
    work: Callable[[Chunk], tuple[pa.Table, Summary]],
    on_done: Callable[[Chunk, Summary | None], None],
) -> tuple[Part, ...]:
    """Do the chunks that are not done yet, each into a part file of its own.

    A part is written while the next chunk is computed.

    Args:
        staging: Where the parts go, and where those of an unfinished run are found.
        chunks: All chunks, in the order of their pids.
        schema: Of the parts, with the provenance in its metadata.
        work: Computes the rows of a chunk, and a summary of what it did.
        on_done: Told of every chunk and its summary; None where an earlier run had done it.

    Returns:
        The parts of all chunks, in their order.
    """
    parts: list[Part | Future[Part]] = []
    with ThreadPoolExecutor(max_workers=1) as writer:
        written: Future[Part] | None = None
        for chunk in chunks:
            path = staging.folder / part_name(chunk.number, len(chunks))
            if done := finished_part(path):
                parts.append(done)
                on_done(chunk, None)
                continue
            rows, summary = work(chunk)
            if written:
                written.result()  # one part at a time waits in memory
            written = writer.submit(_write_part, path, schema, rows)
            parts.append(written)
            on_done(chunk, summary)
    return tuple(part if isinstance(part, Part) else part.result() for part in parts)


def finished_part(path: UPath) -> Part | None:
    """The part that an earlier run finished at this path; None where it is missing or damaged."""
    try:
        part = Part(**json.loads(_note(path).read_text()))
        whole = path.stat().st_size == part.bytes and file_digest(path) == part.digest
    except (OSError, ValueError):
        return None
    return part if whole else None


def finished_parts(staging: Staging) -> list[Part]:
    """The whole parts that a run left in a staging folder, in the order of their pids."""
    paths = sorted(staging.folder.glob("part-*.parquet"), key=lambda path: path.name)
    return [part for path in paths if (part := finished_part(path)) and part.rows]


def _write_part(path: UPath, schema: pa.Schema, rows: pa.Table) -> Part:
    with PartWriter(path, schema) as writer:
        writer.write(rows)
    write_json(_note(path), dataclasses.asdict(writer.part))
    return writer.part


def _note(path: UPath) -> UPath:
    # Readers of a folder of parquet files pass over names that start with an underscore.
    return path.with_name(f"_{path.name}.json")


def chunks_of_parts(version: Version) -> list[Chunk]:
    """A chunk for each part of a table, so that another table gets the same parts."""
    chunks = []
    for number, part in enumerate(version.parts):
        if part.first_pid is None or part.last_pid is None:
            raise StoreError(f"{version.folder / part.name}: has no rows.")
        chunks.append(Chunk(number, part.rows, part.first_pid, part.last_pid))
    return chunks


@dataclass(frozen=True)
class SortedParts:
    """Part files of a table sorted by pid, to read ranges of pids from."""

    folder: UPath
    parts: Sequence[Part]

    @classmethod
    def of(cls, version: Version) -> "SortedParts":
        """The parts of a committed version."""
        return cls(version.folder, version.parts)

    def between(
        self,
        first_pid: Pid,
        last_pid: Pid,
        columns: Sequence[str],
        on_damage: Callable[[Exception], None],
    ) -> Iterator[pa.Table]:
        """The rows from one pid to another, both included, a row group at a time.

        Args:
            first_pid: Smallest pid wanted.
            last_pid: Largest pid wanted.
            columns: Columns wanted; `pid` among them.
            on_damage: Told of a part, or a row group of it, that cannot be read and is left out.
        """
        for part in self.parts:
            if part.last_pid is None or part.first_pid is None:
                continue
            if not (part.last_pid < first_pid or part.first_pid > last_pid):
                yield from _rows_between(
                    self.folder / part.name, first_pid, last_pid, columns, on_damage
                )


def _rows_between(
    path: UPath,
    first_pid: Pid,
    last_pid: Pid,
    columns: Sequence[str],
    on_damage: Callable[[Exception], None],
) -> Iterator[pa.Table]:
    try:
        with (
            readable(path),
            pq.ParquetFile(
                path.path, filesystem=arrow_filesystem(path), page_checksum_verification=True
            ) as file,
        ):
            for group in range(file.num_row_groups):
                if _misses(file.metadata.row_group(group), first_pid, last_pid):
                    continue
                try:
                    rows = file.read_row_group(group, columns=list(columns), use_threads=False)
                except (pa.ArrowException, OSError) as error:
                    on_damage(StoreError(f"{path}: row group {group} is damaged ({error})."))
                    continue
                pids = rows.column("pid")
                yield rows.filter(
                    pc.and_(pc.greater_equal(pids, first_pid), pc.less_equal(pids, last_pid))
                )
    except StoreError as error:
        on_damage(error)


def _misses(group: pq.RowGroupMetaData, first_pid: Pid, last_pid: Pid) -> bool:
    """Whether a row group's statistics rule out that it has a pid of the range."""
    pid = next(
        column
        for column in (group.column(index) for index in range(group.num_columns))
        if column.path_in_schema == "pid"
    )
    statistics = pid.statistics
    if statistics is None or not statistics.has_min_max:
        return False
    return statistics.max < first_pid or statistics.min > last_pid
