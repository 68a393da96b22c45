"""SIDs of a file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.probe.sid_files import read_sids


def write(path: Path, pids: list, sids: list, kind: pa.DataType | None = None) -> str:
    made = pa.array(sids, kind or pa.list_(pa.int64()))
    pq.write_table(pa.table({"pid": pids, "sid": made}), path)
    return str(path)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int16()), pa.list_(pa.int64()), pa.list_(pa.float64()), None, "fixed"]
)
def test_lists_of_three_numbers_are_sids(tmp_path, kind):
    kind = pa.list_(pa.int32(), 3) if kind == "fixed" else kind
    path = write(tmp_path / "s.parquet", [7, 3], [[1, 2, 8191], [0, 0, 0]], kind)
    found = read_sids(path, "int")
    assert found.to_pydict() == {"pid": [7, 3], "sid": [[1, 2, 8191], [0, 0, 0]]}
    assert found.schema.field("sid").type == pa.list_(pa.int16(), 3)


@pytest.mark.parametrize(("pids", "wanted"), [([7, 3], "int64"), (["b", "a"], "string")])
def test_without_a_catalog_ids_have_the_type_of_the_file(tmp_path, pids, wanted):
    path = write(tmp_path / "s.parquet", pids, [[1, 2, 3]] * 2)
    found = read_sids(path, None)
    assert str(found.schema.field("pid").type) == wanted
    assert found["pid"].to_pylist() == pids


def test_ids_are_converted_to_those_of_the_catalog(tmp_path):
    path = write(tmp_path / "s.parquet", ["7", "3"], [[1, 2, 3]] * 2)
    assert read_sids(path, "int")["pid"].to_pylist() == [7, 3]


@pytest.mark.parametrize(
    "sid",
    [[1, 2], [1, 2, 3, 4], [], None, [1, 2, None], [1, 2, -1], [1, 2, 8192], [1, 2, 0.5]],
    ids=str,
)
def test_what_is_no_sid_is_refused_by_id(tmp_path, sid):
    kind = pa.list_(pa.float64())
    path = write(tmp_path / "s.parquet", [7, 3, 5], [[1, 2, 3], sid, [1, 2, 3]], kind)
    with pytest.raises(InputError, match=r"s\.parquet.*sid.*not 3 codes from 0 to 8191") as error:
        read_sids(path, "int")
    assert "3" in str(error.value)
    assert "1 row" in str(error.value)


def test_an_id_that_occurs_twice_is_refused(tmp_path):
    path = write(tmp_path / "s.parquet", [7, 3, 7], [[1, 2, 3]] * 3)
    with pytest.raises(InputError, match=r"s\.parquet.*pid.*occurs twice.*7"):
        read_sids(path, "int")


def test_an_id_that_is_null_is_refused(tmp_path):
    path = write(tmp_path / "s.parquet", [7, None], [[1, 2, 3]] * 2)
    with pytest.raises(InputError, match=r"s\.parquet.*pid.*the id is null"):
        read_sids(path, "int")


@pytest.mark.parametrize(
    "sids", [["1-2-3"], [["1", "2", "3"]], [None], [1]], ids=["text", "texts", "null", "number"]
)
def test_a_column_that_is_no_list_of_numbers_is_refused(tmp_path, sids):
    pq.write_table(pa.table({"pid": [1], "sid": sids}), tmp_path / "s.parquet")
    with pytest.raises(
        InputError, match=r"s\.parquet: column 'sid' holds .*, not lists of 3 codes"
    ):
        read_sids(str(tmp_path / "s.parquet"), "int")


def test_a_file_without_rows_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"s\.parquet: there are no rows"):
        read_sids(write(tmp_path / "s.parquet", [], []), "int")


def test_files_of_a_folder_may_differ_in_their_types(tmp_path):
    write(tmp_path / "a.parquet", [7], [[1, 2, 3]], pa.list_(pa.int16()))
    write(tmp_path / "b.parquet", [8], [[4, 5, 6]], pa.list_(pa.int64()))
    found = read_sids(str(tmp_path), "int")
    assert found.to_pydict() == {"pid": [7, 8], "sid": [[1, 2, 3], [4, 5, 6]]}


def test_a_missing_column_is_named(tmp_path):
    pq.write_table(pa.table({"pid": [1], "codes": [[1, 2, 3]]}), tmp_path / "s.parquet")
    with pytest.raises(InputError, match=r"no column 'sid'\. The columns are pid, codes"):
        read_sids(str(tmp_path / "s.parquet"), "int")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.parquet"):
        read_sids(str(tmp_path / "gone.parquet"), "int")
