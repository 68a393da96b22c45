"""A look at the inputs of training data says what the last stage would say."""

from pathlib import Path

import pandas as pd
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import PidColumn
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.training.inputs import TrainingInputs
from sid_assets.core.training.look import ids_without_sids, problems
from sid_assets.core.training.rows import training_rows

CATALOG = PidColumn("catalog.parquet", "pid", "int", 5, (1, 2))
GOOD = {
    "uid": [1],
    "split": [0],
    "hist_video_pid": [[1, 2]],
    "target_video_pid": [[3]],
    "hist_video_like": [[0, 1]],
    "target_video_like": [[1]],
}


def inputs(folder: Path, **columns: list[object]) -> TrainingInputs:
    path = folder / "rows.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return TrainingInputs(ids_without_sids(CATALOG), ParquetInput(str(path)))


def test_good_interactions_have_no_problems(tmp_path: Path) -> None:
    assert problems(inputs(tmp_path, **GOOD)) == []


@pytest.mark.parametrize(
    ("column", "value", "data_set"),
    [
        ("hist_video_pid", [["1"]], "video_rec"),
        ("hist_video_pid", [1], "video_rec"),
        ("target_video_like", [["yes"]], "sft_label_cond_rec"),
        ("hist_video_like", [[0, 2]], "sft_label_cond_rec"),
    ],
)
def test_a_problem_is_told_in_the_words_of_the_last_stage(
    tmp_path: Path, column: str, value: list[object], data_set: str
) -> None:
    given = inputs(tmp_path, **{**GOOD, column: value})
    with pytest.raises(InputError) as refused:
        training_rows(data_set, given).reader.read_all()
    assert problems(given) == [str(refused.value)]


def test_rows_of_split_1_alone_are_a_problem(tmp_path: Path) -> None:
    (said,) = problems(inputs(tmp_path, **{**GOOD, "split": [1]}))
    assert "no row is of split 0" in said


def test_a_missing_column_is_a_problem_only_if_every_run_needs_it(tmp_path: Path) -> None:
    without = {name: values for name, values in GOOD.items() if name != "target_video_pid"}
    (said,) = problems(inputs(tmp_path, **without))
    assert "there is no column 'target_video_pid'" in said
    labels = ("hist_video_like", "target_video_like")
    without = {name: values for name, values in GOOD.items() if name not in labels}
    assert problems(inputs(tmp_path, **without)) == []
