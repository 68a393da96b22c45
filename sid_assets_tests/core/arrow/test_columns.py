"""Arrow columns as numpy arrays: slices, nulls and empty lists."""

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.arrow.columns import (
    codes_array,
    codes_column,
    is_list,
    is_text,
    is_valid,
    list_bounds,
    only,
    run_starts,
    spans,
)


def test_which_values_are_not_null():
    assert is_valid(pa.array([1, None, 3])).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("kind", "text", "lists"),
    [
        (pa.string(), True, False),
        (pa.large_string(), True, False),
        (pa.string_view(), True, False),
        (pa.dictionary(pa.int32(), pa.string()), True, False),
        (pa.dictionary(pa.int32(), pa.int64()), False, False),
        (pa.int64(), False, False),
        (pa.list_(pa.string()), False, True),
        (pa.large_list(pa.int64()), False, True),
        (pa.list_(pa.int64(), 3), False, True),
    ],
)
def test_kinds_of_columns(kind, text, lists):
    assert (is_text(kind), is_list(kind)) == (text, lists)


def test_codes_become_a_column_and_back():
    codes = np.array([[1, 2, 3], [4, 5, 6]])
    column = codes_column(codes)
    assert column.to_pylist() == codes.tolist()
    np.testing.assert_array_equal(codes_array(column), codes)
    np.testing.assert_array_equal(codes_array(column.slice(1)), codes[1:])


@pytest.mark.parametrize(
    ("values", "starts"), [([7], [0]), ([1, 1, 2, 5, 5, 5], [0, 2, 3]), ([1, 2, 3], [0, 1, 2])]
)
def test_where_runs_of_equal_values_start(values, starts):
    assert run_starts(np.array(values)).tolist() == starts


def test_only_some_rows():
    one, two = pa.array([1, 2, 3]), pa.array(["a", None, "c"])
    kept = only(np.array([True, False, True]), one, two)
    assert [column.to_pylist() for column in kept] == [[1, 3], ["a", "c"]]
    assert only(np.ones(3, bool), one)[0] is one


def test_spans_are_concatenated():
    positions, bounds = spans(np.array([5, 0, 9]), np.array([8, 0, 11]))
    assert positions.tolist() == [5, 6, 7, 9, 10]
    assert bounds.tolist() == [0, 3, 3, 5]
    positions, bounds = spans(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert (positions.tolist(), bounds.tolist()) == ([], [0])


def test_a_null_list_is_empty_even_in_a_slice():
    lists = pa.array([[1, 2], None, [], [3]])
    starts, ends = list_bounds(lists.slice(1))
    assert (ends - starts).tolist() == [0, 0, 1]
    assert lists.values[int(starts[2])].as_py() == 3


def test_values_below_a_null_list_are_not_its_own():
    lists = pa.ListArray.from_arrays(
        pa.array([0, 2, 3], pa.int32()), pa.array([1, 2, 3]), mask=pa.array([True, False])
    )
    starts, ends = list_bounds(lists)
    assert (ends - starts).tolist() == [0, 1]
