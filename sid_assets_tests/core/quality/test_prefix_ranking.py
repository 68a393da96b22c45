"""Ranking by shared prefix, against all orders of tied items."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.quality import prefix_ranking
from sid_assets.core.quality.prefix_ranking import chance_at_random, chances_of_first

codes_of_items = st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=2, max_size=5)


def shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    length = 0
    while length < 3 and one[length] == other[length]:
        length += 1
    return length


def brute_chance(codes: list[tuple[int, ...]], query: int, other: int, first: int) -> float:
    """The share of the orders of all items in which the item is among the first."""
    others = [item for item in range(len(codes)) if item != query]
    orders = list(permutations(others))
    hits = 0
    for order in orders:
        ranked = sorted(order, key=lambda item: -shared(codes[query], codes[item]))
        hits += other in ranked[:first]
    return hits / len(orders)


@given(codes_of_items)
@settings(max_examples=60, deadline=None)
def test_chances_are_those_over_all_orders_of_ties(codes):
    pairs = [(a, b) for a in range(len(codes)) for b in range(len(codes)) if a != b]
    queries, others = map(np.array, zip(*pairs, strict=True))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(prefix_ranking, "FIRST", (1, 2, 3))
        found = chances_of_first(np.array(codes), queries, others)
    wanted = [[brute_chance(codes, a, b, first) for first in (1, 2, 3)] for a, b in pairs]
    assert found == pytest.approx(np.array(wanted))


def test_longer_prefixes_come_first_and_ties_share_the_places():
    codes = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 2], *[[2, 2, 2]] * 17])
    found = chances_of_first(codes, np.array([0, 0, 0]), np.array([1, 2, 3]))
    assert found[:, 0] == pytest.approx([1, 1, 8 / 17])


def test_all_items_in_one_code_give_the_chance_at_random():
    codes = np.zeros((201, 3), np.int64)
    found = chances_of_first(codes, np.array([5]), np.array([9]))
    assert found[0].tolist() == pytest.approx([10 / 200, 30 / 200, 100 / 200])
    assert chance_at_random(201) == pytest.approx([0.05, 0.15, 0.5])
    assert chance_at_random(11) == [1, 1, 1]
