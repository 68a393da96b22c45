"""Arrow columns as numpy arrays."""

import numpy as np
import pyarrow as pa

from sid_assets.core.schema import CODE_LAYERS


def is_valid(column: pa.Array) -> np.ndarray:
    """Which values are not null: bool, shape (n,)."""
    return as_bool(column.is_valid())


def as_bool(column: pa.BooleanArray) -> np.ndarray:
    """A boolean column without nulls: bool, shape (n,)."""
    return column.to_numpy(zero_copy_only=False)


def is_list(kind: pa.DataType) -> bool:
    """Whether values of this type are lists, of variable or fixed size."""
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def without_dictionary(kind: pa.DataType) -> pa.DataType:
    """The value type of a dictionary type; any other type unchanged."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are strings in any Arrow encoding, including dictionaries."""
    kind = without_dictionary(kind)
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def codes_array(column: pa.Array) -> np.ndarray:
    """Semantic IDs, lists of three codes: integers, shape (n, 3); a view if possible."""
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, CODE_LAYERS)


def codes_column(codes: np.ndarray) -> pa.ListArray:
    """Codes, integers of shape (n, layers), as a list column that shares their memory."""
    ends = np.arange(0, codes.size + 1, codes.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, codes.reshape(-1))


def run_starts(ascending: np.ndarray) -> np.ndarray:
    """Where each run of equal values starts: int64, shape (runs,)."""
    return np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))


def only(kept: np.ndarray, *columns: pa.Array) -> list[pa.Array]:
    """The rows of each column where `kept` is true."""
    if kept.all():
        return list(columns)
    mask = pa.array(kept)
    return [column.filter(mask) for column in columns]


def spans(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions start, start + 1, .. end - 1 of each row, concatenated.

    Args:
        starts: int64, shape (n,).
        ends: int64, shape (n,), each at least its start.

    Returns:
        The positions, int64, shape (m,), and the bounds of the rows in them, shape (n + 1,).
    """
    lengths = ends - starts
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    return np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], lengths), bounds


def list_bounds(lists: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """Where each list starts and ends in `lists.values`: int64, shape (n,); null is empty."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    starts, ends = offsets[:-1], offsets[1:]
    if lists.null_count:
        ends = np.where(is_valid(lists), ends, starts)
    return starts, ends
