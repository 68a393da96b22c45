"""The codes of a layer ranked by exact distance: the nearest centroids of each residual, in order.

One product in float32 gives the scores s_j = x.c_j - |c_j|^2 / 2 of all centroids; a larger score
is a smaller distance. A sum of n float32 products, in any order, is within g |x| |c_j| of the exact
one, where g = n 2^-24 / (1 - n 2^-24) (Higham, Accuracy and Stability of Numerical Algorithms,
section 4.2). The half norm is one more term, and its rounding another. With the g of n + 4 terms,
each score is therefore within E_j = g (|x| |c_j| + |c_j|^2 / 2), and the nearest k centroids are
among those whose score is at most 2 max E_j below the k-th best.

These are compared by distances that are summed row by row, in one order, and centroids whose
distances differ by less than their error as real numbers. So the ranking depends only on the
residual and the centroids. On an exact tie, the lower code comes first.
"""

from functools import cmp_to_key
from hashlib import blake2b

import numpy as np

from sid_assets.core.quantise.nearest_centroid import exactly_nearest
from sid_assets.core.quantise.row_blocks import distances, row_norms

ROWS = 512
"""Residuals ranked at a time: 17 MB of scores for 8192 centroids."""


class NearestCodes:
    """Ranks the centroids of one layer.

    Args:
        codebook: float32, shape (codebook_size, dim), finite.
    """

    def __init__(self, codebook: np.ndarray) -> None:
        self._centroids = np.ascontiguousarray(codebook, np.float32)
        self._norms = row_norms(self._centroids)

    def __len__(self) -> int:
        """Centroids of the layer."""
        return len(self._centroids)

    def rank(self, residuals: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest centroids of each residual, the nearest first.

        Args:
            residuals: float32, shape (n, dim), C-contiguous, finite.
            count: How many to rank, at most as many as there are.

        Returns:
            Their codes, uint16, and their distances, float32; both of shape (n, count).
        """
        codes = np.empty((len(residuals), count), np.uint16)
        apart = np.empty((len(residuals), count), np.float32)
        for start in range(0, len(residuals), ROWS):
            some = slice(start, start + ROWS)
            distinct, which = _distinct_rows(residuals[some])
            ranked, ranked_apart = self._rank(residuals[some][distinct], count)
            codes[some], apart[some] = ranked[which], ranked_apart[which]
        return codes, apart

    def _rank(self, residuals: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        rows, candidates = np.nonzero(self._may_be_near(residuals, count))
        apart = distances(residuals, rows, self._centroids, candidates)
        order = np.lexsort((candidates, apart, rows))
        rows, candidates, apart = rows[order], candidates[order], apart[order]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        self._sort_near_ties(residuals, rows, candidates, apart)
        ranked = starts[:, None] + np.arange(count)
        return candidates[ranked].astype(np.uint16), apart[ranked].astype(np.float32)

    def _may_be_near(self, residuals: np.ndarray, count: int) -> np.ndarray:
        """Which centroids may be among the nearest ones: bool, shape (n, codebook_size)."""
        size, dim = self._centroids.shape
        if count == size:
            return np.ones((len(residuals), size), bool)
        scores = residuals @ self._centroids.T
        scores -= (self._norms**2 / 2).astype(np.float32)
        longest = self._norms.max()
        terms = (dim + 4) * 2.0**-24
        error = terms / (1 - terms) * (row_norms(residuals) * longest + longest**2 / 2)
        least = np.partition(scores, size - count, axis=1)[:, size - count]
        # A score that overflowed is not known to be too low.
        return ~(scores < (least - 2 * error)[:, None])

    def _sort_near_ties(
        self, residuals: np.ndarray, rows: np.ndarray, candidates: np.ndarray, apart: np.ndarray
    ) -> None:
        """Put centroids whose distances are too close to tell into their exact order, in place.

        Args:
            residuals: float32, shape (n, dim).
            rows: The row of each pair; ascending.
            candidates: The centroid of each pair, sorted by distance within a row.
            apart: The distance of each pair.
        """
        reach = apart[:-1] * (1 + 4 * (residuals.shape[1] + 4) * 2.0**-53)
        near = (rows[1:] == rows[:-1]) & (apart[1:] <= reach)
        edges = np.diff(np.concatenate([[False], near, [False]]).astype(np.int8))
        for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            residual = residuals[rows[start]]

            def nearer(one: int, other: int, residual: np.ndarray = residual) -> int:
                pair = sorted((one, other), key=lambda place: candidates[place])
                nearest = exactly_nearest(residual, self._centroids[candidates[pair]])
                return -1 if pair[nearest] == one else 1

            order = sorted(range(start, end + 1), key=cmp_to_key(nearer))
            tied = slice(start, end + 1)
            candidates[tied], apart[tied] = candidates[order], apart[order]


def _distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index of the first of each set of equal rows, and which of these each row is.

    Items with the same text have the same vector, and often collide in large numbers.
    """
    seen: dict[bytes, int] = {}
    contents = (blake2b(row, digest_size=16).digest() for row in rows)
    which = np.array([seen.setdefault(content, len(seen)) for content in contents], np.int64)
    first = np.unique(which, return_index=True)[1]
    return first, which
