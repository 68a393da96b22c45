"""Label masks beside lists of pids."""

import dataclasses
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
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


def with_masks(history: pa.Array, target: pa.Array | None = None) -> pa.Table:
    """Two rows with the same mask for the labels `like` and `longview`."""
    table = video_rows([[0, 1, 2], [3]], [[0, 1], [3]])
    target = pa.array([[1, 0], [1]]) if target is None else target
    for label in ("like", "longview"):
        table = table.append_column(f"hist_video_{label}", history)
        table = table.append_column(f"target_video_{label}", target)
    return table


@pytest.mark.parametrize("data_set", ["sft_label_cond_rec", "sft_label_pred"])
@pytest.mark.parametrize(
    ("history", "rows", "shown"),
    [
        (pa.array([[2, 0, 1], [1]]), "1 row", "2"),
        (pa.array([[2, 3, 2], [-1]]), "2 rows", "2, 3, -1"),
        (pa.array([[7, 6, 5], [4]]), "2 rows", "7, 6, 5, 4"),
        (pa.array([[0.5, None, float("nan")], [1.0]]), "1 row", "0.5"),
        (pa.array([[Decimal(9), None, Decimal(0)], None]), "1 row", "9"),
    ],
)
def test_a_mask_with_other_values_than_0_and_1_is_refused(
    data_set: str, history: pa.Array, rows: str, shown: str, folder: Path
) -> None:
    inputs, path = inputs_of(folder, with_masks(history), [0, 1, 2, 3])
    with pytest.raises(InputError) as refused:
        training_rows(data_set, inputs).reader.read_all()
    column = "hist_video_longview"
    expected = f"{path}: column {column!r}: values other than 0 and 1 ({rows}). The first: {shown}."
    assert expected in str(refused.value)


@pytest.mark.parametrize("data_set", ["sft_label_cond_rec", "sft_label_pred"])
def test_targets_with_counts_are_refused_too(data_set: str, folder: Path) -> None:
    table = with_masks(pa.array([[1, 0, 1], [1]]), pa.array([[1, 10], [11]]))
    inputs, _ = inputs_of(folder, table, [0, 1, 2, 3])
    with pytest.raises(InputError, match=r"'target_video_longview'.* \(2 rows\).*: 10, 11\."):
        training_rows(data_set, inputs).reader.read_all()


def test_the_file_of_a_folder_that_has_counts_is_named(folder: Path) -> None:
    parts = folder / "parts"
    parts.mkdir()
    for name, count in (("a", 1), ("b", 5), ("c", 6)):
        pq.write_table(with_masks(pa.array([[count, 0, 1], [1]])), parts / f"{name}.parquet")
    inputs, _ = inputs_of(folder, with_masks(pa.array([[1, 0, 1], [1]])), [0, 1, 2, 3])
    inputs = dataclasses.replace(inputs, interactions=ParquetInput(str(parts)))
    with pytest.raises(InputError, match=r"/b\.parquet: column .* \(1 row\)\. The first: 5\."):
        training_rows("sft_label_cond_rec", inputs).reader.read_all()


@pytest.mark.parametrize(
    "mask",
    [
        [[1, None, 1], [1]],
        [[1.0, float("nan"), 1.0], [1.0]],
        [[True, None, True], [True]],
        [[Decimal(1), Decimal(0), Decimal(1)], [Decimal(1)]],
    ],
)
def test_nulls_floats_booleans_and_decimals_are_zeros_and_ones(
    mask: list[list[Any]], folder: Path
) -> None:
    def made(history: list[list[Any]]) -> list[Any]:
        inputs, _ = inputs_of(folder, with_masks(pa.array(history)), [0, 1, 2, 3])
        return training_rows("sft_label_cond_rec", inputs).reader.read_all().to_pylist()

    assert made(mask) == made([[1, 0, 1], [1]])


def test_the_remedy_for_counts_is_right() -> None:
    counts = pa.table({"mask": [[2, 0, 1], None]})
    remedy = duckdb.SQLExpression("list_transform(mask, lambda n: CAST(n > 0 AS TINYINT))")
    assert duckdb.from_arrow(counts).select(remedy).fetchall() == [([1, 0, 1],), (None,)]


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
