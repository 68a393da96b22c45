"""The ids of training inputs, compared with those of the catalog; and files of any kind."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.training.rows import training_rows
from sid_assets_tests.core.training.one_file import inputs_of, sid, video_rows


@pytest.mark.parametrize(
    ("pids", "listed"), [([0, 1], ["0", "1"]), (["0", "1"], [0, 1]), (["0", "x"], [0, 1])]
)
def test_ids_stored_as_int_and_as_text(folder: Path, pids: list[Any], listed: list[Any]) -> None:
    inputs, path = inputs_of(folder, video_rows([listed], [listed]), pids)
    with pytest.raises(InputError) as refused:
        training_rows("video_rec", inputs)
    for said in (str(path), "hist_video_pid", "(1 ", repr(listed[0]), "SID_PID_TYPE"):
        assert said in str(refused.value)
    inputs, _ = inputs_of(folder, video_rows([listed], [listed]), pids, setting="string")
    assert training_rows("video_rec", inputs).reader.read_all().num_rows == 1


def test_text_ids_of_a_catalog_of_integers(folder: Path) -> None:
    """Both files store text; pids are integers if every id of the catalog is one."""
    table = video_rows([["0", "01", "x", None]], [["1"]])
    inputs, _ = inputs_of(folder, table, [0, 1])
    catalog = dataclasses.replace(inputs.items.catalog, stored="text")
    inputs = dataclasses.replace(inputs, items=dataclasses.replace(inputs.items, catalog=catalog))
    made = training_rows("video_rec", inputs)
    assert json.loads(made.reader.read_all()["segments"][0].as_py())[0]["text"] == sid(0) + sid(1)
    assert made.counts.pids["hist_video_pid"].share == 0.25


def test_ids_that_the_setting_cannot_read(folder: Path) -> None:
    table = video_rows([["0", "x1"], ["y"], ["1"]], [["0"]] * 3)
    inputs, path = inputs_of(folder, table, [0, 1], setting="int")
    made = training_rows("video_rec", inputs)
    with pytest.raises(InputError) as refused:
        made.reader.read_all()
    for said in (str(path), "hist_video_pid", "2 rows", "'x1', 'y'"):
        assert said in str(refused.value)


def test_ids_that_are_floats_beyond_what_a_float_tells_apart(folder: Path) -> None:
    """They would have had no SID, without a word."""
    table = video_rows([[0.0, 2.0**53 + 2], [float("nan"), 1.0], [2.0**60]], [[0]] * 3)
    inputs, path = inputs_of(folder, table, [0, 1])
    with pytest.raises(InputError) as refused:
        training_rows("video_rec", inputs).reader.read_all()
    for said in (str(path), "'hist_video_pid'", "(2 rows)", "9007199254740994.0", "beyond 2**53"):
        assert said in str(refused.value)


def test_several_files_with_several_types(folder: Path) -> None:
    """Lists as pyarrow and pandas write them: large, of floats because of nulls, all null."""
    parts = folder / "parts"
    (parts / "deeper").mkdir(parents=True)
    lists = [
        pa.array([[0, 1]], pa.large_list(pa.int32())),
        pa.array([[0.0, float("nan"), 1.0]], pa.list_(pa.float64())),
        pa.array([None], pa.null()),
        pa.array([[1, 0]], pa.list_(pa.uint64(), 2)),
    ]
    for number, column in enumerate(lists):
        rows = {"uid": [float(number)], "split": [0.0], "hist_video_pid": column}
        rows["target_video_pid"] = pa.array([[1]])
        file = parts / f"{number}.parquet" if number < 3 else parts / "deeper" / "3.parquet"
        pq.write_table(pa.table(rows), file)
    inputs, _ = inputs_of(folder, video_rows([[0]], [[0]]), [0, 1])
    inputs = dataclasses.replace(inputs, interactions=ParquetInput(str(parts)))
    rows = training_rows("video_rec", inputs).reader.read_all()
    assert [json.loads(row)["uid"] for row in rows["metadata"].to_pylist()] == [0, 1, 3]
    texts = [json.loads(row)[0]["text"] for row in rows["segments"].to_pylist()]
    assert texts == [sid(0) + sid(1) * 2, sid(0) + sid(1) * 2, sid(1) + sid(0) + sid(1)]
    globbed = dataclasses.replace(inputs, interactions=ParquetInput(str(parts / "[01].parquet")))
    assert training_rows("video_rec", globbed).reader.read_all().num_rows == 2


def test_files_that_cannot_be_read(folder: Path) -> None:
    whole = folder / "whole.parquet"
    pq.write_table(video_rows([[0]] * 5000, [[0]] * 5000), whole)
    with pytest.raises(InputError, match="no such file"):
        ParquetInput(str(folder / "nowhere.parquet"))
    (folder / "text.parquet").write_text("uid,split")
    with pytest.raises(InputError, match=r"text.parquet: not a readable parquet file"):
        ParquetInput(str(folder / "text.parquet"))
    (folder / "rows.csv").write_text("uid,split")
    with pytest.raises(InputError, match=r"rows.csv: is csv.* must be parquet"):
        ParquetInput(str(folder / "rows.csv"))
    damaged = bytearray(whole.read_bytes())
    damaged[20:2000] = bytes(1980)
    (folder / "damaged.parquet").write_bytes(damaged)
    inputs, _ = inputs_of(folder, video_rows([[0]], [[0]]), [0])
    broken = dataclasses.replace(inputs, interactions=ParquetInput(str(folder / "damaged.parquet")))
    with pytest.raises(InputError, match="the file is damaged"):
        training_rows("video_rec", broken).reader.read_all()
