"""Input files in parquet: finding and checking them, in order."""

import resource
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.files import find_table_files
from sid_assets.core.inputs.parquet import ParquetInput, find_parquet_files, read_parquet_schemas


@pytest.mark.parametrize("kept", [0, 3, 200, -4, -30])
def test_a_truncated_parquet_file_is_named(tmp_path: Path, kept: int) -> None:
    table = pa.table({"pid": list(range(1000))})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table, tmp_path / "b.parquet")
    whole = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:kept])
    with pytest.raises(InputError, match=r"b\.parquet: not a readable parquet file"):
        read_parquet_schemas(find_table_files(str(tmp_path)))


def test_parquet_schemas_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    for name in "cab":
        pq.write_table(pa.table({name: [1]}), tmp_path / f"{name}.parquet")
    schemas = read_parquet_schemas(find_table_files(str(tmp_path)))
    assert [schema.names for schema in schemas] == [["a"], ["b"], ["c"]]


def test_a_file_named_directly_may_have_any_ending_if_it_must_be_parquet(
    tmp_path,
):
    path = tmp_path / "vectors.bin"
    pq.write_table(pa.table({"pid": [1]}), path)
    assert find_parquet_files(str(path), "Vectors").names == (str(path),)
    with pytest.raises(InputError, match=r"no parquet, CSV or JSON lines here"):
        find_parquet_files(str(tmp_path), "Vectors")
    path.rename(tmp_path / "vectors.csv")
    with pytest.raises(InputError, match=r"vectors\.csv: is csv\. Vectors must be parquet"):
        find_parquet_files(str(tmp_path), "Vectors")


def test_other_files_in_the_folder_are_not_read(tmp_path: Path) -> None:
    for name in ("a", "_b", ".c", "_temporary/d", "deeper/e"):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"uid": [name]}), path)
    read = [uid for batch in ParquetInput(str(tmp_path)).batches(["uid"]) for uid in batch["uid"]]
    assert [uid.as_py() for uid in read] == ["a", "deeper/e"]


def test_more_files_than_can_be_open_at_once(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(int(path.name) for path in Path("/dev/fd").iterdir()) + 40
    for number in range(limit):
        pq.write_table(pa.table({"uid": [number]}), tmp_path / f"{number:05d}.parquet")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
    try:
        source = ParquetInput(str(tmp_path))
        assert len(list(source.pid_columns("uid"))) == limit
        assert [b["uid"][0].as_py() for b in source.batches(["uid"])] == list(range(limit))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
