"""How many items keep their codes in a new generation, against chance."""

import json
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.registry import kept_codes as module
from sid_assets.core.registry.kept_codes import compared_generations, kept_codes
from sid_assets_tests.core.registry.registry_rows import registry, row


def codes(rng, items=300, size=4):
    return rng.integers(0, size, (items, 3)).astype(np.uint16)


def by_hand(before, after, weights):
    """The shares kept, and those of every item dealt the codes of every other."""
    total = weights.sum()
    kept, chance = [], []
    for layers in (1, 2, 3):
        old, new = before[:, :layers], after[:, :layers]
        kept.append(float(weights @ (old == new).all(axis=1) / total))
        pairs = (old[:, None] == new[None]).all(axis=2)
        chance.append(float(weights @ pairs.mean(axis=1) / total))
    return kept, chance


@pytest.mark.parametrize("rows", [2**20, 40])
def test_the_shares_are_those_counted_pair_by_pair(rows):
    rng = np.random.default_rng(0)
    before = codes(rng)
    after = np.where(rng.random((300, 1)) < 0.5, before, codes(rng)).astype(np.uint16)
    weights = rng.integers(0, 9, 300)
    with patch.object(module, "ROWS_AT_A_TIME", rows):
        found = kept_codes(before, after, weights)
    kept, chance = by_hand(before, after, np.ones(300))
    assert found.kept == pytest.approx(kept)
    assert found.chance == pytest.approx(chance)
    kept, chance = by_hand(before, after, weights)
    assert found.of_interactions == pytest.approx(kept)
    assert found.chance_of_interactions == pytest.approx(chance)


def test_chance_is_the_mean_of_codes_dealt_at_random():
    rng = np.random.default_rng(1)
    before, after = codes(rng), codes(rng, size=3)
    dealt = [kept_codes(before, rng.permutation(after)).kept for _ in range(300)]
    assert np.mean(dealt, axis=0) == pytest.approx(kept_codes(before, after).chance, abs=0.005)


def test_codes_at_both_ends_of_the_range_are_compared():
    before = np.array([[0, 0, 0], [8191, 8191, 8191]], np.uint16)
    after = np.array([[0, 0, 1], [8191, 8191, 8191]], np.uint16)
    found = kept_codes(before, after)
    assert (found.kept, found.chance) == ((1.0, 1.0, 0.5), (0.5, 0.5, 0.25))


def test_without_interactions_nothing_is_said_of_them():
    some = np.zeros((2, 3), np.uint16)
    for weights in (None, np.zeros(2, np.int64)):
        found = kept_codes(some, some, weights)
        assert found.of_interactions is None
        assert set(found.figures()) == {"items", "kept", "chance"}
        assert "interactions" not in found.sentence()


def test_the_log_has_one_sentence_and_the_metadata_all_numbers():
    before = np.array([[0, 0, 0], [1, 1, 1]], np.uint16)
    after = np.array([[0, 0, 1], [1, 1, 1]], np.uint16)
    found = kept_codes(before, after, np.array([3, 1]))
    assert found.sentence() == (
        "Of 2 items that had a SID in the generation before, 100 / 100 / 50 % keep 1 / 2 / 3 codes "
        "(by chance 50 / 50 / 25 %); weighted by interactions, 100 / 100 / 25 %."
    )
    assert json.loads(json.dumps(found.figures())) == {
        "items": 2,
        "kept": [1.0, 1.0, 0.5],
        "chance": [0.5, 0.5, 0.25],
        "kept_of_interactions": [1.0, 1.0, 0.25],
        "chance_of_interactions": [0.5, 0.5, 0.125],
    }


def test_no_items_are_no_error():
    none = np.empty((0, 3), np.uint16)
    found = kept_codes(none, none)
    assert (found.items, found.kept) == (0, (0.0, 0.0, 0.0))
    assert found.sentence() == "No item had a SID in the generation before."


def test_the_items_of_two_generations_in_a_registry(tmp_path):
    rows = [
        {**row(pid, 0, left), "generation": generation, "sid": list(sid)}
        for generation, pid, sid, left in [
            *[("before", 1, (1, 2, 3), None), ("before", 2, (1, 2, 4), None)],
            *[("before", 3, (5, 6, 7), 1), ("before", 4, (5, 6, 8), None)],
            *[
                ("now", 1, (1, 2, 3), None),
                ("now", 2, (1, 9, 4), None),
                ("now", 3, (5, 6, 7), None),
            ],
        ]
    ]
    counts = pa.record_batch({"pid": [1, 3], "users": [4, 9]})
    kept = compared_generations(registry(tmp_path, rows), "before", [counts])
    assert kept.items == 2
    assert kept.kept == (1.0, 0.5, 0.5)
    assert kept.of_interactions == (1.0, 1.0, 1.0)
