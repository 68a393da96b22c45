"""Training inputs in several files whose columns differ, and in folders that name a column."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.training.inputs import TrainingInputs
from sid_assets.core.training.rows import column_warnings, training_rows
from sid_assets.core.training_sets import DATA_SETS
from sid_assets_tests.core.training.one_file import inputs_of, keyword_rows, sid, video_rows

PIDS = [0, 1, 2, 3]


def parts(folder: Path, *tables: pa.Table) -> TrainingInputs:
    """Interactions and captions in a folder of files, and a catalog of four items."""
    folder.mkdir()
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"{number}.parquet")
    inputs, _ = inputs_of(folder.parent, video_rows([[0]], [[0]]), PIDS)
    source = ParquetInput(str(folder))
    return dataclasses.replace(inputs, interactions=source, captions=source)


def rows_of(name: str, inputs: TrainingInputs) -> list[dict]:
    return training_rows(name, inputs).reader.read_all().to_pylist()


def with_masks(table: pa.Table, masks: Iterable[str]) -> pa.Table:
    ones = [[1] * len(targets) for targets in table["target_video_pid"].to_pylist()]
    for mask in masks:
        table = table.append_column(mask, pa.array(ones))
    return table


def test_a_part_without_a_mask_gives_what_a_mask_of_nulls_gives(tmp_path: Path) -> None:
    masks = ("hist_video_longview", "hist_video_like", "target_video_like", "target_video_longview")
    whole = with_masks(video_rows([[0, 1], [2]], [[2, 3], [1]], [7, 8]), masks)
    lacking = with_masks(video_rows([[3, 1], [2]], [[0, 1], [1]], [5, 6]), masks[:-2])
    nulls = whole.slice(0, 0)
    filled = pa.concat_tables([nulls, lacking], promote_options="default").select(
        whole.schema.names
    )
    apart = parts(tmp_path / "apart", whole, lacking)
    together = parts(tmp_path / "together", pa.concat_tables([whole, filled]))
    for name in ("video_rec", "sft_label_cond_rec", "sft_label_pred"):
        assert rows_of(name, apart) == rows_of(name, together)
        assert rows_of(name, apart)
    (warning,) = column_warnings([DATA_SETS["sft_label_pred"], DATA_SETS["video_rec"]], apart)
    assert warning.startswith(f"{tmp_path}/apart/1.parquet: no column 'target_video_longview', ")


@pytest.mark.parametrize("kind", [pa.null(), pa.float64()])
def test_a_part_that_pandas_wrote_without_rows_changes_nothing(tmp_path: Path, kind) -> None:
    table = video_rows([[0, 1]], [[2]])
    empty = pa.table({name: pa.nulls(0, kind) for name in table.schema.names})
    alone = parts(tmp_path / "alone", table)
    assert rows_of("video_rec", parts(tmp_path / "parts", empty, table, empty)) == rows_of(
        "video_rec", alone
    )


@pytest.mark.parametrize("name", ["video_rec", "item_understand"])
def test_a_stray_file_is_named(tmp_path: Path, name: str) -> None:
    right = video_rows([[0]], [[1]])
    if name == "item_understand":
        right = pa.table({"pid": [0], "dense_caption": ["c"]})
    inputs = parts(tmp_path / "parts", right, pa.table({"pid": [0], "title": ["x"]}))
    with pytest.raises(InputError, match=r"parts/1\.parquet: there is no column .* pid, title\."):
        rows_of(name, inputs)


def test_users_that_are_numbers_in_one_part_and_text_in_another(tmp_path: Path) -> None:
    inputs = parts(
        tmp_path / "parts", video_rows([[0]], [[1]], [1]), video_rows([[0]], [[1]], ["1"])
    )
    with pytest.raises(InputError, match=r"1\.parquet: column 'uid' holds string, .*0\.parquet"):
        rows_of("video_rec", inputs)


def test_rows_in_the_folder_of_split_1_are_not_trained_on(tmp_path: Path) -> None:
    inputs, _ = inputs_of(tmp_path, video_rows([[0]], [[0]]), PIDS)
    for split, target in ((0, 1), (1, 2)):
        folder = tmp_path / "t" / f"split={split}"
        folder.mkdir(parents=True)
        table = video_rows([[0]], [[target]]).drop_columns("split")
        pq.write_table(table, folder / "part-0.parquet")
    inputs = dataclasses.replace(inputs, interactions=ParquetInput(str(tmp_path / "t")))
    (row,) = rows_of("video_rec", inputs)
    assert sid(0) + sid(1) in row["segments"]


def test_a_split_in_folders_that_is_no_number_is_refused(tmp_path: Path) -> None:
    inputs, _ = inputs_of(tmp_path, video_rows([[0]], [[0]]), PIDS)
    folder = tmp_path / "t" / "split=train"
    folder.mkdir(parents=True)
    pq.write_table(video_rows([[0]], [[1]]).drop_columns("split"), folder / "0.parquet")
    inputs = dataclasses.replace(inputs, interactions=ParquetInput(str(tmp_path / "t")))
    with pytest.raises(InputError, match=r"0\.parquet: column 'split' holds string, not numbers"):
        rows_of("video_rec", inputs)


def test_ids_that_cannot_be_read_are_found_in_their_file(tmp_path: Path) -> None:
    right, wrong = video_rows([["0"]], [["1"]]), video_rows([["x"]], [["1"]])
    inputs = parts(tmp_path / "parts", right, wrong, right)
    forced = dataclasses.replace(inputs.items, setting="int")
    inputs = dataclasses.replace(inputs, items=forced)
    with pytest.raises(InputError, match=rf"^{tmp_path}/parts/1\.parquet: column 'hist_video_pid'"):
        rows_of("video_rec", inputs)


def test_keywords_of_another_type_of_ids_are_found_in_their_file(tmp_path: Path) -> None:
    inputs = parts(tmp_path / "parts", video_rows([[0]], [[1]]), keyword_rows({"k": ["x", "y"]}))
    with pytest.raises(InputError, match=rf"{tmp_path}/parts/1\.parquet: column 'inter_keyword"):
        rows_of("sft_interactive_rec", inputs)
