"""How many items keep their codes: known answers, and chance against a shuffle of the SIDs."""

import numpy as np
import pytest

from sid_assets.core.registry.kept_codes import kept_codes

BEFORE = np.array([[1, 2, 3], [1, 2, 4], [5, 6, 7], [5, 6, 8]])


def test_shares_of_items_and_of_interactions():
    after = np.array([[1, 2, 3], [1, 2, 5], [5, 0, 7], [0, 6, 8]])
    kept = kept_codes(BEFORE, after, np.array([10, 20, 30, 40]))
    assert kept.items == 4
    assert kept.kept == (0.75, 0.5, 0.25)
    assert kept.of_interactions == pytest.approx((0.6, 0.3, 0.1))
    assert kept.figures()["interactions_kept_3_codes"] == pytest.approx(0.1)
    assert kept.describe() == (
        "Of 4 items that had a SID before, 75.0 / 50.0 / 25.0 % keep their first 1 / 2 / 3 codes "
        "(by chance 37.5 / 25.0 / 6.2 %); of their interactions 60.0 / 30.0 / 10.0 %."
    )


def test_chance_is_what_dealing_the_new_sids_at_random_gives():
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 3, (2, 500, 3)) ** 2
    kept = kept_codes(before, after)
    dealt = np.mean([kept_codes(before, rng.permutation(after)).kept for _ in range(200)], axis=0)
    np.testing.assert_allclose(kept.chance, dealt, atol=0.01)


def test_without_interactions_only_items_are_said():
    kept = kept_codes(BEFORE, BEFORE, np.zeros(4, np.int64))
    assert kept.kept == (1, 1, 1)
    assert kept.of_interactions is None
    assert "interactions" not in kept.describe()


def test_no_items_keep_nothing():
    none = np.zeros((0, 3), np.int64)
    assert kept_codes(none, none).figures() == {
        f"{name}_{length}_codes": 0.0 for name in ("kept", "chance_kept") for length in (1, 2, 3)
    }
