"""Joining two tables that are sorted by pid, as streams: memory does not grow with the tables."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc


def joined(
    left: Iterable[pa.RecordBatch], right: Iterable[pa.RecordBatch], columns: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows of one table with columns of another appended, matched by pid.

    Args:
        left: Batches with a `pid` column, sorted by it; pids are unique.
        right: The same, of the other table.
        columns: The columns of `right` to append; null if `right` lacks the pid.

    Yields:
        The batches of `left` in order, without empty ones, each with the columns appended.

    Raises:
        TypeError: The pids of one table are integers and those of the other are strings.
    """
    batches = iter(right)
    ahead: pa.Table | None = None  # rows of the right table for later batches
    for batch in left:
        if not batch.num_rows:
            continue
        pids = batch["pid"]
        if ahead is None:
            ahead = pa.schema([pa.field("pid", pids.type), *columns]).empty_table()
        window = _read_up_to(pids[-1], ahead, batches)
        index = pc.index_in(pids, value_set=window["pid"].combine_chunks())
        found = window.select(columns.names).take(index)
        for name in columns.names:
            batch = batch.append_column(name, found[name].combine_chunks())
        yield batch
        # Both are sorted: no later batch needs rows up to the last pid of this one.
        passed = pc.sum(pc.less_equal(window["pid"], pids[-1])).as_py()
        ahead = window.slice(passed or 0)


def _read_up_to(pid: pa.Scalar, ahead: pa.Table, batches: Iterator[pa.RecordBatch]) -> pa.Table:
    """The rows ahead, and as many more as it takes to reach the pid."""
    read = [ahead]
    while not read[-1].num_rows or read[-1]["pid"][-1].as_py() < pid.as_py():
        batch = next(batches, None)
        if batch is None:
            break
        if batch["pid"].type != pid.type:
            raise TypeError(f"pids of two types cannot be joined: {pid.type}, {batch['pid'].type}")
        read.append(pa.table([batch[name] for name in ahead.column_names], schema=ahead.schema))
    return pa.concat_tables(read)
