"""The exactly nearest centroid, found with a fast matrix product of low precision.

Definition. For a vector x and centroids c_0 .. c_(k-1), all float32, the code is the index of the
centroid whose squared Euclidean distance to x, taken as a real number, is smallest; the lowest
index on a true tie. So it depends on nothing but x and the centroids: not on the batch, the
threads, the device or the order in which anything is summed.

Three steps, each of which leaves only the centroids that the one before could not rule out:

1. Coarse. The nearest centroid is the one with the largest score s_j = x.c_j - |c_j|^2 / 2. One
   matrix product of operands rounded to bfloat16 gives all scores of a batch, each within a bound
   E_j of the truth. Centroids with s_j + E_j < max_i (s_i - E_i) are out. For most vectors one is
   left, and that is the answer.
2. Fine. Those left are compared by their distances in float64, of relative error below
   (n + 4) 2^-53 for vectors of n values, since no term is negative.
3. Exact. Those within that error of each other are compared as real numbers.

The bound of a coarse score
---------------------------
A codebook whose largest norm is outside [2^-8, 2^8] is first scaled, and the vectors with it, by
the power of two that brings it into [1, 2). That is exact; x and c stand for the scaled ones here.
Let x~ and c~ be what rounding to bfloat16 makes of them. With Cauchy-Schwarz

    |x~.c~ - x.c|  <=  p |c~_j| + |x| q_j      where  p = |x - x~|,  q_j = |c_j - c~_j|

and these norms are computed for the vectors and centroids at hand (about 0.0017 |x| where the worst
case is u |x|, u = 2^-8 being the unit roundoff of bfloat16).

The half norm h_j = |c_j|^2 / 2 rides along: its first three parts in bfloat16 are three more
columns of the codebook, which meet three columns of ones. What the parts miss is at most
u^3 h_j = 2^-24 h_j, and the parts' magnitudes add up to at most (1 + u)^3 h_j.

Products of bfloat16 values are exact in float32; the n of them are summed in float32, in an order
that is the library's affair. Each addition errs by at most v = 2^-23 of its result (rounding to
nearest would be 2^-24; tensor cores cut off). In any order the sum then errs by at most (Higham,
Accuracy and Stability of Numerical Algorithms, section 4.2)

    g (|x~| |c~_j| + (1 + u)^3 h_j)      where  g = n v / (1 - n v),  |x~| <= |x| + p

Values and terms too small for float32 are flushed to zero: as long as |x| <= 2^20 this moves a
score by less than tiny = n 2^-60, squares lost from p included. Together

    E_j = p |c~_j| + |x| q_j + g ((|x| + p) |c~_j| + (1 + u)^3 h_j) + 2^-24 h_j + tiny

The sum is rounded to bfloat16 at the end: u |sum|, which is at most w |score| of the rounded
score, w = u / (1 - u). The bounds are evaluated in float64 from norms with errors of their own,
p's being the largest, n 2^-24 of it; so E_j is taken (1 + g) times as large.

E_j grows with |c_j|. So the centroids are sorted by norm and cut into blocks of 128, and a bound
from the largest |c~_j|, q_j and h_j of a block serves the block. Beyond the largest score of each
block, only blocks whose upper bound reaches the best lower bound are looked at.

Where too much is left (vectors beyond 2^20; vectors so short that the half norms drown them;
crowds of centroids that are almost equal), a product in float64 takes the place of the coarse one,
in portions of bounded memory. Its terms are exact and g = (n + 4) 2^-52 covers its sums, so

    E_j = g (|x| |c_j| + |c_j|^2)

A CPU without instructions for bfloat16 multiplies the same operands in float32. Rounded they are
all the same: so the bound holds even where the process lets float32 products lose precision
(`torch.set_float32_matmul_precision`), whose ways keep bfloat16 values whole.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from sid_assets.core.row_blocks import each_block, row_norms

if TYPE_CHECKING:
    import torch

BLOCK = 128
"""Centroids that share one bound."""

MOST_BLOCKS = 32
MOST_CANDIDATES = 64
"""A vector with more blocks or centroids left than this takes the float64 product."""

WIDE_ROWS = 512
WIDE_CENTROIDS = 1024
"""The float64 product's portions: 32 MB of centroids, scores of 8192 centroids in 32 MB."""

LONGEST = 2.0**20
"""Norm of a scaled vector up to which the coarse bound is proven."""

ROUNDOFF = 2.0**-8
"""Unit roundoff of bfloat16: half the distance from 1 to the next value above."""

FINAL_ROUNDING = ROUNDOFF / (1 - ROUNDOFF)
"""How far a score can be from the sum it is rounded from, as a share of the score."""

_HALF_NORM_PARTS = 3
_NEVER = -(2.0**100)


class NearestCentroid:
    """Finds the nearest centroid of one codebook, for vectors by the batch.

    Args:
        codebook: float32, shape (codebook_size, dim), finite.
        device: Where the codebook is kept and the vectors will be, as torch names it.
    """

    def __init__(self, codebook: np.ndarray, device: str) -> None:
        import torch

        self.centroids = torch.from_numpy(np.ascontiguousarray(codebook, np.float32)).to(device)
        self._norms = row_norms(self.centroids)
        self._scale = _scale_for(float(self._norms.max()))
        self._dtype = coarse_dtype(device)

        distinct = torch.from_numpy(_first_of_equals(codebook)).to(device)
        self._order = distinct[self._norms[distinct].argsort(stable=True)]
        self._fill_operand()

    def _fill_operand(self) -> None:
        """Round the sorted codebook, in whole blocks, and take the largest norms of each block."""
        import torch

        dim, device = self.centroids.shape[1], self.centroids.device
        padding = -len(self._order) % BLOCK
        shape = (len(self._order) + padding, dim + _HALF_NORM_PARTS)
        self._operand = torch.zeros(shape, dtype=self._dtype, device=device)
        self._operand[len(self._order) :, dim] = _NEVER
        half_norms = (self._norms[self._order] * self._scale) ** 2 / 2
        rest = half_norms.clone()
        for part in range(_HALF_NORM_PARTS):
            column = self._operand[: len(rest), dim + part]
            column[:] = -rest.bfloat16()
            rest += column.double()
        sizes, roundings = [], []
        for start in range(0, len(self._order), WIDE_CENTROIDS):
            some = self._order[start : start + WIDE_CENTROIDS]
            scaled = self.centroids[some] * self._scale
            rounded = scaled.bfloat16()
            self._operand[start : start + len(some), :dim] = rounded
            sizes.append(row_norms(rounded.float()))
            roundings.append(row_norms(scaled - rounded))
        norms = torch.stack([torch.cat(sizes), torch.cat(roundings), half_norms])
        padded = torch.nn.functional.pad(norms, (0, padding))
        self._largest = padded.view(3, -1, BLOCK).amax(2)

    def __call__(self, vectors: "torch.Tensor", norms: "torch.Tensor") -> "torch.Tensor":
        """The index of the nearest centroid of each vector, int64 of shape (n,).

        Args:
            vectors: float32, shape (n, dim), finite, on the codebook's device.
            norms: Their `row_norms`.
        """
        import torch

        rows, candidates, crowded = self._coarse(vectors, norms)
        codes = torch.empty(len(vectors), dtype=torch.int64, device=vectors.device)
        codes[rows] = candidates
        self._decide(vectors, rows, candidates, codes)
        for some in crowded.split(WIDE_ROWS) if len(crowded) else ():
            rows, candidates = self._wide(vectors[some], norms[some])
            codes[some[rows]] = candidates
            self._decide(vectors, some[rows], candidates, codes)
        return codes

    def _coarse(
        self, vectors: "torch.Tensor", norms: "torch.Tensor"
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """What the low-precision product leaves.

        Returns:
            Pairs of row and candidate, sorted by row, and the rows where too much is left; these
            have no pairs.
        """
        import torch

        n = len(vectors)
        operand, rounding = self._rounded(vectors)
        with _sums_in_float32():
            scores = (operand @ self._operand.T).view(n, -1, BLOCK)

        lengths = norms * self._scale
        error = error_bound(operand.shape[1], lengths[:, None], rounding[:, None], *self._largest)
        best = scores.amax(2).double()
        least = (best - FINAL_ROUNDING * best.abs() - error).amax(1, keepdim=True)
        alive = best + FINAL_ROUNDING * best.abs() + error >= least
        alive &= (lengths <= LONGEST)[:, None]
        alive[alive.sum(1) > MOST_BLOCKS] = False

        rows, blocks = alive.nonzero(as_tuple=True)
        inside = scores[rows, blocks].double()
        reach = inside + FINAL_ROUNDING * inside.abs() + error[rows, blocks, None]
        pair, place = (reach >= least[rows]).nonzero(as_tuple=True)
        rows, candidates = rows[pair], self._order[blocks[pair] * BLOCK + place]

        left = torch.bincount(rows, minlength=n)
        crowded = (left == 0) | (left > MOST_CANDIDATES)
        kept = ~crowded[rows]
        return rows[kept], candidates[kept], crowded.nonzero().flatten()

    def _rounded(self, vectors: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """The vectors as an operand, and the norms of what rounding took from them."""
        import torch

        n, dim = vectors.shape
        operand = torch.ones((n, self._operand.shape[1]), dtype=self._dtype, device=vectors.device)
        rounding = torch.empty(n, dtype=torch.float32, device=vectors.device)

        def work(
            block: slice, narrow: "torch.Tensor", wide: "torch.Tensor", other: "torch.Tensor"
        ) -> None:
            torch.mul(vectors[block], self._scale, out=narrow)
            rounded = narrow.bfloat16()
            operand[block, :dim] = rounded
            narrow -= rounded
            torch.linalg.vector_norm(narrow, dim=1, out=rounding[block])

        each_block(n, vectors, work)
        return operand, rounding.double()

    def _wide(
        self, vectors: "torch.Tensor", norms: "torch.Tensor"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """What a product in float64 leaves: pairs of row and candidate."""
        import torch

        wide = vectors.double()
        products = [
            wide @ self.centroids[some].double().T for some in self._order.split(WIDE_CENTROIDS)
        ]
        sizes = self._norms[self._order]
        scores = torch.cat(products, 1).sub_(sizes**2 / 2)
        error = (vectors.shape[1] + 4) * 2.0**-52 * (norms[:, None] * sizes + sizes**2)
        least = (scores - error).amax(1, keepdim=True)
        rows, places = (scores.add_(error) >= least).nonzero(as_tuple=True)
        return rows, self._order[places]

    def _decide(
        self,
        vectors: "torch.Tensor",
        rows: "torch.Tensor",
        candidates: "torch.Tensor",
        codes: "torch.Tensor",
    ) -> None:
        """Write the code of each row that has candidates: by float64 distance, or exactly."""
        import torch

        codes[rows] = candidates
        several = torch.bincount(rows, minlength=len(vectors))[rows] > 1
        rows, candidates = rows[several], candidates[several]
        distances = self._distances(vectors, rows, candidates)
        smallest = torch.full((len(vectors),), math.inf, dtype=torch.float64, device=rows.device)
        smallest.scatter_reduce_(0, rows, distances, "amin")
        error = (vectors.shape[1] + 4) * 2.0**-53
        near = distances <= smallest[rows] * (1 + 4 * error)
        rows, candidates = rows[near], candidates[near]
        codes[rows] = candidates
        for row in (torch.bincount(rows, minlength=len(vectors)) > 1).nonzero().flatten().tolist():
            tied = candidates[rows == row].sort().values
            nearest = exactly_nearest(
                vectors[row].cpu().numpy(), self.centroids[tied].cpu().numpy()
            )
            codes[row] = tied[nearest]

    def _distances(
        self, vectors: "torch.Tensor", rows: "torch.Tensor", candidates: "torch.Tensor"
    ) -> "torch.Tensor":
        """The float64 distance of each pair."""
        import torch

        distances = torch.empty(len(rows), dtype=torch.float64, device=rows.device)

        def work(
            block: slice, narrow: "torch.Tensor", wide: "torch.Tensor", other: "torch.Tensor"
        ) -> None:
            wide[:] = torch.index_select(vectors, 0, rows[block], out=narrow)
            other[:] = torch.index_select(self.centroids, 0, candidates[block], out=narrow)
            wide -= other
            torch.linalg.vector_norm(wide, dim=1, out=distances[block])

        each_block(len(rows), vectors, work)
        return distances

    def subtract(self, vectors: "torch.Tensor", codes: "torch.Tensor") -> "torch.Tensor":
        """Take from each vector its centroid, in place; the `row_norms` of what is left."""
        import torch

        norms = torch.empty(len(vectors), dtype=torch.float64, device=vectors.device)

        def work(
            block: slice, narrow: "torch.Tensor", wide: "torch.Tensor", other: "torch.Tensor"
        ) -> None:
            residuals = vectors[block]
            residuals -= torch.index_select(self.centroids, 0, codes[block], out=narrow)
            wide[:] = residuals
            torch.linalg.vector_norm(wide, dim=1, out=norms[block])

        each_block(len(vectors), vectors, work)
        return norms


def error_bound(
    width: int,
    lengths: "torch.Tensor",
    rounding: "torch.Tensor",
    sizes: "torch.Tensor",
    size_rounding: "torch.Tensor",
    half_norms: "torch.Tensor",
) -> "torch.Tensor":
    """E_j of the module's docstring, in float64; all but the width broadcast.

    Args:
        width: n, the terms of each sum.
        lengths: |x| of the scaled vectors.
        rounding: p of each vector.
        sizes: |c~_j| of the scaled and rounded centroids.
        size_rounding: q_j.
        half_norms: h_j.
    """
    g = width * 2.0**-23 / (1 - width * 2.0**-23)
    half = (1 + ROUNDOFF) ** 3 * half_norms
    product = rounding * sizes + lengths * size_rounding
    summing = g * ((lengths + rounding) * sizes + half)
    return (product + summing + 2.0**-24 * half_norms + width * 2.0**-60) * (1 + g)


@contextmanager
def _sums_in_float32() -> Iterator[None]:
    """Keeps CUDA from adding up parts of a bfloat16 product in bfloat16, as it may by default."""
    import torch

    matmul = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction
    matmul.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        matmul.allow_bf16_reduced_precision_reduction = before


def exactly_nearest(vector: np.ndarray, centroids: np.ndarray) -> int:
    """The first of the centroids nearest to a vector, in exact arithmetic.

    |x - c|^2 < |x - b|^2 where the sum of c^2 - 2xc - b^2 + 2xb is negative. In float64 the
    products of float32 values are exact, and `math.fsum` rounds their exact sum but once, which
    keeps its sign.

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


@cache
def coarse_dtype(device: str) -> "torch.dtype":
    """The type in which a device multiplies bfloat16 values fastest: bfloat16 or float32.

    A CPU without instructions for bfloat16 imitates them, slowly. Which type is taken changes the
    speed and nothing else. Only oneDNN is known to sum bfloat16 products in float32.
    """
    import torch

    if device != "cpu":
        return torch.bfloat16
    if not torch.backends.mkldnn.is_available():
        return torch.float32
    return min((torch.bfloat16, torch.float32), key=_seconds_of_product)


def _seconds_of_product(dtype: "torch.dtype") -> float:
    import torch

    left, right = torch.ones(256, 2048, dtype=dtype), torch.ones(1024, 2048, dtype=dtype)

    def seconds() -> float:
        start = time.perf_counter()
        torch.mm(left, right.T)
        return time.perf_counter() - start

    return min(seconds() for _ in range(3))


def _scale_for(largest_norm: float) -> float:
    """1, or the power of two (that float32 has) which brings an extreme norm near [1, 2)."""
    if largest_norm == 0 or 2.0**-8 <= largest_norm <= 2.0**8:
        return 1.0
    exponent = math.frexp(largest_norm)[1] - 1
    return 2.0 ** max(-126, min(126, -exponent))


def _first_of_equals(codebook: np.ndarray) -> np.ndarray:
    """The indexes of the centroids of which no equal one comes before."""
    first: dict[bytes, int] = {}
    for index, centroid in enumerate(codebook):
        first.setdefault(centroid.tobytes(), index)
    return np.fromiter(first.values(), np.int64)
