"""Columns as other programs encode them, converted to plain text, numbers and lists."""

import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.encodings import is_uuid, plain_batch, plain_type

UUID = uuid.UUID("7ed4bffc-0123-4567-89ab-cdef01234567")


def plain(column: pa.Array) -> pa.Array:
    (converted,) = plain_batch(pa.record_batch([column], ["c"]), "f.parquet").columns
    assert converted.type == plain_type(column.type)
    converted.validate(full=True)
    return converted


def lists_of(values: pa.Array) -> pa.Array:
    """The values as lists: the first two, null, none, the others."""
    offsets = pa.array([0, 2, 2, 2, len(values)], pa.int32())
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array([False, True, False, False]))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([b"a", None, "é".encode()]), ["a", None, "é"]),
        (pa.array([b"a", None], pa.large_binary()), ["a", None]),
        (pa.array([b"a", None], pa.binary_view()), ["a", None]),
        (pa.array([b"abc", None], pa.binary(3)), ["abc", None]),
        (pa.array(["a", None], pa.large_string()), ["a", None]),
        (pa.array(["a", None], pa.string_view()), ["a", None]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (pa.array([b"a", None, b"a"]).dictionary_encode(), ["a", None, "a"]),
        (pa.array([Decimal(7), None], pa.decimal64(18, 0)), [Decimal(7), None]),
        (pa.array(["{}", None], pa.string()).cast(pa.json_(pa.string())), ["{}", None]),
        (pa.array([UUID.bytes, None], pa.binary(16)), [str(UUID), None]),
        (pa.array([UUID.bytes, None], pa.uuid()), [str(UUID), None]),
        (pa.array([None], pa.uuid()), [None]),
        (pa.array([], pa.uuid()), []),
    ],
)
def test_single_values(column: pa.Array, expected: list[Any]) -> None:
    assert plain(column).to_pylist() == expected


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int32()),
        pa.large_list(pa.int32()),
        pa.list_view(pa.int32()),
        pa.large_list_view(pa.int32()),
        pa.list_(pa.field("element", pa.int32(), nullable=False)),
    ],
)
def test_lists_of_every_kind(kind: pa.DataType) -> None:
    lists = [[1, 2], None, [], [3]]
    for first in range(4):
        converted = plain(pa.array(lists, kind).slice(first))
        assert converted.type == pa.list_(pa.int32())
        assert converted.to_pylist() == lists[first:]
    pairs = [[1, 2], None, [3, 4]]
    assert plain(pa.array(pairs, pa.list_(pa.int32(), 2)).slice(1)).to_pylist() == pairs[1:]


def test_lists_structs_and_maps_of_encoded_values() -> None:
    ids = pa.array([UUID.bytes, None, UUID.bytes], pa.uuid())
    text = [[str(UUID), None], None, [], [str(UUID)]]
    assert plain(lists_of(ids)).to_pylist() == text
    assert plain(lists_of(ids).slice(1)).to_pylist() == text[1:]
    assert plain(lists_of(pa.array([b"a", b"b", b"c"]))).to_pylist() == [
        *(["a", "b"], None, [], ["c"])
    ]
    struct = pa.StructArray.from_arrays([lists_of(ids)], ["western"])
    assert plain(struct).to_pylist() == [{"western": ids} for ids in text]
    pairs = [[("western", [1])], None, [("noir", [2, 3]), ("sea", [])]]
    column = pa.array(pairs, pa.map_(pa.large_string(), pa.large_list(pa.int64())))
    for first in range(3):
        assert plain(column.slice(first)).to_pylist() == pairs[first:]


def test_what_is_plain_already_is_not_copied() -> None:
    values = pa.array(np.arange(8.0, dtype=np.float32))
    for column in (values, pa.ListArray.from_arrays(pa.array([0, 8], pa.int32()), values)):
        assert plain(column) is column or plain(column).buffers() == column.buffers()


@given(st.lists(st.uuids() | st.none()))
def test_uuids_are_printed_as_python_prints_them(ids: list[uuid.UUID | None]) -> None:
    stored = pa.array([one and one.bytes for one in ids], pa.binary(16))
    expected = [one and str(one) for one in ids]
    for first in (0, len(ids) // 2):
        assert plain(stored.slice(first)).to_pylist() == expected[first:]


def test_16_bytes_are_a_uuid_and_other_widths_are_not() -> None:
    assert all(map(is_uuid, (pa.uuid(), pa.binary(16))))
    assert not any(map(is_uuid, (pa.binary(15), pa.binary(), pa.json_(), pa.string())))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"a", b"\xff", b"\xfe"]),
        pa.array([[b"a", b"\xff"], [b"\xfe"], None]),
        pa.array([b"\xff", b"a", b"\xfe"], pa.binary_view()),
        pa.array([b"\xffb", b"ab", b"\xfea"], pa.binary(2)),
    ],
)
def test_bytes_that_are_not_text_are_refused_with_the_file_and_the_column(column: pa.Array) -> None:
    with pytest.raises(InputError) as refused:
        plain(column)
    expected = (
        "f.parquet: column 'c': bytes that are not text in UTF-8 (2 rows). First ids: b'\\xff"
    )
    assert expected in str(refused.value)
