"""The nearest items of some items, by their vectors: compared with every item of the sample."""

import numpy as np

NEAREST = 100
"""Nearest items that are found of each item."""

VALUES_AT_ONCE = 4_000_000
"""Distances held at a time: 16 MB, and as much again while they are sorted."""


def nearest_items(vectors: np.ndarray, queries: np.ndarray, count: int = NEAREST) -> np.ndarray:
    """The nearest other items of each query by Euclidean distance, nearest first.

    Distances are computed in float32. Of equally near items, those with the smaller position come
    first.

    Args:
        vectors: float32, shape (n, dim): of all items.
        queries: Integers (q,): positions of the queries.
        count: How many to find; all other items if there are fewer.

    Returns:
        Positions, int64, shape (q, min(count, n - 1)).
    """
    count = min(count, len(vectors) - 1)
    found = np.empty((len(queries), count), np.int64)
    half_squares = np.vecdot(vectors, vectors) / 2
    rows = max(1, VALUES_AT_ONCE // len(vectors))
    for start in range(0, len(queries), rows):
        some = queries[start : start + rows]
        closeness = vectors[some] @ vectors.T
        closeness -= half_squares  # (|x|^2 - |x - y|^2) / 2
        closeness[np.arange(len(some)), some] = -np.inf
        first = np.sort(np.argpartition(-closeness, count - 1, axis=1)[:, :count], axis=1)
        nearer = np.take_along_axis(closeness, first, axis=1)
        order = np.argsort(-nearer, axis=1, kind="stable")
        found[start : start + rows] = np.take_along_axis(first, order, axis=1)
    return found
