"""The purity of a column, against brute force over pairs, and its chance against dealing."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.quality.items import NO_VALUE, group_by_sid
from sid_assets.core.quality.purity import Purity, measure_purity
from sid_assets.core.sids.spelling import pack
from sid_assets_tests.core.quality.clustered_items import clustered_items, clusters

code = st.integers(0, 3)
item = st.tuples(st.tuples(code, code, code), st.sampled_from([NO_VALUE, 7, -8, 2**62]))


def purity_of(sids, values) -> Purity:
    return measure_purity(group_by_sid(pack(np.array(sids))), np.array(values), "category")


def brute_share(sids, values, length):
    """The mean over items of the share of their group's other items with the same value."""
    known = [i for i in range(len(sids)) if values[i] != NO_VALUE]
    shares = []
    for one in known:
        others = [o for o in known if o != one and sids[o][:length] == sids[one][:length]]
        if others:
            shares.append(sum(values[o] == values[one] for o in others) / len(others))
    return len(shares), sum(shares) / len(shares) if shares else None


@given(st.lists(item, min_size=1, max_size=40))
def test_shares_match_brute_force_over_pairs(items):
    sids, values = map(list, zip(*items, strict=True))
    found = purity_of(sids, values)
    known = [value for value in values if value != NO_VALUE]
    assert (found.items, found.without) == (len(known), len(values) - len(known))
    assert found.values == len(set(known))
    pairs = [one == other for one, other in itertools.combinations(known, 2)]
    assert found.chance == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)
    for prefix in found.prefixes:
        count, share = brute_share(sids, values, prefix.length)
        assert prefix.items == count
        assert prefix.share == (None if share is None else pytest.approx(share))
        if share is None or found.chance is None or found.chance == 1:
            assert prefix.above_chance is None
        else:
            expected = (share - found.chance) / (1 - found.chance)
            assert prefix.above_chance == pytest.approx(expected)
        groups = {sid[: prefix.length] for sid, v in zip(sids, values, strict=True) if v}
        assert prefix.groups <= len(groups)


def test_values_dealt_at_random_to_groups_of_any_size_have_the_share_by_chance():
    rng = np.random.default_rng(0)
    sids = [(0, 0, min(row // 3, 5)) for row in range(60)]  # five groups of 3, one of 45
    values = np.array([1] * 40 + [2] * 15 + [3] * 5)
    dealt = [purity_of(sids, rng.permutation(values)).prefixes[-1] for _ in range(2000)]
    chance = purity_of(sids, values).chance
    assert chance is not None
    shares = np.array([found.share for found in dealt])
    assert shares.mean() == pytest.approx(chance, abs=4 * shares.std() / 2000**0.5)


def test_groups_of_one_value_are_pure_and_groups_of_one_item_do_not_count():
    found = purity_of([(0, 0, 0), (0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 0)], [1, 1, 2, 3, 3])
    sid = found.prefixes[-1]
    assert (sid.groups, sid.items, sid.share, sid.above_chance) == (2, 4, 1.0, 1.0)
    first = found.prefixes[0]
    assert (first.groups, first.items) == (2, 5)
    assert first.share == pytest.approx((0.5 + 0.5 + 0 + 1 + 1) / 5)


def test_one_value_for_all_items_says_nothing():
    found = purity_of([(0, 0, 0)] * 3, [5, 5, 5])
    assert found.chance == 1
    assert [prefix.above_chance for prefix in found.prefixes] == [None] * 3


def test_no_values_at_all_give_no_shares():
    found = purity_of([(0, 0, 0)] * 3, [NO_VALUE] * 3)
    assert found.chance is None
    assert found.figures()["purity_without_value"] == 3
    assert "purity_chance" not in found.figures()
    assert found.section().rows[0][1:4] == ("–", "–", "–")


def test_random_centroids_and_one_code_for_all_items_look_poor():
    values = clusters() + 1

    def above_chance(tokenizer):
        groups = group_by_sid(clustered_items(tokenizer).sids)
        return [prefix.above_chance for prefix in measure_purity(groups, values, "c").prefixes]

    trained, random, one = map(above_chance, ("trained", "random", "one code"))
    assert trained[0] is not None
    assert random[0] is not None
    assert trained[0] > 0.95
    assert random[0] < 0.7
    assert one == [0, 0, 0]


def test_sids_that_are_dealt_at_random_are_at_chance():
    rng = np.random.default_rng(3)
    sids = rng.permutation(clustered_items("trained").sids)
    found = measure_purity(group_by_sid(sids), clusters() + 1, "category").prefixes
    for prefix in found:
        assert prefix.above_chance is not None
        assert abs(prefix.above_chance) < 0.05


def test_figures_and_section_state_the_share_and_its_chance():
    found = purity_of([(0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 0, 0)], [1, 1, 2, 3])
    figures = found.figures()
    assert figures["purity_prefix_1_share"] == 0.5
    assert figures["purity_chance"] == pytest.approx(1 / 6)
    assert figures["purity_prefix_1_above_chance"] == pytest.approx((1 / 2 - 1 / 6) / (5 / 6))
    assert all(isinstance(value, int | float) for value in figures.values())
    section = found.section()
    assert section.rows[0] == (
        "Same value",
        "50.0%",
        "50.0%",
        "50.0%",
        "Of the other items in an item's group.",
    )
    assert section.rows[1][1:4] == ("16.7%",) * 3
    labels = [*section.bars.places, *section.bars.series, section.bars.title]
    assert not any("category" in label for label in labels), "plotly interprets labels"
