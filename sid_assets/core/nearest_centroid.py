"""The exactly nearest centroid, found with a fast matrix product of low precision.

Definition. For a vector x and centroids c_0 .. c_(k-1), all float32, the code is the index of the
centroid whose squared Euclidean distance to x, taken as a real number, is smallest; the lowest
index on a true tie. So it depends on nothing but x and the centroids: not on the batch, the
threads, the device or the order in which anything is summed.

Three steps, each of which leaves only the centroids that the one before could not rule out:

1. Coarse. The nearest centroid is the one with the largest score s_j = x.c_j - |c_j|^2 / 2. One
   matrix product in bfloat16 (in float32 where that is quicker) gives all scores of a batch, each
   within a bound E_j of the truth. Centroids with s_j + E_j < max_i (s_i - E_i) are out. For most
   vectors one is left, and that is the answer.
2. Fine. Those left are compared by their distances in float64, of relative error below
   (n + 4) 2^-53 for vectors of n values, since no term is negative.
3. Exact. Those within that error of each other are compared as real numbers.

The bound of a coarse score
---------------------------
A codebook whose largest norm is outside [2^-20, 2^8] is first scaled, and the vectors with it, by
the power of two that brings it into [1, 2). That is exact; x and c stand for the scaled ones here.
Let n be the width of the product's operands and u the unit roundoff of their type (2^-9 for
bfloat16). Rounding to nearest
gives x~ with |x~ - x| <= u |x|, value by value and hence in norm; likewise c~. With Cauchy-Schwarz

    |x~.c~ - x.c|  <=  (2u + u^2) |x| |c|

The half norm h_j = |c_j|^2 / 2 rides along: its first three parts in the operands' type are three
more columns of the codebook, which meet three columns of ones. What the parts miss is below
u^3 h_j <= 2^-27 h_j. The product sums n terms in float32, in an order that is the library's
affair. Each addition errs by at most v = 2^-23 of its result (rounding to nearest would be 2^-24;
tensor cores cut off). In any order the sum then errs by at most (Higham, Accuracy and Stability of
Numerical Algorithms, section 4.2)

    g (|x~| |c~| + |h~_j|)  with  g = n v / (1 - n v),  |x~| |c~| <= (1 + u)^2 |x| |c|,
                                  |h~_j| <= (1 + u)^3 h_j

Values and terms too small for float32 are flushed to zero: as long as |x| <= 2^20 this moves a
score by less than tiny = n 2^-100. Together

    E_j = |c_j| (A |x| + B |c_j|) + tiny,  A = 2u + u^2 + g (1 + u)^2,  B = (g (1 + u)^3 + 2^-27) / 2

The sum is rounded to the operands' type at the end: u |sum|, which is at most w |score| of the
rounded score, w = u / (1 - u). The bounds are evaluated in float64; E_j is taken 2^-20 larger for
their own rounding.

E_j grows with |c_j|. So the centroids are sorted by norm and cut into blocks of 128, and the bound
for a block's largest norm serves the block. Beyond the largest score of each block, only blocks
whose upper bound reaches the best lower bound are looked at.

Where too much is left (vectors beyond 2^20; vectors so short that the half norms drown them;
crowds of centroids that are almost equal), a product in float64 takes the place of the coarse one,
in portions of bounded memory. Its terms are exact and g = (n + 4) 2^-52 covers its sums, so

    E_j = g (|x| |c_j| + |c_j|^2)
"""

import math
import time
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

BLOCK = 128
"""Centroids that share one bound."""

MOST_BLOCKS = 16
MOST_CANDIDATES = 64
"""A vector with more blocks or centroids left than this takes the float64 product."""

WIDE_ROWS = 512
WIDE_CENTROIDS = 1024
"""The float64 product's portions: 32 MB of centroids, scores of 8192 centroids in 32 MB."""

ROWS_AT_ONCE = {"cpu": 32}
"""Rows that float64 arithmetic takes at a time: few on a CPU, for its cache (1 MB at 4096 values)."""

LONGEST = 2.0**20
"""Norm of a scaled vector up to which the coarse bound is proven."""

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
        self._operand = self._coarse_operand()
        sizes = (self._norms[self._order] * self._scale).split(BLOCK)
        self._block_norms = torch.stack([block[-1] for block in sizes])

    def _coarse_operand(self) -> "torch.Tensor":
        """The sorted, scaled codebook and the parts of its half norms, padded to whole blocks."""
        import torch

        blocks = -(-len(self._order) // BLOCK)
        dim = self.centroids.shape[1]
        operand = torch.zeros(
            (blocks * BLOCK, dim + _HALF_NORM_PARTS),
            dtype=self._dtype,
            device=self.centroids.device,
        )
        operand[len(self._order) :, dim] = _NEVER
        for start in range(0, len(self._order), BLOCK):
            order = self._order[start : start + BLOCK]
            rows = operand[start : start + len(order)]
            rows[:, :dim] = self.centroids[order] * self._scale
            rest = (self._norms[order] * self._scale) ** 2 / 2
            for part in range(_HALF_NORM_PARTS):
                rows[:, dim + part] = -rest
                rest += rows[:, dim + part].double()
        return operand

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

        n, dim = vectors.shape
        operand = torch.empty((n, self._operand.shape[1]), dtype=self._dtype, device=vectors.device)
        operand[:, :dim] = vectors if self._scale == 1 else vectors * self._scale
        operand[:, dim:] = 1
        scores = (operand @ self._operand.T).view(n, -1, BLOCK)

        lengths = norms * self._scale
        error = error_bound(lengths[:, None], self._block_norms, self._dtype, operand.shape[1])
        w = _final_rounding(self._dtype)
        best = scores.amax(2).double()
        least = (best - w * best.abs() - error).amax(1, keepdim=True)
        alive = (best + w * best.abs() + error >= least) & (lengths <= LONGEST)[:, None]
        alive[alive.sum(1) > MOST_BLOCKS] = False

        rows, blocks = alive.nonzero(as_tuple=True)
        inside = scores[rows, blocks].double()
        reach = inside + w * inside.abs() + error[rows, blocks, None]
        pair, place = (reach >= least[rows]).nonzero(as_tuple=True)
        rows, candidates = rows[pair], self._order[blocks[pair] * BLOCK + place]

        left = torch.bincount(rows, minlength=n)
        crowded = (left == 0) | (left > MOST_CANDIDATES)
        kept = ~crowded[rows]
        return rows[kept], candidates[kept], crowded.nonzero().flatten()

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
        narrow, wide = row_buffers(vectors)
        _, other = row_buffers(vectors)
        for some in slices(len(rows), len(narrow)):
            size = len(rows[some])
            torch.index_select(vectors, 0, rows[some], out=narrow[:size])
            wide[:size] = narrow[:size]
            torch.index_select(self.centroids, 0, candidates[some], out=narrow[:size])
            other[:size] = narrow[:size]
            wide -= other
            torch.linalg.vector_norm(wide[:size], dim=1, out=distances[some])
        return distances

    def subtract(self, vectors: "torch.Tensor", codes: "torch.Tensor") -> "torch.Tensor":
        """Take from each vector its centroid, in place; the `row_norms` of what is left."""
        import torch

        norms = torch.empty(len(vectors), dtype=torch.float64, device=vectors.device)
        narrow, wide = row_buffers(vectors)
        for some in slices(len(vectors), len(narrow)):
            size = len(vectors[some])
            torch.index_select(self.centroids, 0, codes[some], out=narrow[:size])
            vectors[some] -= narrow[:size]
            wide[:size] = vectors[some]
            torch.linalg.vector_norm(wide[:size], dim=1, out=norms[some])
        return norms


def error_bound(
    lengths: "torch.Tensor", sizes: "torch.Tensor", dtype: "torch.dtype", width: int
) -> "torch.Tensor":
    """E_j of the module's docstring.

    Args:
        lengths: Norms of scaled vectors, float64.
        sizes: Norms of scaled centroids, float64; broadcast against `lengths`.
        dtype: Type of the coarse product's operands.
        width: Terms of each sum.
    """
    u = _unit_roundoff(dtype)
    g = width * 2.0**-23 / (1 - width * 2.0**-23)
    a = 2 * u + u**2 + g * (1 + u) ** 2
    b = (g * (1 + u) ** 3 + 2.0**-27) / 2
    return (sizes * (a * lengths + b * sizes) + width * 2.0**-100) * (1 + 2.0**-20)


def _final_rounding(dtype: "torch.dtype") -> float:
    u = _unit_roundoff(dtype)
    return u / (1 - u)


def _unit_roundoff(dtype: "torch.dtype") -> float:
    import torch

    return torch.finfo(dtype).eps / 2


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


def row_buffers(vectors: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Room for some rows in float32 and in float64. Used again and again, it stays in the cache."""
    import torch

    shape = (ROWS_AT_ONCE.get(vectors.device.type, len(vectors)), vectors.shape[1])
    return (
        torch.zeros(shape, dtype=torch.float32, device=vectors.device),
        torch.zeros(shape, dtype=torch.float64, device=vectors.device),
    )


def row_norms(vectors: "torch.Tensor") -> "torch.Tensor":
    """The Euclidean norms of float32 rows, summed in float64: relative error below (n + 2) 2^-53."""
    import torch

    norms = torch.empty(len(vectors), dtype=torch.float64, device=vectors.device)
    _, wide = row_buffers(vectors)
    for some in slices(len(vectors), len(wide)):
        size = len(vectors[some])
        wide[:size] = vectors[some]
        torch.linalg.vector_norm(wide[:size], dim=1, out=norms[some])
    return norms


def slices(rows: int, at_once: int) -> Iterator[slice]:
    """The rows from 0 on in portions."""
    for start in range(0, rows, max(1, at_once)):
        yield slice(start, start + at_once)


@cache
def coarse_dtype(device: str) -> "torch.dtype":
    """The type whose matrix product is quicker on a device: bfloat16 or float32.

    CPUs without instructions for bfloat16 imitate them, slowly. Which type is taken changes the
    speed and nothing else. Without oneDNN, how torch sums bfloat16 is not known, so it is not used.
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
        left @ right.T
        return time.perf_counter() - start

    return min(seconds() for _ in range(3))


def _scale_for(largest_norm: float) -> float:
    """1, or the power of two (that float32 has) which brings an extreme norm near [1, 2)."""
    if largest_norm == 0 or 2.0**-20 <= largest_norm <= 2.0**8:
        return 1.0
    exponent = math.frexp(largest_norm)[1] - 1
    return 2.0 ** max(-126, min(126, -exponent))


def _first_of_equals(codebook: np.ndarray) -> np.ndarray:
    """The indexes of the centroids of which no equal one comes before."""
    first: dict[bytes, int] = {}
    for index, centroid in enumerate(codebook):
        first.setdefault(centroid.tobytes(), index)
    return np.fromiter(first.values(), np.int64)
