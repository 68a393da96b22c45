"""Ids are never altered, and two files that store them differently are refused."""

import decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import (
    PidColumn,
    agree,
    cast_pids,
    convert_pids,
    stored_as,
    without_zeros,
    zeros_lost,
)

INT64_MAX = 2**63 - 1


def column(stored: Any, ids: tuple[Any, ...] = (1, 2)) -> PidColumn:
    return PidColumn(f"{stored}.parquet", "pid", stored, 2, ids)


@pytest.mark.parametrize(
    ("catalog", "other"),
    [("int", "int"), ("text", "text"), ("untyped", "int"), ("untyped", "text"), ("int", "untyped")],
)
def test_ids_stored_as_one_type_or_untyped_agree(catalog: str, other: str) -> None:
    agree(column(catalog), column(other))


def test_integers_and_text_do_not_agree() -> None:
    with pytest.raises(InputError) as raised:
        agree(column("int"), column("text", ("1", "2")))
    message = str(raised.value)
    for part in (
        "int.parquet",
        "text.parquet",
        "'pid'",
        "2 ids",
        "1, 2",
        "'1', '2'",
        "SID_PID_TYPE",
    ):
        assert part in message


@pytest.mark.parametrize("setting", ["int", "string"])
def test_a_forced_type_lets_integers_and_text_match(setting: Any) -> None:
    agree(column("int"), column("text"), setting)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            pa.array(["0", "7", "-7", str(INT64_MAX), str(-INT64_MAX - 1)]),
            [0, 7, -7, INT64_MAX, -INT64_MAX - 1],
        ),
        (pa.array(["007", "-0", "+7", " 7", "7 ", "7\n", "7.0", "x", ""]), [None] * 9),
        (pa.array([str(INT64_MAX + 1), str(-INT64_MAX - 2), "9" * 30]), [None] * 3),
        (pa.array([1.0, -3.0, None, 2.5, float("nan"), 1e300, 2.0**60]), [1, -3] + [None] * 5),
        (pa.array([1, INT64_MAX + 1], pa.uint64()), [1, None]),
        (pa.array([1, 2], pa.int16()), [1, 2]),
        (pa.array([decimal.Decimal("1.00"), decimal.Decimal("2.50")]), [1, None]),
        (pa.array(["7", "8", "7"]).dictionary_encode(), [7, 8, 7]),
        (pa.array([None, None]), [None, None]),
    ],
)
def test_what_is_an_integer(values: pa.Array, expected: list[int | None]) -> None:
    converted = convert_pids(values, "int")
    assert converted.type == pa.int64()
    assert converted.to_pylist() == expected


@pytest.mark.parametrize("width", [pa.decimal128(38, 0), pa.decimal256(60, 0)])
def test_decimals_up_to_38_digits_are_exact_and_longer_ones_are_no_ids(width: pa.DataType) -> None:
    long = decimal.Decimal("7" * 38)
    assert convert_pids(pa.array([long, None], width), "string").to_pylist() == [str(long), None]
    assert convert_pids(pa.array([long, None], width), "int").to_pylist() == [None, None]
    longer = pa.array([decimal.Decimal("7" * 60), 1], pa.decimal256(60, 0))
    assert convert_pids(longer, "string").to_pylist() == [None, "1"]


def test_zeros_that_one_side_has_lost() -> None:
    texts = pa.array(["007", "0", "000", "a7", "07a", "-07", "", None])
    assert without_zeros(texts).to_pylist() == ["7", "0", "0", "a7", "07a", "-07", "", None]
    catalog = pa.array(["007", "0012", "x", "5"])
    sentence = zeros_lost(pa.array([9, 7, 12]), catalog)
    assert "2 of 3 ids without an item" in sentence
    assert "such as 7 here and 007 in the catalog" in sentence
    assert "SID_PID_TYPE=int" in sentence
    of_text = zeros_lost(pa.array(["x1", "0005"]), pa.array([5, 6]))
    assert "1 of 2 ids" in of_text
    assert "such as 0005 here and 5 in the catalog" in of_text
    assert zeros_lost(pa.array([5, 9]), catalog) == ""
    assert zeros_lost(pa.array([], pa.string()), catalog) == ""


def test_errors_about_types_tell_of_zeros() -> None:
    hint = "Ids such as '007' begin with zeros, which integers lose: SID_PID_TYPE=int reads 007 as"
    with pytest.raises(InputError, match=hint):
        agree(column("text", ("x", "007")), column("int"))
    with pytest.raises(InputError, match=hint):
        cast_pids(pa.array(["007"]), "int", source="f", column="pid")


def test_a_forced_integer_may_have_leading_zeros_or_a_zero_fraction() -> None:
    text = pa.array(["007", "7.0", "-0", "7.5", "x"])
    assert convert_pids(text, "int", forced=True).to_pylist() == [7, 7, 0, None, None]


@given(st.lists(st.text() | st.none()))
def test_text_ids_stay_as_they_are(ids: list[str | None]) -> None:
    assert convert_pids(pa.array(ids, pa.string()), "string").to_pylist() == ids


@given(st.lists(st.integers(-(2**63), INT64_MAX)))
def test_integers_survive_as_text_and_back(ids: list[int]) -> None:
    text = convert_pids(pa.array(ids, pa.int64()), "string")
    assert text.to_pylist() == [str(pid) for pid in ids]
    assert convert_pids(text, "int").to_pylist() == ids


def test_ids_of_another_type_are_named() -> None:
    values = pa.array(["1", None, "a", "b", "007", "d", "e", "f"])
    with pytest.raises(InputError) as raised:
        cast_pids(values, "int", source="clicks.csv", column="hist")
    message = str(raised.value)
    assert "clicks.csv: column 'hist'" in message
    assert "(6 rows). First ids: 'a', 'b', '007', 'd', 'e'." in message


def test_nulls_and_nans_stay_null() -> None:
    values = pa.chunked_array([pa.array([1.0, None, float("nan")])])
    assert cast_pids(values, "int", source="", column="").to_pylist() == [1, None, None]


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (pa.int32(), "int"),
        (pa.float64(), "int"),
        (pa.large_string(), "text"),
        (pa.list_(pa.int64()), "int"),
        (pa.list_(pa.string()), "text"),
        (pa.list_view(pa.uint64()), "int"),
        (pa.list_(pa.uuid()), "text"),
        (pa.uuid(), "text"),
        (pa.binary(), "text"),
        (pa.decimal128(38, 0), "int"),
        (pa.decimal64(9, 0), "int"),
        (pa.dictionary(pa.int32(), pa.string()), "text"),
        (pa.null(), "untyped"),
    ],
)
def test_how_a_column_stores_ids(kind: pa.DataType, stored: str) -> None:
    assert stored_as(kind, source="f", column="c") == stored


@pytest.mark.parametrize("kind", [pa.bool_(), pa.date32(), pa.struct([("a", pa.int64())])])
def test_other_types_are_not_ids(kind: pa.DataType) -> None:
    with pytest.raises(
        InputError, match=r"f\.parquet: column 'pid' holds .*; ids are integers or text"
    ):
        stored_as(kind, source="f.parquet", column="pid")
