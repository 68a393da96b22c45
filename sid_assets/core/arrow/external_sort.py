"""Sorting record batches that do not fit in memory: sorted runs on disk, then one merge.

DuckDB sorts beyond its memory only if rows are narrow: with rows of 8 kB, 2 GB were not enough for
300,000 rows (DuckDB 2.0), since it holds some 100,000 whole rows per thread. Here, memory is
limited in bytes.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

HEAD_BYTES = 512 << 10
"""Bytes of each run that are in memory while runs are merged."""

BATCH_ROWS = 8192


def sort_batches(
    batches: Iterable[pa.RecordBatch], key: str, folder: Path, run_bytes: int
) -> Iterator[pa.RecordBatch]:
    """The rows sorted by a column; strings are sorted by their UTF-8 bytes.

    Args:
        batches: Rows with one schema.
        key: The column, int64 or string, without nulls.
        folder: A folder for the runs; it is created and must not exist yet.
        run_bytes: Size of a run. Two of them are in memory at a time, or `HEAD_BYTES` of each.

    Yields:
        At most `BATCH_ROWS` rows at a time.
    """
    folder.mkdir()
    runs = []
    for number, run in enumerate(_runs(batches, run_bytes)):
        runs.append(folder / f"{number}.arrow")
        _write(runs[-1], run, key)
    yield from _merge([_read(path) for path in runs], key)


def _runs(batches: Iterable[pa.RecordBatch], run_bytes: int) -> Iterator[pa.Table]:
    """The rows in their order, cut into runs; each run is contiguous in memory."""
    gathered, size = [], 0
    for batch in batches:
        gathered.append(batch)
        size += batch.nbytes
        if size >= run_bytes:
            run = pa.Table.from_batches(gathered).combine_chunks()
            gathered, size = [], 0
            yield run
    if gathered:
        yield pa.Table.from_batches(gathered).combine_chunks()


def _write(path: Path, run: pa.Table, key: str) -> None:
    """Write a run in sorted order, one head at a time, so that memory does not hold it twice."""
    order = pc.sort_indices(run[key])
    rows = min(BATCH_ROWS, max(1, HEAD_BYTES * run.num_rows // max(1, run.nbytes)))
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_stream(file, run.schema, options=options) as out,
    ):
        for start in range(0, run.num_rows, rows):
            out.write_table(run.take(order[start : start + rows]))


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as run:
        yield from run
    path.unlink()


def _merge(runs: list[Iterator[pa.RecordBatch]], key: str) -> Iterator[pa.RecordBatch]:
    """Merge sorted runs.

    The heads of all runs are in memory. Up to the smallest of their last keys, no row is missing.
    """
    heads = [(head, run) for run in runs if (head := next(run, None)) is not None]
    while heads:
        bound = min(head[key][-1].as_py() for head, _ in heads)
        ready, rest = [], []
        for head, run in heads:
            rows = pc.less_equal(head[key], pa.scalar(bound, head[key].type)).true_count
            ready.append(head.slice(0, rows))
            left = head.slice(rows) if rows < head.num_rows else next(run, None)
            if left is not None:
                rest.append((left, run))
        heads = rest
        yield from pa.Table.from_batches(ready).sort_by(key).combine_chunks().to_batches(BATCH_ROWS)
