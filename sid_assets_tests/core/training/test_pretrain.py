"""The pretraining data sets: what becomes a row of `video_rec`."""

import json
from pathlib import Path

import pyarrow as pa

from sid_assets.core.training.rows import training_rows
from sid_assets_tests.core.training.one_file import inputs_of, sid, video_rows


def test_lists_are_cut_before_pids_without_a_sid_are_dropped(folder: Path) -> None:
    table = video_rows([[1] + [9] * 512, [1] * 600], [[1], [9] * 10 + [0]])
    table = pa.concat_tables([table, video_rows([[9] * 99 + [1] * 511 + [0]], [[0] * 10 + [1]])])
    inputs, _ = inputs_of(folder, table, [0, 1])
    made = training_rows("video_rec", inputs)
    rows = made.reader.read_all()
    text = json.loads(rows["segments"][0].as_py())[0]["text"]
    assert text == sid(1) * 511 + sid(0) + sid(0) * 10
    assert made.counts.dropped == {
        "no pid of hist_video_pid has a SID": 1,
        "no pid of target_video_pid has a SID": 1,
    }
    assert made.counts.pids["target_video_pid"].share == 11 / 21
