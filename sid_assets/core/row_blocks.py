"""Float64 arithmetic on float32 rows: a few rows at a time, so that they stay in the cache.

The threads share out the rows and each goes its own way. Calls into numpy are single-threaded, and
threads inside of torch would have to meet after each of many small operations.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

VALUES_AT_ONCE = 65536
"""16 rows of 4096 values: 1 MB of scratch room, and calls of about 50 microseconds."""

PARTS_A_THREAD = 4
"""So that a thread that was held up leaves its work to the others."""

MOST_THREADS = 16
"""More would wait for Python's lock."""

Scratch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Room for the rows of a block: float32, float32, float64."""


def each_block(rows: int, dim: int, work: Callable[[slice, Scratch], None]) -> None:
    """Call `work(block, scratch)` for all blocks of the rows, from several threads."""
    import torch

    at_once = max(1, VALUES_AT_ONCE // dim)

    def run(part: range) -> None:
        shape = (at_once, dim)
        room = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape)
        for start in part[::at_once]:
            block = slice(start, min(start + at_once, part.stop))
            size = block.stop - block.start
            work(block, (room[0][:size], room[1][:size], room[2][:size]))

    threads = min(MOST_THREADS, torch.get_num_threads())
    size = max(at_once, -(-rows // (threads * PARTS_A_THREAD)))
    parts = [range(start, min(start + size, rows)) for start in range(0, rows, size)]
    if threads == 1 or len(parts) == 1:
        for part in parts:
            run(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, parts))


def row_norms(vectors: np.ndarray) -> np.ndarray:
    """The Euclidean norms of float32 rows, in float64: relative error below (n + 4) 2^-53."""
    squares = np.empty(len(vectors))

    def work(block: slice, scratch: Scratch) -> None:
        *_, wide = scratch
        wide[:] = vectors[block]
        np.vecdot(wide, wide, out=squares[block])

    each_block(len(vectors), vectors.shape[1], work)
    return np.sqrt(squares)


def distances(
    vectors: np.ndarray, rows: np.ndarray, others: np.ndarray, other_rows: np.ndarray
) -> np.ndarray:
    """The Euclidean distances of pairs of float32 rows, in float64; error as of `row_norms`.

    Args:
        vectors: Shape (n, dim).
        rows: Of each pair, the row of `vectors`; shape (pairs,).
        others: Shape (m, dim).
        other_rows: Of each pair, the row of `others`.
    """
    squares = np.empty(len(rows))

    def work(block: slice, scratch: Scratch) -> None:
        left, right, wide = scratch
        # All rows are there; without a mode, numpy would not write to `out` directly.
        np.take(vectors, rows[block], axis=0, out=left, mode="clip")
        np.take(others, other_rows[block], axis=0, out=right, mode="clip")
        np.subtract(left, right, out=wide, dtype=np.float64)
        np.vecdot(wide, wide, out=squares[block])

    each_block(len(rows), vectors.shape[1], work)
    return np.sqrt(squares)


def subtract_rows(vectors: np.ndarray, others: np.ndarray, other_rows: np.ndarray) -> np.ndarray:
    """Take one row of `others` from each vector, in place and in float32.

    Returns:
        The `row_norms` of what is left.
    """
    squares = np.empty(len(vectors))

    def work(block: slice, scratch: Scratch) -> None:
        _, right, wide = scratch
        np.take(others, other_rows[block], axis=0, out=right, mode="clip")
        with np.errstate(over="ignore"):  # norms that are not finite tell the caller
            vectors[block] -= right
        wide[:] = vectors[block]
        np.vecdot(wide, wide, out=squares[block])

    each_block(len(vectors), vectors.shape[1], work)
    return np.sqrt(squares)


def round_rows(vectors: np.ndarray, scale: float, bits: np.ndarray) -> np.ndarray:
    """Scale float32 rows and round them to bfloat16, to nearest and ties to even.

    A bfloat16 is the upper half of a float32. Adding just under half of the lower half's range,
    and the last bit that stays, carries into the upper half where rounding goes up.

    Args:
        vectors: float32, shape (n, dim), finite.
        scale: A power of two.
        bits: uint16, shape (n, dim): filled with the bits of the rounded values.

    Returns:
        The norms of what rounding took from each row, summed in float32: relative error below
        (n + 4) 2^-24; squares below 2^-149 are lost, and norms above 2^63 infinite.
    """
    squares = np.empty(len(vectors))

    def work(block: slice, scratch: Scratch) -> None:
        scaled, rounded, wide = scratch
        with np.errstate(over="ignore"):  # too long for the bound; it is not used then
            np.multiply(vectors[block], np.float32(scale), out=scaled)
        before, after = scaled.view(np.uint32), rounded.view(np.uint32)
        upper = wide.view(np.uint32)[:, : scaled.shape[1]]
        np.right_shift(before, 16, out=after)
        after &= 1
        after += before
        after += 0x7FFF
        np.right_shift(after, 16, out=upper)
        bits[block] = upper
        after &= 0xFFFF0000
        with np.errstate(over="ignore", invalid="ignore"):
            scaled -= rounded
            np.vecdot(scaled, scaled, out=squares[block])

    each_block(len(vectors), vectors.shape[1], work)
    return np.sqrt(squares)
