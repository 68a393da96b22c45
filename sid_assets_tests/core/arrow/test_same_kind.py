from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sid_assets.core.arrow.same_kind import given
from sid_assets.core.errors import InputError

PAIRS = pa.FixedSizeListArray.from_arrays(
    pa.array([1, 2, 3, 4, 0, 0]), 2, mask=pa.array([False, False, True])
)


def take(values: Any) -> Any:
    return given(values, "numbers", lambda value: isinstance(value, int))


def test_a_list_or_another_iterable_gives_a_list():
    assert take(range(3)).values.to_pylist() == [0, 1, 2]
    assert take([5, None, 7]).values.null_count == 1
    assert take((5, 6, 7)).answer(PAIRS) == [[1, 2], [3, 4], None]
    assert take([]).answer(PAIRS[:0]) == []


def test_a_single_value_gives_a_single_value():
    assert take(5).values.to_pylist() == [5]
    assert take(5).answer(PAIRS[:1]) == [1, 2]
    assert take(5).answer(PAIRS[2:]) is None


def test_numpy_gives_numpy_and_a_matrix_marks_missing_rows():
    of_numpy = take(np.array([5, 6, 7], np.int32))
    assert of_numpy.values.to_pylist() == [5, 6, 7]
    assert of_numpy.answer(PAIRS).tolist() == [[1, 2], [3, 4], [-1, -1]]
    assert of_numpy.answer(pa.array(["a", None, "c"])).tolist() == ["a", None, "c"]
    matrix = take(np.array([[1, 2], [3, 4], [-1, -1]]))
    assert matrix.values.to_pylist() == [[1, 2], [3, 4], None]
    assert take(np.zeros((0, 3), np.int64)).answer(PAIRS[:0]).shape == (0, 2)


def test_a_series_keeps_its_index_and_its_name():
    series = pd.Series([5.0, float("nan"), 7.0], index=["x", "y", "z"], name="pid")
    of_series = take(series)
    assert of_series.values.to_pylist() == [5.0, None, 7.0]
    result = of_series.answer(pa.array(["a", None, "c"]))
    assert list(result.index) == ["x", "y", "z"]
    assert result.name == "pid"
    assert result.isna().tolist() == [False, True, False]
    assert take(pd.Series(["a"], dtype="category")).values.to_pylist() == ["a"]


def test_arrow_gives_arrow():
    array = pa.array([5, 6, 7])
    result = take(array).answer(PAIRS)
    assert result.type == pa.list_(pa.int64())
    assert result.to_pylist() == [[1, 2], [3, 4], None]
    chunked = take(pa.chunked_array([array[:1], array[1:]]))
    assert chunked.values.to_pylist() == [5, 6, 7]
    assert isinstance(chunked.answer(PAIRS), pa.ChunkedArray)


@pytest.mark.parametrize("values", [[1, "a"], 1.5, np.zeros((2, 2, 2)), [2**70]])
def test_values_of_several_types_are_refused(values: Any):
    with pytest.raises(InputError, match="These numbers cannot be read as values of one type"):
        take(values)
