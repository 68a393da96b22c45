"""Arithmetic on float32 rows, a few rows at a time: 16 rows of 4096 values stay in the cache.

Everything runs in the calling thread. More threads would not pay off: Python threads wait for each
other between calls as short as these, and torch's threads synchronise at the end of each call,
which takes very long on a busy machine.
"""

from collections.abc import Iterator

import numpy as np

VALUES_AT_ONCE = 65536
"""16 rows of 4096 values: 256 kB of each float32 array, 512 kB of each float64 array."""


def row_norms(vectors: np.ndarray) -> np.ndarray:
    """The Euclidean norms of float32 rows, in float64: relative error below (n + 4) 2^-53."""
    squares, wide = np.empty(len(vectors)), _Scratch(vectors, np.float64)
    for block in _blocks(len(vectors), vectors):
        values = wide[block]
        values[:] = vectors[block]
        np.vecdot(values, values, out=squares[block])
    return np.sqrt(squares)


def distances(
    vectors: np.ndarray, rows: np.ndarray, others: np.ndarray, other_rows: np.ndarray
) -> np.ndarray:
    """The Euclidean distances of pairs of float32 rows, in float64; relative error as `row_norms`.

    Args:
        vectors: Shape (n, dim).
        rows: The row of `vectors` in each pair; shape (pairs,).
        others: Shape (m, dim).
        other_rows: The row of `others` in each pair.
    """
    squares, narrow = np.empty(len(rows)), _Scratch(vectors, np.float32)
    left, right = _Scratch(vectors, np.float64), _Scratch(vectors, np.float64)
    for block in _blocks(len(rows), vectors):
        values, difference = narrow[block], left[block]
        # No row is out of bounds; with the default mode numpy would not write to `out` directly.
        difference[:] = np.take(vectors, rows[block], axis=0, out=values, mode="clip")
        right[block][:] = np.take(others, other_rows[block], axis=0, out=values, mode="clip")
        difference -= right[block]
        np.vecdot(difference, difference, out=squares[block])
    return np.sqrt(squares)


def subtract_rows(vectors: np.ndarray, others: np.ndarray, other_rows: np.ndarray) -> np.ndarray:
    """Subtract one row of `others` from each vector, in place and in float32.

    Returns:
        The `row_norms` of the differences; not finite where a difference overflows.
    """
    squares = np.empty(len(vectors))
    right, wide = _Scratch(vectors, np.float32), _Scratch(vectors, np.float64)
    with np.errstate(over="ignore"):
        for block in _blocks(len(vectors), vectors):
            values = wide[block]
            np.take(others, other_rows[block], axis=0, out=right[block], mode="clip")
            vectors[block] -= right[block]
            values[:] = vectors[block]
            np.vecdot(values, values, out=squares[block])
    return np.sqrt(squares)


def round_rows(vectors: np.ndarray, scale: float, bits: np.ndarray) -> np.ndarray:
    """Scale float32 rows and round them to bfloat16: to nearest, ties to even.

    A bfloat16 is the upper half of a float32. Just under half of the lower half's range is added,
    together with the last bit of the upper half; the sum carries into the upper half exactly where
    the value is rounded up.

    Args:
        vectors: float32, shape (n, dim), finite.
        scale: A power of two.
        bits: uint16, shape (n, dim): filled with the bits of the rounded values.

    Returns:
        The norm of the rounding error of each row, summed in float32: relative error below
        (n + 4) 2^-24; squares below 2^-149 are lost, and norms above 2^63 are infinite.
    """
    squares = np.empty(len(vectors), np.float32)
    scaled, upper = _Scratch(vectors, np.float32), _Scratch(vectors, np.uint32)
    rounded = _Scratch(vectors, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # vectors beyond the bounds
        for block in _blocks(len(vectors), vectors):
            values, above, result = scaled[block], upper[block], rounded[block]
            np.multiply(vectors[block], np.float32(scale), out=values)
            before, after = values.view(np.uint32), result.view(np.uint32)
            np.right_shift(before, 16, out=after)
            after &= 1
            after += before
            after += 0x7FFF
            np.right_shift(after, 16, out=above)
            bits[block] = above
            after &= 0xFFFF0000
            values -= result
            np.vecdot(values, values, out=squares[block])
    return np.sqrt(squares, dtype=np.float64)


def _rows_at_once(like: np.ndarray) -> int:
    return max(1, VALUES_AT_ONCE // like.shape[1])


def _blocks(rows: int, like: np.ndarray) -> Iterator[slice]:
    for start in range(0, rows, _rows_at_once(like)):
        yield slice(start, min(start + _rows_at_once(like), rows))


class _Scratch:
    """Memory for the rows of a block. It is reused for every block and so stays in the cache."""

    def __init__(self, like: np.ndarray, dtype: type[np.generic]) -> None:
        self._room = np.empty((_rows_at_once(like), like.shape[1]), dtype)

    def __getitem__(self, block: slice) -> np.ndarray:
        """As many scratch rows as the block has."""
        return self._room[: block.stop - block.start]
