"""Label masks beside lists of pids."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.training.block import Block
from sid_assets.core.training.labels import aligned, is_one, labelled
from sid_assets.core.training.rows import training_rows
from sid_assets.core.training_sets import LABELS
from sid_assets_tests.core.training.one_file import inputs_of, sid, video_rows


def test_masks_of_another_length_are_counted(folder: Path) -> None:
    table = video_rows([[0, 1], [0, 1]], [[0, 1], [1]])
    for name, masks in {
        "hist_video_longview": [[1, 1], [1]],
        "hist_video_like": [[0, 1, 1], [0, 1]],
        "target_video_longview": [[1, 0], [1, 1]],
        "target_video_like": [[0, 1], [1]],
    }.items():
        table = table.append_column(name, pa.array(masks))
    inputs, _ = inputs_of(folder, table, [0, 1])
    made = training_rows("sft_label_cond_rec", inputs)
    users = [
        json.loads(row)[1]["content"][0]["text"]
        for row in made.reader.read_all()["messages"].to_pylist()
    ]
    assert [text.count("\n") for text in users] == [1, 1]
    assert made.counts.mask_lines == {
        "hist_video_longview": 1,
        "hist_video_like": 1,
        "target_video_longview": 1,
    }
    pred = training_rows("sft_label_pred", inputs)
    assert pred.reader.read_all()["metadata"].to_pylist() == [
        '{"uid": 0, "label": 1}',
        '{"uid": 0, "label": 0}',
    ]
    assert pred.counts.dropped_rows == {
        "target_video_longview is not as long as target_video_pid": 1
    }


@pytest.mark.parametrize(
    ("values", "ones"),
    [
        (pa.array([0, 1, 2, None]), [False, True, False, False]),
        (pa.array([0.0, 1.0, float("nan"), None]), [False, True, False, False]),
        (pa.array([False, True, None]), [False, True, False]),
        (pa.nulls(2), [False, False]),
        (pa.array([], pa.int64()), []),
    ],
)
def test_only_a_one_is_a_label(values: pa.Array, ones: list[bool]) -> None:
    assert is_one(values).tolist() == ones


def test_a_mask_is_as_long_as_its_list() -> None:
    pids = pa.array([[1, 2], [1], None, [], [1]])
    mask = pa.array([[0, 1], [0, 1], [1], [], None])
    assert aligned(pids, mask).tolist() == [True, False, False, True, False]


def test_the_first_or_last_items_with_a_label(folder: Path) -> None:
    table = video_rows([[0, 1, 2, 3], [3]], [[0], [0]])
    table = table.append_column("hist_video_like", pa.array([[1, 0, 1, 1], [0]]))
    inputs, path = inputs_of(folder, table, [0, 1, 2, 3])
    source = ParquetInput(str(path))
    (rows,) = pq.read_table(path).to_batches()
    like = LABELS.index("like")

    def texts(**cut: int) -> list[str | None]:
        found = labelled(Block(rows, source), "hist", inputs.items, **cut)
        assert found.positive[like].tolist() == [True, False]
        assert not any(mask.any() for i, mask in enumerate(found.positive) if i != like)
        return found.sids[like].text().to_pylist()

    assert texts() == [sid(0) + sid(2) + sid(3), None]
    assert texts(first=2) == [sid(0) + sid(2), None]
    assert texts(last=2) == [sid(2) + sid(3), None]
