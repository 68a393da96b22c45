"""The recall ceiling, against brute force and known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.quality.items import group_by_sid
from sid_assets.core.quality.recall_ceiling import RecallCeiling, measure_recall_ceiling
from sid_assets_tests.core.quality.clustered_items import ITEMS, clustered_items

items = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30
)
"""The SID, the interactions in split 0 and the targets of each item; few, so that they tie."""


def ceiling_of(sids, trained, targets, without_sid=0, split=1) -> RecallCeiling | None:
    return measure_recall_ceiling(
        group_by_sid(np.array(sids)),
        np.array(trained, np.uint32),
        np.array(targets, np.uint32),
        split=split,
        all_targets=sum(targets) + without_sid,
    )


@given(items, st.integers(0, 5))
def test_each_rule_matches_brute_force_target_by_target(rows, without_sid):
    sids, trained, targets = map(list, zip(*rows, strict=True))
    found = ceiling_of(sids, trained, targets, without_sid)
    wanted = [pid for pid, times in enumerate(targets) for _ in range(times)]
    if not wanted and not without_sid:
        assert found is None
        return
    assert found is not None
    of_sid = {sid: [p for p, other in enumerate(sids) if other == sid] for sid in sids}
    total = len(wanted) + without_sid
    popular = {sid: min(pids, key=lambda p: (-trained[p], p)) for sid, pids in of_sid.items()}
    assert (found.targets, found.without_sid) == (total, without_sid)
    assert found.most_popular == sum(popular[sids[p]] == p for p in wanted) / total
    assert found.random == pytest.approx(sum(1 / len(of_sid[sids[p]]) for p in wanted) / total)
    assert found.largest_pid == sum(max(of_sid[sids[p]]) == p for p in wanted) / total


def test_unique_sids_cost_nothing():
    found = ceiling_of([3, 1, 2], [0, 5, 1], [4, 0, 2])
    assert found is not None
    assert (found.most_popular, found.random, found.largest_pid) == (1, 1, 1)


def test_a_shared_sid_costs_what_the_rule_does_not_pick():
    found = ceiling_of([7, 7, 7, 7], trained=[1, 9, 9, 0], targets=[0, 6, 3, 1])
    assert found is not None
    assert (found.most_popular, found.random, found.largest_pid) == (0.6, 0.25, 0.1)


def test_random_centroids_and_one_code_for_all_items_look_poor():
    each = np.ones(ITEMS, np.uint32)

    def random_pick(tokenizer):
        groups = group_by_sid(clustered_items(tokenizer).sids)
        found = measure_recall_ceiling(groups, each, each, split=1, all_targets=ITEMS)
        assert found is not None
        return found.random

    trained, random, one = map(random_pick, ("trained", "random", "one code"))
    assert trained > 5 * random
    assert one == pytest.approx(1 / ITEMS)


def test_targets_of_split_0_are_named_with_what_they_distort():
    old, new = ceiling_of([0], [1], [1], split=0), ceiling_of([0], [1], [1])
    assert old is not None
    assert new is not None
    assert "those of split 0 are used" in old.section().notice
    assert new.section().notice == ""
    assert old.figures()["recall_ceiling_split"] == 0


def test_figures_and_section_name_targets_without_a_sid():
    found = ceiling_of([0, 0], [1, 2], [1, 2], without_sid=1)
    assert found is not None
    assert found.figures() == {
        "recall_ceiling_split": 1,
        "recall_ceiling_targets": 4,
        "recall_ceiling_without_sid": 1,
        "recall_ceiling_most_popular": 0.5,
        "recall_ceiling_random": 0.375,
        "recall_ceiling_largest_pid": 0.5,
    }
    section = found.section()
    assert "1 of them" in section.paragraphs[0]
    assert [row[1] for row in section.rows] == ["50.0%", "37.5%", "50.0%"]
