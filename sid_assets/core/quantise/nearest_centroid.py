"""The exact nearest centroid, found with a fast matrix product of low precision.

Definition. For a vector x and centroids c_0 .. c_(k-1), all float32, the code is the index of the
centroid whose squared Euclidean distance to x, as a real number, is smallest; on an exact tie, the
lowest such index. The code depends only on x and the centroids, not on the batch, the threads, the
device or the order of any sum.

There are three steps. Each keeps only the centroids that it cannot rule out:

1. Coarse. The nearest centroid is the one with the largest score s_j = x.c_j - |c_j|^2 / 2. One
   matrix product of operands rounded to bfloat16 gives all scores of a batch, each within a bound
   E_j of the exact score. Centroids with s_j + E_j < max_i (s_i - E_i) are ruled out. For most
   vectors a single centroid remains, which is the nearest.
2. Fine. The remaining centroids are compared by their distances in float64. The relative error is
   below (n + 4) 2^-53 for vectors of n values, because no term is negative.
3. Exact. Centroids whose distances differ by less than that error are compared as real numbers.

The bound of a coarse score
---------------------------
A codebook whose largest norm is outside [2^-8, 2^8] is first scaled, together with the vectors, by
the power of two that brings this norm into [1, 2). Scaling is exact; x and c are the scaled values
below. Let x~ and c~ be x and c rounded to bfloat16. By Cauchy-Schwarz

    |x~.c~ - x.c|  <=  p |c~_j| + |x| q_j      where  p = |x - x~|,  q_j = |c_j - c~_j|

and these norms are computed from the actual vectors and centroids (p is about 0.0017 |x|, while
its worst case is u |x|, u = 2^-8 being the unit roundoff of bfloat16). It follows that
|x~| <= |x| + p and |c~_j| <= |c_j| + q_j.

The half norm h_j = |c_j|^2 / 2 is part of the product: its first three parts in bfloat16 are three
more columns of the codebook, and the vectors have three columns of ones. The rest that the parts
leave out is at most u^3 h_j = 2^-24 h_j, and the magnitudes of the parts add up to at most
(1 + u)^3 h_j. Columns of zeros follow in the codebook, up to a multiple of 8, because tensor cores
are only fast on rows that start at multiples of 16 bytes; n counts them, too.

Products of bfloat16 values are exact in float32. The n products are summed in float32, in an order
that the library chooses. The error of each addition is at most v = 2^-23 of the magnitudes added
(rounding to nearest: 2^-24 of the result; tensor cores align and truncate). In any order, the error
of the sum is at most (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2)

    g (|x~| |c~_j| + (1 + u)^3 h_j)      where  g = n v / (1 - n v)

Values and terms too small for float32 are flushed to zero. If |x| <= 2^20, this changes a score by
less than tiny = n 2^-60, including the squares lost from p. The total is

    E_j = p (|c_j| + q_j) + |x| q_j + g ((|x| + p) (|c_j| + q_j) + (1 + u)^3 h_j)
          + 2^-24 h_j + tiny

The sum is finally rounded to bfloat16, with an error of u |sum|. This is at most w |score|, where
score is the rounded value and w = u / (1 - u). The bounds are evaluated in float64 from norms that
have errors themselves; the largest is that of p, n 2^-24 of its value. E_j is therefore multiplied
by (1 + g).

E_j grows with |c_j|. The centroids are therefore sorted by norm and cut into blocks of 128, and
each block has one bound, from its largest |c_j| and q_j. The largest score of every block is read;
the other scores are read only in blocks whose upper bound reaches the best lower bound.

Where too many centroids remain (vectors longer than 2^20; vectors so short that the half norms
dominate; crowds of almost equal centroids), a product in float64 replaces the coarse one, in
portions of bounded memory. Its terms are exact and g = (n + 4) 2^-52 covers its sums, so

    E_j = g (|x| |c_j| + |c_j|^2)

A CPU without bfloat16 instructions multiplies the same rounded operands in float32. The bound holds
even if the process lowers the precision of float32 products
(`torch.set_float32_matmul_precision`), because every such mode represents bfloat16 values exactly.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sid_assets.core.quantise.row_blocks import distances, round_rows, row_norms

if TYPE_CHECKING:
    import torch

BLOCK = 128
"""Centroids that share one bound."""

MOST_BLOCKS = 32
MOST_CANDIDATES = 64
"""A vector for which more blocks or centroids remain uses the float64 product."""

WIDE_ROWS = 512
WIDE_CENTROIDS = 1024
"""Portions of the float64 product: 32 MB of centroids, 32 MB for the scores of 8192 centroids."""

LONGEST = 2.0**20
"""The largest norm of a scaled vector for which the coarse bound holds."""

ROUNDOFF = 2.0**-8
"""Unit roundoff of bfloat16: half the distance from 1 to the next larger value."""

FINAL_ROUNDING = ROUNDOFF / (1 - ROUNDOFF)
"""The largest distance of a score from the sum before rounding, as a share of the score."""

CPU_FLAGS = Path("/proc/cpuinfo")

_HALF_NORM_PARTS = 3
_WIDTH_MULTIPLE = 8
_ONE_BITS = 0x3F80
"""The bits of 1 as bfloat16."""
_NEVER_BITS = 0xF180
"""The bits of -2^100 as bfloat16: no score is that low."""


@dataclass(frozen=True, eq=False)
class Operands:
    """Vectors on the device of the coarse product.

    Attributes:
        rounded: The scaled vectors rounded to bfloat16, and columns of ones: shape (n, width).
        lengths: |x| of the scaled vectors: float64, shape (n, 1).
        rounding: p of each vector: float64, shape (n, 1).
    """

    rounded: "torch.Tensor"
    lengths: "torch.Tensor"
    rounding: "torch.Tensor"


class NearestCentroid:
    """Finds the nearest centroids in one codebook for batches of vectors.

    The coarse product runs on the device, which keeps the codebook. Its scores are trusted only
    within their bounds. The remaining candidates are compared on the CPU.

    Args:
        codebook: float32, shape (codebook_size, dim), finite.
        device: Device of the coarse product, as torch names it.
    """

    def __init__(self, codebook: np.ndarray, device: str) -> None:
        import torch

        self._device = device
        self.centroids = np.ascontiguousarray(codebook, np.float32)
        self._norms = row_norms(self.centroids)
        self._scale = _scale_for(float(self._norms.max()))
        distinct = _first_of_equals(self.centroids, self._norms)
        self._order = distinct[self._norms[distinct].argsort(kind="stable")]

        dim, count = self.centroids.shape[1], len(self._order)
        padding = -count % BLOCK
        width = dim + _HALF_NORM_PARTS
        width += -width % _WIDTH_MULTIPLE
        bits = np.zeros((count + padding, width), np.uint16)
        roundings = np.empty(count)
        for start in range(0, count, WIDE_CENTROIDS):
            some = slice(start, min(start + WIDE_CENTROIDS, count))
            sorted_ones = self.centroids[self._order[some]]
            roundings[some] = round_rows(sorted_ones, self._scale, bits[some, :dim])
        sizes = self._norms[self._order] * self._scale
        rest = sizes**2 / 2
        for part in range(_HALF_NORM_PARTS):
            rounded = torch.from_numpy(-rest).bfloat16()
            bits[:count, dim + part] = rounded.view(torch.int16).numpy().view(np.uint16)
            rest += rounded.double().numpy()
        bits[count:, dim] = _NEVER_BITS
        norms = np.pad([sizes, roundings], [(0, 0), (0, padding)])
        self._largest = torch.from_numpy(norms.reshape(2, -1, BLOCK).max(axis=2)).to(device)
        self._operand = self._on_device(bits)

    def _on_device(self, bits: np.ndarray) -> "torch.Tensor":
        """An operand of the coarse product, from the bits of bfloat16 values."""
        import torch

        values = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)
        return values.to(self._device, coarse_dtype(self._device))

    def __call__(self, vectors: np.ndarray, norms: np.ndarray) -> np.ndarray:
        """The index of the nearest centroid of each vector, int64 of shape (n,).

        Args:
            vectors: float32, shape (n, dim), C-contiguous, finite.
            norms: Their `row_norms`.
        """
        codes = np.empty(len(vectors), np.int64)
        rows, candidates, crowded = self._coarse(vectors, norms)
        self._decide(vectors, rows, candidates, codes)
        for start in range(0, len(crowded), WIDE_ROWS):
            some = crowded[start : start + WIDE_ROWS]
            rows, candidates = self._wide(vectors[some], norms[some])
            self._decide(vectors, some[rows], candidates, codes)
        return codes

    def _coarse(
        self, vectors: np.ndarray, norms: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The candidates that remain after the product in bfloat16.

        Returns:
            Pairs of row and candidate, sorted by row, and the rows with too many candidates, which
            have no pairs.
        """
        rows, places = self.candidates(self.operands(vectors, norms))
        left = np.bincount(rows, minlength=len(vectors))
        crowded = (left == 0) | (left > MOST_CANDIDATES)
        kept = ~crowded[rows]
        return rows[kept], self._order[places[kept]], np.flatnonzero(crowded)

    def operands(self, vectors: np.ndarray, norms: np.ndarray) -> Operands:
        """Scale and round vectors, and copy them to the device; arguments as in `__call__`."""
        import torch

        n, dim = vectors.shape
        bits = np.full((n, self._operand.shape[1]), _ONE_BITS, np.uint16)
        p = round_rows(vectors, self._scale, bits[:, :dim])
        lengths, rounding = torch.from_numpy(norms * self._scale), torch.from_numpy(p)
        return Operands(
            self._on_device(bits),
            lengths.to(self._device)[:, None],
            rounding.to(self._device)[:, None],
        )

    def scores(self, operands: Operands) -> "torch.Tensor":
        """The coarse product: shape (n, blocks, BLOCK), centroids sorted by norm.

        On a GPU, they are written to memory and read once. For 8192 centroids of 4096 values these
        are 32 kB for a product of 67 MFLOP, and an H100 computes 300 FLOP in the time of a byte: a
        seventh of the time of the product, so that fusing both would gain little.
        """
        with _sums_in_float32():
            product = operands.rounded @ self._operand.T
        return product.view(len(product), -1, BLOCK)

    def candidates(self, operands: Operands) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of row and place of a centroid (sorted by norm) that remain; sorted by row.

        Rows with more than `MOST_BLOCKS` blocks, and vectors that are too long, have none.
        """
        scores, width = self.scores(operands), operands.rounded.shape[1]
        error = error_bound(width, operands.lengths, operands.rounding, *self._largest)
        best = scores.amax(2).double()
        least = (best - FINAL_ROUNDING * best.abs() - error).amax(1, keepdim=True)
        alive = best + FINAL_ROUNDING * best.abs() + error >= least
        alive &= operands.lengths <= LONGEST
        alive[alive.sum(1) > MOST_BLOCKS] = False

        rows, blocks = alive.nonzero(as_tuple=True)
        inside = scores[rows, blocks].double()
        reach = inside + FINAL_ROUNDING * inside.abs() + error[rows, blocks, None]
        pair, place = (reach >= least[rows]).nonzero(as_tuple=True)
        return rows[pair].cpu().numpy(), (blocks[pair] * BLOCK + place).cpu().numpy()

    def _wide(self, vectors: np.ndarray, norms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The candidates after a product in float64: pairs of row and candidate, sorted by row."""
        import torch

        wide = torch.from_numpy(vectors).double()
        products = []
        for start in range(0, len(self._order), WIDE_CENTROIDS):
            some = self.centroids[self._order[start : start + WIDE_CENTROIDS]]
            products.append((wide @ torch.from_numpy(some).double().T).numpy())
        sizes = self._norms[self._order]
        scores = np.concatenate(products, axis=1) - sizes**2 / 2
        error = (vectors.shape[1] + 4) * 2.0**-52 * (norms[:, None] * sizes + sizes**2)
        least = (scores - error).max(axis=1, keepdims=True)
        rows, places = np.nonzero(scores + error >= least)
        return rows, self._order[places]

    def _decide(
        self, vectors: np.ndarray, rows: np.ndarray, candidates: np.ndarray, codes: np.ndarray
    ) -> None:
        """Write the code of each row with candidates, found by float64 distance or exactly.

        Args:
            vectors: All vectors of the batch.
            rows: The row of each pair; ascending.
            candidates: The index of the centroid of each pair.
            codes: Where to write.
        """
        codes[rows] = candidates
        several = np.bincount(rows)[rows] > 1
        rows, candidates = rows[several], candidates[several]
        if not len(rows):
            return
        apart = distances(vectors, rows, self.centroids, candidates)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        smallest = np.repeat(np.minimum.reduceat(apart, starts), np.diff(starts, append=len(rows)))
        near = apart <= smallest * (1 + 4 * (vectors.shape[1] + 4) * 2.0**-53)
        rows, candidates = rows[near], candidates[near]
        codes[rows] = candidates
        several = np.bincount(rows)[rows] > 1
        rows, candidates = rows[several], candidates[several]
        for row in np.unique(rows):
            tied = np.sort(candidates[rows == row])
            codes[row] = tied[exactly_nearest(vectors[row], self.centroids[tied])]


def error_bound(
    width: int,
    lengths: "torch.Tensor",
    rounding: "torch.Tensor",
    sizes: "torch.Tensor",
    size_rounding: "torch.Tensor",
) -> "torch.Tensor":
    """E_j of the module docstring, in float64; all arguments but the width broadcast.

    Args:
        width: n, the number of terms in each sum.
        lengths: |x| of the scaled vectors.
        rounding: p of each vector.
        sizes: |c_j| of the scaled centroids.
        size_rounding: q_j.
    """
    g = width * 2.0**-23 / (1 - width * 2.0**-23)
    rounded, half_norms = sizes + size_rounding, sizes**2 / 2
    product = rounding * rounded + lengths * size_rounding
    summing = g * ((lengths + rounding) * rounded + (1 + ROUNDOFF) ** 3 * half_norms)
    return (product + summing + 2.0**-24 * half_norms + width * 2.0**-60) * (1 + g)


@contextmanager
def _sums_in_float32() -> Iterator[None]:
    """Keep CUDA from summing parts of a bfloat16 product in bfloat16, as it may do by default."""
    import torch

    matmul = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction
    matmul.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        matmul.allow_bf16_reduced_precision_reduction = before


def exactly_nearest(vector: np.ndarray, centroids: np.ndarray) -> int:
    """The index of the first of the centroids nearest to a vector, in exact arithmetic.

    |x - c|^2 < |x - b|^2 where the sum of c^2 - 2xc - b^2 + 2xb is negative. In float64 the
    products of float32 values are exact. `math.fsum` rounds their exact sum only once, which
    preserves its sign.

    Args:
        vector: float32, shape (dim,).
        centroids: float32, shape (m, dim).
    """
    x = vector.astype(np.float64)
    best, best_terms = 0, np.empty(0)
    for index, centroid in enumerate(centroids.astype(np.float64)):
        terms = np.concatenate([centroid * centroid, -2 * x * centroid])
        if index == 0 or math.fsum(np.concatenate([terms, -best_terms])) < 0:
            best, best_terms = index, terms
    return best


def coarse_dtype(device: str) -> "torch.dtype":
    """The dtype in which a device multiplies bfloat16 values fastest: bfloat16 or float32.

    A CPU without bfloat16 instructions emulates them, which is slow. The dtype affects only the
    speed. Only oneDNN on x86 is known to sum bfloat16 products in float32.
    """
    import torch

    if device != "cpu":
        return torch.bfloat16
    if not torch.backends.mkldnn.is_available() or not CPU_FLAGS.exists():
        return torch.float32
    has_bfloat16 = re.search(r"\b(amx|avx512)_bf16\b", CPU_FLAGS.read_text())
    return torch.bfloat16 if has_bfloat16 else torch.float32


def _scale_for(largest_norm: float) -> float:
    """1, or the power of two (within float32) that brings an extreme norm near [1, 2)."""
    if largest_norm == 0 or 2.0**-8 <= largest_norm <= 2.0**8:
        return 1.0
    exponent = math.frexp(largest_norm)[1] - 1
    return 2.0 ** max(-126, min(126, -exponent))


def _first_of_equals(codebook: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """The index of the first of each set of equal centroids; equal centroids have equal norms."""
    _, group, sizes = np.unique(norms, return_inverse=True, return_counts=True)
    first = np.ones(len(codebook), bool)
    seen: set[bytes] = set()
    for index in np.flatnonzero(sizes[group] > 1):
        content = codebook[index].tobytes()
        first[index] = content not in seen
        seen.add(content)
    return np.flatnonzero(first)
