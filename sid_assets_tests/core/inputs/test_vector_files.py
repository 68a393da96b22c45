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


def add(folder: Path, name: str, pids: pa.Array, embedding: pa.Array | None = None) -> None:
    if embedding is None:
        embedding = pa.array([[1.0] * WIDTH] * len(pids), pa.list_(pa.float32()))
    pq.write_table(pa.table({"pid": pids, "embedding": embedding}), folder / name)


@pytest.mark.parametrize(
    ("others", "kind"),
    [
        ([pa.array([2], pa.int32()), pa.array([3], pa.uint8())], pa.int64()),
        ([pa.array([2.0, 3.0])], pa.int64()),
        ([pa.array([2, 3], pa.decimal128(9, 0))], pa.int64()),
        ([pa.array([2], pa.int64()), pa.array([], pa.string()), pa.array([3])], pa.int64()),
    ],
)
def test_ids_of_different_types_of_numbers_are_read_as_one(tmp_path, others, kind):
    files = write(tmp_path, [1])
    for number, pids in enumerate(others, 1):
        add(tmp_path, f"{number}.parquet", pids)
    assert files.stored_pid_type == kind
    files.require_unique_ids()
    assert pa.concat_arrays([pids for pids, _ in files.batches(9)]).to_pylist() == [1, 2, 3]


def test_ids_that_are_all_text_or_all_of_one_type_are_read_as_they_are(tmp_path):
    for number, kind in enumerate(
        (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), "utf8"))
    ):
        add(tmp_path, f"{number}.parquet", pa.array([f"x{number}"]).cast(kind))
    files = VectorFiles(str(tmp_path), width=WIDTH)
    assert pa.concat_arrays([pids for pids, _ in files.batches(9)]).to_pylist() == [
        "x0",
        "x1",
        "x2",
    ]
    (tmp_path / "int32").mkdir()
    add(tmp_path / "int32", "a.parquet", pa.array([1], pa.int32()))
    assert VectorFiles(str(tmp_path / "int32"), width=WIDTH).stored_pid_type == pa.int32()


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_text_ids_beside_numbers_are_refused_with_both_files(tmp_path, order):
    add(tmp_path, f"{order[0]}.parquet", pa.array([1], pa.int32()))
    add(tmp_path, f"{order[1]}.parquet", pa.array(["1"]))
    message = (
        rf"{order[1]}\.parquet: column 'pid' holds string, but in .*{order[0]}\.parquet .* int32"
    )
    with pytest.raises(InputError, match=message):
        VectorFiles(str(tmp_path), width=WIDTH).require_unique_ids()


def test_ids_that_fit_no_type_of_all_files_are_named(tmp_path):
    files = write(tmp_path, [1])
    add(tmp_path, "1.parquet", pa.array([2.5]))
    with pytest.raises(InputError, match=r"1\.parquet: column 'pid': .* First ids: 2\.5"):
        files.require_unique_ids()


@pytest.mark.parametrize("kind", [pa.null(), pa.float64(), pa.string()])
def test_a_part_without_rows_decides_nothing(tmp_path, kind):
    files = write(tmp_path, [1, 2])
    none = pa.nulls(0, kind)
    pq.write_table(pa.table({"pid": none, "embedding": none}), tmp_path / "9.parquet")
    pq.write_table(pa.table({"index": none}), tmp_path / "-.parquet")
    assert files.rows == 2
    assert files.stored_pid_type == pa.int64()
    assert [pids.to_pylist() for pids, _ in files.batches(9)] == [[1, 2]]


def test_vectors_of_different_types_are_read_as_one(tmp_path):
    rows = [[1.0] * WIDTH]
    kinds = [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float16(), WIDTH)]
    for number, kind in enumerate(kinds):
        add(tmp_path, f"{number}.parquet", pa.array([number]), pa.array(rows).cast(kind))
    _, vectors = zip(*VectorFiles(str(tmp_path), width=WIDTH).batches(9), strict=True)
    np.testing.assert_array_equal(np.concatenate(vectors), np.ones((3, WIDTH), np.float32))


def test_a_file_that_lacks_a_column_is_named(tmp_path):
    files = write(tmp_path, [1])
    pq.write_table(pa.table({"pid": [2], "title": ["x"]}), tmp_path / "items.parquet")
    with pytest.raises(InputError, match=r"items\.parquet: no column 'embedding'.*: pid, title"):
        files.rows  # noqa: B018


def test_repeated_ids_are_found_in_their_files(tmp_path):
    files = write(tmp_path, [1, 2], [3], [2, 4])
    message = rf"^{tmp_path}/0\.parquet, {tmp_path}/2\.parquet: column 'pid': rows without an id"
    with pytest.raises(InputError, match=message):
        files.require_unique_ids()


def test_folders_of_partitions_are_read(tmp_path):
    for split in (0, 1):
        (tmp_path / f"split={split}").mkdir()
        add(tmp_path / f"split={split}", "part-0.parquet", pa.array([split]))
    assert VectorFiles(str(tmp_path), width=WIDTH).rows == 2


def test_files_of_other_formats_are_refused(tmp_path):
    (tmp_path / "vectors.csv").write_text("pid,embedding\n1,2\n")
    with pytest.raises(InputError, match=r"vectors\.csv: is csv\. Vectors must be parquet"):
        VectorFiles(str(tmp_path)).rows  # noqa: B018
