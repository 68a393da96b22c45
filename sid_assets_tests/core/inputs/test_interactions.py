"""The columns of interactions must hold what the data sets read."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.training.rows import training_rows
from sid_assets.core.training_sets import DATA_SETS
from sid_assets_tests.core.training.one_file import inputs_of


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("hist_video_pid", "[0, 1]"),
        ("hist_video_pid", [[0]]),
        ("hist_video_pid", 0),
        ("hist_video_like", ["1"]),
        ("uid", [1]),
        ("split", "0"),
        ("inter_user_profile_with_sid", 5),
        ("inter_keyword_to_items", {"a": "b"}),
        ("inter_keyword_to_items", [1]),
    ],
)
def test_columns_of_a_wrong_type(tmp_path: Path, column: str, value: Any) -> None:
    table = pa.table(
        {
            "uid": [1],
            "split": [0],
            "hist_video_pid": [[0]],
            "target_video_pid": [[0]],
            "target_video_like": [[0]],
            "hist_video_like": [[1]],
            "inter_user_profile_with_sid": ["p"],
            "inter_keyword_to_items": ["{}"],
        }
    )
    table = table.drop_columns([column]).append_column(column, pa.array([value]))
    inputs, path = inputs_of(tmp_path, table, [0, 1])
    data_sets = ("video_rec", "sft_label_cond_rec", "sft_interactive_rec")
    name = next(name for name in data_sets if column in DATA_SETS[name].reads())
    with pytest.raises(InputError) as refused:
        training_rows(name, inputs)
    assert str(path) in str(refused.value)
    assert f"column {column!r} holds" in str(refused.value)
