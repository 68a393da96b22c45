"""Results of the same kind as the input: a list, numpy, pandas, Arrow, or a single value."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sid_assets.core.errors import InputError

MISSING = -1
"""Fills a row of an integer matrix that has no value, since numpy has no null."""


@dataclass(frozen=True)
class Given:
    """Values that a caller passed, as an Arrow array.

    Attributes:
        values: Shape (n,).
        answer: Converts an Arrow array of n results to the kind that was passed. For numpy, lists
            of a fixed size become a matrix, with rows of `MISSING` for null.
    """

    values: pa.Array
    answer: Callable[[pa.Array], Any]


def given(values: Any, what: str, is_one: Callable[[Any], bool]) -> Given:
    """Accept values of any of these kinds.

    Args:
        values: A single value, a list or another iterable, a numpy array (or what numpy converts
            to one, such as a tensor), a pandas Series, or an Arrow array.
        what: What they are, for the error message: "pids".
        is_one: Whether this is a single value.

    Raises:
        InputError: The values are not of one type.
    """
    try:
        return _given(values, is_one)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"These {what} cannot be read as values of one type: {error}") from error


def _given(values: Any, is_one: Callable[[Any], bool]) -> Given:
    if isinstance(values, pa.ChunkedArray):
        return Given(values.combine_chunks(), lambda array: pa.chunked_array([_as_lists(array)]))
    if isinstance(values, pa.Array):
        return Given(values, _as_lists)
    if is_one(values):
        return Given(pa.array([values]), lambda array: array[0].as_py())
    pandas = sys.modules.get("pandas")  # without an import there can be no Series
    if pandas and isinstance(values, pandas.Series):
        return Given(_whole(pa.array(values, from_pandas=True)), _like_series(values))
    if hasattr(values, "__array__"):
        return Given(_from_numpy(np.asarray(values)), _as_numpy)
    return Given(pa.array(list(values)), lambda array: array.to_pylist())


def _whole(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array: some Series become chunked in Arrow."""
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _from_numpy(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values, from_pandas=True)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"an array of shape {values.shape}")
    missing = (values == MISSING).all(axis=1)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=pa.array(missing))


def _as_lists(array: pa.Array) -> pa.Array:
    if not pa.types.is_fixed_size_list(array.type):
        return array
    return array.cast(pa.list_(array.type.value_type))


def _as_numpy(array: pa.Array) -> np.ndarray:
    if not pa.types.is_fixed_size_list(array.type):
        return array.to_numpy(zero_copy_only=False)
    rows = np.full((len(array), array.type.list_size), MISSING)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    rows[valid] = array.flatten().to_numpy().reshape(-1, array.type.list_size)
    return rows


def _like_series(series: Any) -> Callable[[pa.Array], Any]:
    def answer(array: pa.Array) -> Any:
        result = array.to_pandas()
        result.index, result.name = series.index, series.name
        return result

    return answer
