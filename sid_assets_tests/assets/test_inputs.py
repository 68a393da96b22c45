"""A run and a plan look at all inputs before the first item is embedded."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sid_assets.assets.inputs import input_problems, interactions_of
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    settings_for,
    write_catalog,
    write_frame,
    write_interactions,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    frame = write_catalog(tmp_path / "catalog.parquet", items=20)
    write_interactions(tmp_path / "interactions.parquet", frame.pid.tolist())
    write_frame(
        tmp_path / "captions.parquet", pd.DataFrame({"pid": [1, 2], "dense_caption": ["a", "b"]})
    )
    return tmp_path


def problems(folder: Path, **values: str) -> list[str]:
    given = {
        "interactions": str(folder / "interactions.parquet"),
        "captions": str(folder / "captions.parquet"),
        **values,
    }
    return input_problems(settings_for(folder, **given))


def write(path: Path, **columns: list[Any]) -> str:
    write_frame(path, pd.DataFrame(columns))
    return str(path)


def test_good_inputs_have_no_problem(folder: Path) -> None:
    assert problems(folder) == []


def test_no_inputs_have_no_problem(folder: Path) -> None:
    assert problems(folder, interactions="", captions="") == []


def test_everything_that_is_wrong_is_said_at_once(folder: Path) -> None:
    (folder / "goods.csv").write_text("pid,title\n1,a\n")
    (folder / "prompts.yaml").write_text("sft_ad_rec: {tasks: [a]}")
    found = problems(
        folder,
        interactions=write(folder / "bad.parquet", uid=[1], split=[0], hist_video_pid=["[1]"]),
        captions=write(folder / "text.parquet", pid=[1], dense_caption=[5]),
        goods_catalog=str(folder / "goods.csv"),
        prompts=str(folder / "prompts.yaml"),
    )
    said = "\n".join(found)
    assert "goods.csv: no column 'description', 'category'" in said
    assert "bad.parquet: there is no column 'target_video_pid'" in said
    assert "text.parquet: column 'dense_caption' holds int64, not text" in said
    assert "sft_ad_rec.tasks: unknown list" in said
    assert len(found) == 4


def test_a_file_that_is_not_there_is_a_problem(folder: Path) -> None:
    (said,) = problems(folder, interactions=str(folder / "gone.parquet"))
    assert "gone.parquet" in said


def test_lists_that_are_text_are_a_problem(folder: Path) -> None:
    path = write(
        folder / "text.parquet",
        uid=[1],
        split=[0],
        hist_video_pid=["[1]"],
        target_video_pid=[[2]],
    )
    (said,) = problems(folder, interactions=path)
    assert "column 'hist_video_pid' holds string, not lists of ids" in said


def test_a_run_stops_before_the_first_item_is_embedded(folder: Path) -> None:
    settings = settings_for(folder, interactions=write(folder / "bad.csv", uid=[1], split=[0]))
    result = materialize(settings)
    assert not result.success
    assert "bad.csv: there is no column 'hist_video_pid', 'target_video_pid'" in failure_message(
        result
    )
    assert (folder / "data" / "item_texts.parquet").exists()
    assert not (folder / "data" / "item_embeddings.parquet").exists()


def test_ids_of_another_type_than_the_catalogs_stop_the_run(folder: Path) -> None:
    path = write(
        folder / "ids.parquet",
        uid=[1],
        split=[0],
        hist_video_pid=[["1"]],
        target_video_pid=[["2"]],
    )
    result = materialize(settings_for(folder, interactions=path))
    assert not (folder / "data" / "item_embeddings.parquet").exists()
    assert "ids.parquet" in failure_message(result)
    assert "SID_PID_TYPE" in failure_message(result)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_interactions_in_text_give_the_same_rows_as_parquet(folder: Path, ending: str) -> None:
    frame = pd.read_parquet(folder / "interactions.parquet")
    path = folder / f"interactions.{ending}"
    lists = ("hist_video_pid", "target_video_pid")
    if ending == "csv":
        frame = frame.assign(
            **{name: [str(list(map(int, ids))) for ids in frame[name].to_list()] for name in lists}
        )
    write_frame(path, frame)
    made = {}
    for kind in ("parquet", ending):
        settings = settings_for(
            folder, interactions=str(folder / f"interactions.{kind}"), data_dir=str(folder / kind)
        )
        with interactions_of(settings) as source:
            assert source is not None
            made[kind] = [
                row for batch in source.batches(source.columns) for row in batch.to_pylist()
            ]
    assert made[ending] == made["parquet"]
