"""The shape of the code tree, against brute force and known answers."""

import statistics

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.quality.items import group_by_sid
from sid_assets.core.quality.tree import CodeTree, measure_tree
from sid_assets.core.sids.spelling import pack
from sid_assets_tests.core.quality.clustered_items import CODEBOOK_SIZE, clustered_items

K = 8

code = st.integers(0, K - 1)


def tree_of(sids) -> CodeTree:
    return measure_tree(np.unique(pack(np.array(sorted(sids)))), K)


@given(st.lists(st.tuples(code, code, code), min_size=1, max_size=60))
def test_fan_out_and_leaves_match_brute_force(sids):
    found = tree_of(sids)
    distinct = set(sids)
    for level in found.levels:
        below = {}
        for sid in distinct:
            below.setdefault(sid[: level.level - 1], set()).add(sid[level.level - 1])
        children = [len(codes) for codes in below.values()]
        assert level.nodes == len(children)
        assert level.mean == statistics.mean(children)
        assert level.median == statistics.median(children)
        assert level.max == max(children)
    leaves = [sum(sid[0] == first for sid in distinct) for first in range(K)]
    assert found.leaves == len(distinct)
    assert found.largest_branch_leaves == max(leaves)
    assert found.largest_branch_share == max(leaves) / len(distinct)


def test_a_full_tree_has_every_code_below_every_prefix():
    sids = [(a, b, c) for a in range(K) for b in range(K) for c in range(K)]
    found = tree_of(sids)
    assert [(level.mean, level.median, level.max) for level in found.levels] == [(K, K, K)] * 3
    assert found.largest_branch_share == 1 / K


def test_the_figures_are_numbers_by_name():
    figures = tree_of([(0, 0, 0), (0, 0, 1), (1, 0, 0)]).figures()
    assert figures == {
        "largest_branch_leaves": 2,
        "largest_branch_share": 2 / 3,
        "fan_out_1_mean": 2.0,
        "fan_out_1_median": 2.0,
        "fan_out_1_max": 2,
        "fan_out_2_mean": 1.0,
        "fan_out_2_median": 1.0,
        "fan_out_2_max": 1,
        "fan_out_3_mean": 1.5,
        "fan_out_3_median": 1.5,
        "fan_out_3_max": 2,
    }


def test_random_centroids_and_one_code_for_all_items_look_poor():
    def measured(tokenizer):
        groups = group_by_sid(clustered_items(tokenizer).sids)
        return measure_tree(groups.sids, CODEBOOK_SIZE)

    trained, random, one = map(measured, ("trained", "random", "one code"))
    for level in (1, 2):
        assert trained.levels[level].mean > 1.5 * random.levels[level].mean
    assert [level.mean for level in one.levels] == [1, 1, 1]
    assert trained.largest_branch_share < random.largest_branch_share
    assert one.largest_branch_share == 1


def test_the_section_compares_the_largest_branch_with_an_even_one():
    section = tree_of([(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 0, 0)]).section()
    assert "leads to 3 of the 4 distinct SIDs (75.0%)" in section.paragraphs[0]
    assert "each would lead to 50.0%" in section.paragraphs[0]
    one_branch = tree_of([(2, 0, 0), (2, 0, 1)]).section()
    assert "All 2 distinct SIDs have the same first code." in one_branch.paragraphs[0]
