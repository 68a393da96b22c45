"""Float64 arithmetic on float32 rows, a few rows at a time.

On a CPU the rows at hand stay in the cache, and every thread works on its own. torch's threads
would have to meet after each of many small operations, which costs more than they save, and very
much more on a machine that is busy with something else. On a GPU all rows are one block.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SERIAL_VALUES = 32768
"""Up to this many values torch works on in the calling thread: 8 rows of 4096 values."""

MOST_THREADS = 8
"""More would wait for Python's lock."""

PARTS_A_THREAD = 4
"""So that a thread that was held up leaves its work to the others."""


def each_block(
    rows: int,
    vectors: "torch.Tensor",
    work: "Callable[[slice, torch.Tensor, torch.Tensor, torch.Tensor], None]",
) -> None:
    """Call `work(block, narrow, wide, other)` for all blocks of the rows.

    The three are scratch room for the rows of the block: one float32, two float64.

    Args:
        rows: How many there are.
        vectors: Tells the device and the width.
        work: Called from several threads, for different blocks.
    """
    import torch

    dim = vectors.shape[1]
    at_once = max(1, SERIAL_VALUES // dim) if vectors.is_cpu else max(1, rows)

    def run(part: range) -> None:
        kinds = (torch.float32, torch.float64, torch.float64)
        room = [torch.empty((at_once, dim), dtype=kind, device=vectors.device) for kind in kinds]
        for start in part[::at_once]:
            block = slice(start, min(start + at_once, part.stop))
            size = block.stop - block.start
            work(block, *(buffer[:size] for buffer in room))

    threads = min(MOST_THREADS, torch.get_num_threads()) if vectors.is_cpu else 1
    size = max(at_once, -(-rows // (threads * PARTS_A_THREAD)))
    parts = [range(start, min(start + size, rows)) for start in range(0, rows, size)]
    if threads == 1 or len(parts) == 1:
        for part in parts:
            run(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, parts))


def row_norms(vectors: "torch.Tensor") -> "torch.Tensor":
    """The Euclidean norms of float32 rows, in float64: relative error below (n + 4) 2^-53."""
    import torch

    norms = torch.empty(len(vectors), dtype=torch.float64, device=vectors.device)

    def work(
        block: slice, narrow: "torch.Tensor", wide: "torch.Tensor", other: "torch.Tensor"
    ) -> None:
        wide[:] = vectors[block]
        torch.linalg.vector_norm(wide, dim=1, out=norms[block])

    each_block(len(vectors), vectors, work)
    return norms
