"""Files of vectors are read unchanged and in order; an error counts all its rows."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.vector_files import VectorFiles

WIDTH = 4


def write(folder: Path, *files: list) -> VectorFiles:
    """Files of vectors with these ids; a vector holds its row number, counted across all files."""
    rows = itertools.count()
    for number, pids in enumerate(files):
        vectors = pa.array([[next(rows)] * WIDTH for _ in pids], pa.list_(pa.float64()))
        table = pa.table({"pid": pa.array(pids, pa.int64()), "embedding": vectors})
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=3)
    return VectorFiles(str(folder), width=WIDTH)


@pytest.mark.parametrize("rows_at_once", [1, 4, 100])
def test_ids_and_vectors_come_in_the_order_of_the_files(tmp_path, rows_at_once):
    files = write(tmp_path, [5, 3, 4, 1], [], [9, 2])
    pids, vectors = zip(*files.batches(rows_at_once), strict=True)
    assert pa.concat_arrays(pids).to_pylist() == [5, 3, 4, 1, 9, 2]
    np.testing.assert_array_equal(
        np.concatenate(vectors), np.repeat(np.arange(6, dtype=np.float32), WIDTH).reshape(6, WIDTH)
    )
    assert files.rows == 6


def test_sorted_rows_say_where_each_id_is(tmp_path):
    rows = pa.Table.from_batches(write(tmp_path, [5, 3], [4]).sorted_rows("int"))
    assert rows.to_pydict() == {"pid": [3, 4, 5], "adopted_row": [1, 2, 0]}


@pytest.mark.parametrize("pid_type", ["int", None])
def test_all_ids_that_are_null_or_repeated_are_counted(tmp_path, pid_type):
    files = write(tmp_path, [7, 7, None, 3, 3], [1, 7, None])
    message = r"column 'pid': .* \(5 rows\)\. First ids: 3, 7, None\."
    with pytest.raises(InputError, match=message):
        files.require_unique_ids(pid_type)
    with pytest.raises(InputError, match=message):
        list(files.sorted_rows("int"))
    write(tmp_path, [1, 2], [3]).require_unique_ids(pid_type)


def test_ids_of_incompatible_types_are_refused(tmp_path):
    files = write(tmp_path, [1])
    table = pa.table({"pid": ["x"], "embedding": [[1.0] * WIDTH]})
    pq.write_table(table, tmp_path / "-.parquet")
    with pytest.raises(InputError, match=r"-\.parquet: column 'pid' holds string, .* int64"):
        files.require_unique_ids()


def test_files_of_other_formats_are_refused(tmp_path):
    (tmp_path / "vectors.csv").write_text("pid,embedding\n1,2\n")
    with pytest.raises(InputError, match=r"vectors\.csv: is csv\. Vectors must be parquet"):
        VectorFiles(str(tmp_path)).rows  # noqa: B018
