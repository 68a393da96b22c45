"""Interactions and captions in the types that databases and other programs write."""

import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.interactions import check_types
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.sids.sid2pid import occurrences
from sid_assets.core.training.rows import training_rows
from sid_assets_tests.core.training.one_file import inputs_of

DATA_SETS = ("video_rec", "sft_label_cond_rec", "sft_label_pred", "sft_interactive_rec")
LISTS = ("hist_video_pid", "target_video_pid")
MASKS = ("hist_video_like", "target_video_like", "target_video_longview")

Change = Callable[[pa.Array], pa.Array]


def plain() -> pa.Table:
    """Three rows, one of them of split 1, with nulls in a list."""
    history = pa.array([[0, 1, None], [2], [1, 2]], pa.list_(pa.int64()))
    target = pa.array([[3, 2], [0], [1]], pa.list_(pa.int64()))
    return pa.table(
        {
            "uid": [11, 12, 13],
            "split": [0, 0, 1],
            "hist_video_pid": history,
            "target_video_pid": target,
            "hist_video_like": [[1, 1, 0], [1], [1, 0]],
            "target_video_like": [[1, 0], [1], [1]],
            "target_video_longview": [[0, 1], [1], [1]],
            "inter_user_profile_with_sid": ["a", "b", "c"],
            "inter_keyword_to_items": ['{"x": [1, 2]}', '{"y": [3]}', "{}"],
        }
    )


def rows_of(folder: Path, table: pa.Table, pids: list[Any]) -> list[Any]:
    inputs, _ = inputs_of(folder, table, pids)
    return [training_rows(name, inputs).reader.read_all().to_pylist() for name in DATA_SETS]


def changed(table: pa.Table, names: tuple[str, ...], change: Change) -> pa.Table:
    for name in names:
        column = change(table[name].combine_chunks())
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def cast(kind: pa.DataType) -> Change:
    return lambda column: column.cast(kind)


def written_as(kind: pa.DataType) -> Change:
    """For types that pyarrow does not cast to."""
    return lambda column: pa.array(column.to_pylist(), kind)


def list_of(change: Change) -> Change:
    """The change of the values of lists."""
    return lambda lists: pa.ListArray.from_arrays(
        lists.offsets, change(lists.values), mask=lists.is_null()
    )


def decimals(kind: pa.DataType) -> Change:
    return lambda column: pa.array(
        [None if value is None else Decimal(value) for value in column.to_pylist()], kind
    )


def encoded(column: pa.Array) -> pa.Array:
    return column.cast(pa.string()).cast(pa.binary())


@pytest.mark.parametrize(
    ("names", "change"),
    [
        (LISTS, list_of(decimals(pa.decimal128(38, 0)))),
        (LISTS, list_of(decimals(pa.decimal128(12, 2)))),
        (LISTS, list_of(cast(pa.uint64()))),
        (LISTS, list_of(cast(pa.int32()))),
        (LISTS, list_of(cast(pa.float64()))),
        (LISTS, cast(pa.large_list(pa.int64()))),
        (LISTS, written_as(pa.list_view(pa.int64()))),
        (LISTS, written_as(pa.large_list_view(pa.int64()))),
        (LISTS, list_of(lambda ids: ids.dictionary_encode())),
        (MASKS, list_of(decimals(pa.decimal128(1, 0)))),
        (MASKS, list_of(cast(pa.bool_()))),
        (MASKS, list_of(cast(pa.float32()))),
        (MASKS, list_of(cast(pa.uint8()))),
        (MASKS, written_as(pa.list_view(pa.int64()))),
        (("split",), decimals(pa.decimal128(38, 0))),
        (("split",), cast(pa.bool_())),
        (("split",), cast(pa.float64())),
        (("split",), cast(pa.uint64())),
        (("uid",), decimals(pa.decimal128(38, 0))),
        (("uid",), cast(pa.uint64())),
        (("uid",), cast(pa.float64())),
        (("inter_user_profile_with_sid", "inter_keyword_to_items"), encoded),
        (("inter_user_profile_with_sid",), lambda column: column.dictionary_encode()),
        (("inter_keyword_to_items",), cast(pa.json_())),
    ],
)
@pytest.mark.parametrize("with_arrow_types", [True, False])
def test_every_type_gives_the_rows_of_the_plain_file(
    names: tuple[str, ...], change: Change, with_arrow_types: bool, tmp_path: Path
) -> None:
    expected = rows_of(tmp_path, plain(), [0, 1, 2, 3])
    assert all(expected)
    inputs, path = inputs_of(tmp_path, plain(), [0, 1, 2, 3])
    table = changed(plain(), names, change)
    pq.write_table(table, path, store_schema=with_arrow_types)
    inputs = type(inputs)(inputs.items, interactions=ParquetInput(str(path)))
    made = [training_rows(name, inputs).reader.read_all().to_pylist() for name in DATA_SETS]
    assert made == expected
    counted = occurrences(ParquetInput(str(path)), LISTS, "int")
    assert sorted(pid for batch in counted for pid in batch.to_pylist()) == [
        *(0, 0, 1, 1, 1, 2, 2, 2, 3)
    ]


@pytest.mark.parametrize("kind", [pa.uuid(), pa.binary(16)])
def test_uuids_are_ids_and_users_as_their_text_is(kind: pa.DataType, tmp_path: Path) -> None:
    uuids = [uuid.UUID(int=number << 64) for number in range(4)]
    texts = list(map(str, uuids))

    def text(ids: pa.Array) -> pa.Array:
        return pa.array([None if i is None else texts[i % 4] for i in ids.to_pylist()], pa.string())

    def stored(ids: pa.Array) -> pa.Array:
        values = [None if i is None else uuids[i % 4].bytes for i in ids.to_pylist()]
        return pa.array(values, kind)

    table = plain().drop_columns("inter_keyword_to_items")
    table = table.append_column("inter_keyword_to_items", pa.array(["{}"] * 3))
    expected = changed(changed(table, ("uid",), text), LISTS, list_of(text))
    given = changed(changed(table, ("uid",), stored), LISTS, list_of(stored))
    made = rows_of(tmp_path, given, texts)
    assert made == rows_of(tmp_path, expected, texts)
    assert made[0]


def test_captions_with_uuids_and_decimals(tmp_path: Path) -> None:
    ids = [uuid.UUID(int=number) for number in range(2)]
    as_text = pa.table({"pid": list(map(str, ids)), "dense_caption": ["a", "b"]})
    as_uuids = pa.table(
        {
            "pid": pa.array([one.bytes for one in ids], pa.uuid()),
            "dense_caption": pa.array([b"a", b"b"]),
        }
    )
    as_numbers = pa.table({"pid": [0, 1], "dense_caption": ["a", "b"]})
    as_decimals = changed(as_numbers, ("pid",), decimals(pa.decimal128(38, 0)))
    for pids, expected, given in (
        (list(map(str, ids)), as_text, as_uuids),
        ([0, 1], as_numbers, as_decimals),
    ):
        made = []
        for table in (expected, given):
            inputs, _ = inputs_of(tmp_path, table, pids)
            made.append(training_rows("item_understand", inputs).reader.read_all())
        assert made[0].num_rows == 2
        assert made[0] == made[1]


@pytest.mark.parametrize(
    ("column", "value", "remedy", "converted"),
    [
        ("hist_video_pid", "[1, 2]", "CAST(hist_video_pid AS BIGINT[])", [1, 2]),
        ("hist_video_like", ["1", "0"], "CAST(hist_video_like AS TINYINT[])", [1, 0]),
    ],
)
def test_lists_as_text_are_refused_with_the_way_to_convert_them(
    column: str, value: Any, remedy: str, converted: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({column: [value]}), path)
    with pytest.raises(InputError) as refused:
        check_types(ParquetInput(str(path)), [column])
    assert f"{path}: column {column!r} holds " in str(refused.value)
    assert remedy in str(refused.value)
    expression = duckdb.SQLExpression(remedy)
    assert duckdb.read_parquet(str(path)).select(expression).fetchall() == [(converted,)]
