"""Intervals by a bootstrap over users."""

import numpy as np
import pytest

from sid_assets.core.probe.differences import Interval, interval


def test_the_interval_of_independent_rows_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(1, 2, 4_000)
    found = interval(values, np.arange(4_000))
    half = 1.96 * values.std() / np.sqrt(4_000)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_rows_of_one_user_count_as_one():
    values = np.repeat(np.random.default_rng(0).normal(0, 1, 100), 50)
    alone = interval(values, np.arange(5_000))
    together = interval(values, np.repeat(np.arange(100), 50))
    assert together.high - together.low > 5 * (alone.high - alone.low)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random(50)
    assert interval(values, np.arange(50)) == interval(values, np.arange(50))
    assert interval(values, np.arange(50)) != interval(values, np.arange(50), seed=1)


def test_no_rows_have_no_mean():
    assert np.isnan(interval(np.empty(0), np.empty(0)).mean)


@pytest.mark.parametrize(
    ("low", "mean", "high", "verdict"),
    [(0.1, 0.2, 0.3, "better"), (-0.3, -0.2, -0.1, "worse"), (-0.1, 0.1, 0.3, "tie")],
)
def test_an_interval_that_holds_zero_is_a_tie(low, mean, high, verdict):
    assert Interval(mean, low, high).verdict == verdict
