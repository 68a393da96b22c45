"""Blocks of input rows: which rows are dropped, and why."""

from pathlib import Path

import pytest

from sid_assets.core.training.rows import training_rows
from sid_assets.core.training_sets import DATA_SETS
from sid_assets_tests.core.training.one_file import inputs_of, video_rows


def test_why_rows_are_dropped(folder: Path) -> None:
    table = video_rows([[0], None, [0], [], [0]], [[0], [0], None, [0], []], [None, 1, 2, 3, 4])
    inputs, _ = inputs_of(folder, table, [0])
    made = training_rows("video_rec", inputs)
    rows = made.reader.read_all()
    assert rows.schema.equals(DATA_SETS["video_rec"].schema)
    assert rows.num_rows == 0
    assert made.counts.rows == made.counts.candidates == 5
    assert made.counts.dropped == {
        "uid is null or no id": 1,
        "hist_video_pid is null": 1,
        "target_video_pid is null": 1,
        "no pid of hist_video_pid has a SID": 1,
        "no pid of target_video_pid has a SID": 1,
    }


@pytest.mark.parametrize("name", ["video_rec", "sft_video_rec"])
def test_uids_that_are_not_ids(name: str, folder: Path) -> None:
    table = video_rows([[0]] * 5, [[0]] * 5, [1.0, float("nan"), 1.5, None, 2.0])
    inputs, _ = inputs_of(folder, table, [0])
    made = training_rows(name, inputs)
    assert made.reader.read_all()["metadata"].to_pylist() == ['{"uid": 1}', '{"uid": 2}']
    assert made.counts.dropped == {"uid is null or no id": 3}
