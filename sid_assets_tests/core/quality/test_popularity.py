"""Quality by popularity, against brute force and known answers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.quality.items import group_by_sid
from sid_assets.core.quality.popularity import NAMES, Popularity, measure_popularity
from sid_assets_tests.core.quality.clustered_items import ITEMS, clustered_items

items = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 5), st.sampled_from([0.25, 0.5, 1.0, None])),
    min_size=1,
    max_size=40,
)
"""The SID, the interactions and the error of each item."""


def popularity_of(sids, trained, errors=None) -> Popularity:
    errors = np.array(errors or [0.5] * len(sids), np.float32)
    groups = group_by_sid(np.array(sids))
    return measure_popularity(groups, np.array(trained, np.uint32), errors)


def brute_thirds(trained):
    order = sorted((p for p, times in enumerate(trained) if times), key=lambda p: (-trained[p], p))
    total, before = sum(trained), 0
    thirds = [[], [], [], [p for p, times in enumerate(trained) if not times]]
    for pid in order:
        share = Fraction(before, total)
        thirds[0 if share < Fraction(1, 3) else 1 if share < Fraction(2, 3) else 2].append(pid)
        before += trained[pid]
    return thirds


@given(items)
def test_the_figures_of_each_third_match_brute_force(rows):
    sids, trained, errors = map(list, zip(*rows, strict=True))
    given_errors = [np.nan if error is None else error for error in errors]
    found = popularity_of(sids, trained, given_errors)
    for pids, group in zip(brute_thirds(trained), found.groups, strict=True):
        assert group.items == len(pids)
        assert group.interactions == sum(trained[p] for p in pids)
        assert group.distinct == len({sids[p] for p in pids})
        assert group.colliding_items == sum(sids.count(sids[p]) > 1 for p in pids)
        known = [errors[p] for p in pids if errors[p] is not None]
        assert (group.error.mean if group.error else None) == (
            pytest.approx(np.mean(known)) if known else None
        )
        if pids:
            assert group.distinct_share == group.distinct / len(pids)
            assert group.colliding_share == group.colliding_items / len(pids)
        else:
            assert (group.distinct_share, group.colliding_share) == (None, None)


def test_the_item_in_which_a_third_ends_belongs_to_it():
    # 12 interactions: thirds end after 4 and 8. Item 2 has 5 of them, so it is the first third.
    found = popularity_of([1, 2, 3, 4, 5, 6], [1, 2, 5, 2, 2, 0])
    assert [group.items for group in found.groups] == [1, 2, 2, 1]
    assert [group.interactions for group in found.groups] == [5, 4, 3, 0]


def test_a_collision_counts_where_the_item_is_wherever_the_other_one_is():
    found = popularity_of([1, 1, 2, 2, 3], [6, 0, 0, 0, 0])
    first, _, _, never = found.groups
    assert (first.colliding_items, first.distinct) == (1, 1)
    assert (never.items, never.colliding_items, never.distinct) == (4, 3, 3)


def test_without_interactions_all_items_are_never_seen():
    found = popularity_of([1, 1], [0, 0])
    assert [group.items for group in found.groups] == [0, 0, 0, 2]
    assert "popularity_first_colliding_share" not in found.figures()
    assert found.figures()["popularity_never_seen_colliding_share"] == 1


def test_random_centroids_and_one_code_for_all_items_look_poor():
    trained = np.random.default_rng(0).zipf(1.5, ITEMS).clip(max=1000) - 1

    def measured(tokenizer):
        items = clustered_items(tokenizer)
        return measure_popularity(group_by_sid(items.sids), trained, items.errors).figures()

    good, random, one = map(measured, ("trained", "random", "one code"))
    for name in NAMES:
        error, sharing = f"popularity_{name}_error_mean", f"popularity_{name}_colliding_share"
        for poor in (random, one):
            assert poor[error] > 3 * good[error]
            assert poor[sharing] > 1.5 * good[sharing]
        assert one[sharing] == 1


def test_figures_and_section_have_a_number_for_each_group():
    found = popularity_of([1, 1, 2, 3], [3, 2, 1, 0], [0.25, 0.5, 0.5, 0.5])
    figures = found.figures()
    assert figures["popularity_first_colliding_share"] == 1
    assert figures["popularity_first_error_mean"] == 0.25
    assert figures["popularity_never_seen_items"] == 1
    assert all(isinstance(value, int | float) for value in figures.values())
    section = found.section()
    assert section.rows[0][1:5] == ("1", "1", "1", "1")
    assert "6 interactions of split 0" in section.paragraphs[0]
