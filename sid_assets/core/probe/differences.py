"""Whether two sets of scores differ by more than chance."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

DRAWS = 1_000
Verdict = Literal["better", "worse", "tie"]


@dataclass(frozen=True)
class Interval:
    """A mean, and the interval that holds 95 % of the means of resampled users.

    Attributes:
        mean: Mean over all rows.
        low: Lower end.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """Of a difference: its sign, or `tie` where the interval holds 0."""
        if self.low <= 0 <= self.high:
            return "tie"
        return "better" if self.mean > 0 else "worse"


def interval(values: np.ndarray, users: np.ndarray, seed: int = 0) -> Interval:
    """The mean of values, and its interval by a bootstrap over users.

    Users are drawn with replacement, each with all rows (Efron, 1979). Rows of one user are alike,
    so rows drawn one by one would give an interval that is too small.

    Args:
        values: Floats (n,): a value of each row.
        users: Integers (n,): the user of each row.
        seed: The draws follow from it.
    """
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    _, user = np.unique(users, return_inverse=True)
    sums, rows = np.bincount(user, weights=values), np.bincount(user)
    draw = np.random.default_rng(seed)
    means = np.empty(DRAWS)
    for number in range(DRAWS):
        drawn = draw.integers(0, len(sums), len(sums))
        means[number] = sums[drawn].sum() / rows[drawn].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
