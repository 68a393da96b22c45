"""Statistics of arrays of counts and of measurements."""

import numpy as np


def entropy(counts: np.ndarray) -> float:
    """Entropy in nats of a draw in proportion to counts or weights (zeros are allowed)."""
    used = counts[counts > 0].astype(np.float64)
    total = used.sum()
    return float(max(0.0, np.log(total) - (used @ np.log(used)) / total))


def gini(sizes: np.ndarray) -> float:
    """Gini coefficient of sizes: 0 if all are equal, 1 - 1/n if one of n holds everything."""
    ascending = np.sort(sizes)
    n = len(ascending)
    rank = np.arange(1, n + 1, dtype=np.float64)
    return float(2 * (rank @ ascending) / (n * float(ascending.sum())) - (n + 1) / n)


def nearest_rank(share: float | np.ndarray, count: int) -> np.ndarray:
    """The rank, from 1, of the smallest of `count` values that a share of them does not exceed."""
    # Round first: 0.99 * 100 must be rank 99, not 100, despite floating-point error.
    return np.maximum(np.ceil(np.round(share * count, 6)).astype(np.int64), 1)
