"""Interactions in CSV and JSON lines read as those in parquet."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.interaction_texts import open_interactions

ROWS: list[dict[str, Any]] = [
    {
        "uid": 5,
        "split": 0,
        "hist_video_pid": [3, 1, 3],
        "target_video_pid": [2],
        "target_video_like": [1],
        "inter_user_profile_with_sid": 'likes "rain", and\nsnow',
        "inter_keyword_to_items": {"rain": [1, 2]},
        "other": "x",
    },
    {
        "uid": 6,
        "split": 1,
        "hist_video_pid": None,
        "target_video_pid": [],
        "target_video_like": [],
        "inter_user_profile_with_sid": None,
        "inter_keyword_to_items": None,
        "other": None,
    },
]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    def cell(value: Any) -> Any:
        return json.dumps(value) if isinstance(value, list | dict) else value

    pd.DataFrame(
        [{name: cell(value) for name, value in row.items()} for row in rows], dtype=object
    ).to_csv(path, index=False)


WRITERS = {"csv": write_csv, "jsonl": write_jsonl}


def read(path: Path) -> pa.Table:
    with open_interactions(str(path)) as source:
        return pa.Table.from_batches(source.batches(source.columns))


@pytest.mark.parametrize("ending", WRITERS)
def test_rows_are_those_of_parquet(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    WRITERS[ending](path, ROWS)
    found = read(path)
    assert found.schema.field("hist_video_pid").type == pa.list_(pa.int64())
    assert found.schema.field("uid").type == pa.int64()
    expected = [{**row, "other": None} for row in ROWS]
    expected[0]["inter_keyword_to_items"] = json.dumps({"rain": [1, 2]})
    assert found.to_pylist() == expected


@pytest.mark.parametrize("ending", WRITERS)
def test_ids_that_are_text_stay_text(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    WRITERS[ending](path, [{"uid": "007", "split": 0, "hist_video_pid": ["a", "01"]}])
    found = read(path)
    assert found.to_pylist() == [{"uid": "007", "split": 0, "hist_video_pid": ["a", "01"]}]


def test_large_integers_keep_every_digit(tmp_path: Path) -> None:
    ids = [2**63 - 1, -(2**63), 2**53 + 1]
    write_jsonl(tmp_path / "rows.jsonl", [{"uid": 2**62 + 1, "hist_video_pid": ids}])
    assert read(tmp_path / "rows.jsonl").to_pylist() == [{"uid": 2**62 + 1, "hist_video_pid": ids}]


def test_integers_beyond_64_bits_become_text(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"hist_video_pid": [2**64, 1]}])
    assert read(tmp_path / "rows.jsonl").to_pylist() == [{"hist_video_pid": [str(2**64), "1"]}]


def test_a_column_of_some_lines_only_is_null_in_the_others(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"uid": 1}, {"uid": 2, "hist_video_pid": [1]}])
    assert read(tmp_path / "rows.jsonl")["hist_video_pid"].to_pylist() == [None, [1]]


def test_messages_name_the_file_of_the_user(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", ROWS)
    with open_interactions(str(tmp_path / "rows.csv")) as source:
        assert source.file_with("uid") == str(tmp_path / "rows.csv")
        assert source.path == str(tmp_path / "rows.csv")


def test_folders_and_their_columns_are_read(tmp_path: Path) -> None:
    for split in (0, 1):
        (tmp_path / f"split={split}").mkdir()
        write_jsonl(tmp_path / f"split={split}" / "a.jsonl", [{"uid": split + 10}])
    with open_interactions(str(tmp_path)) as source:
        rows = pa.Table.from_batches(source.train_batches(["uid", "split"]))
    assert rows.to_pylist() == [{"uid": 10, "split": 0}]


@pytest.mark.parametrize("cell", ["[1 2]", "['a']", "7", '{"a": 1}', "[[1]]", "nonsense"])
def test_values_that_are_no_list_are_counted_and_shown(tmp_path: Path, cell: str) -> None:
    rows = [{"uid": n, "hist_video_pid": "[1]" if n % 2 else cell} for n in range(14)]
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InputError) as refused:
        read(tmp_path / "rows.csv")
    said = str(refused.value)
    assert str(tmp_path / "rows.csv") in said
    assert "'hist_video_pid': is no JSON array of single values (7 rows)" in said
    assert said.count(repr(cell)) == 5


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "line 2 is malformed"), ("[1]", "not a JSON object"), ("5", "not a JSON object")],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"uid": 1}\n' + line + "\n")
    with pytest.raises(InputError, match=said):
        read(tmp_path / "rows.jsonl")


def test_parquet_is_read_where_it_lies(tmp_path: Path) -> None:
    pd.DataFrame({"uid": [1]}).to_parquet(tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet").to_pylist() == [{"uid": 1}]
