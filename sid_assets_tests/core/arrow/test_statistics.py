"""Statistics at the limits of their ranges."""

import math

import numpy as np
import pytest

from sid_assets.core.arrow.statistics import entropy, gini, nearest_rank


def test_gini_and_entropy_at_their_limits():
    assert gini(np.array([3, 3, 3])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 9])) == pytest.approx(3 / 4)
    assert entropy(np.array([5, 0])) == 0
    assert entropy(np.array([2, 2, 2, 2])) == pytest.approx(math.log(4))


def test_the_nearest_rank_is_not_one_too_high():
    assert nearest_rank(0.99, 100) == 99
    assert nearest_rank(np.array([0, 0.5, 1]), 4).tolist() == [1, 2, 4]
