"""The result: scores of items and of SIDs, and which differences are told."""

import json
import math

import numpy as np
import pytest

from sid_assets.core.probe.result import (
    METRICS,
    Scored,
    as_json,
    find_differences,
    score_items,
    score_runs,
)
from sid_assets.core.probe.run import Data, Run
from sid_assets.core.probe.words import Spelling, Tree
from sid_assets_tests.core.probe.random_rows import random_rows
from sid_assets_tests.core.probe.small_result import ROWS, RUNS, scored_of, small_result

ITEMS = 40
DATA = Data.of(random_rows(60, ITEMS, seed=0), random_rows(25, ITEMS, seed=1), ITEMS)
SIDS = np.random.default_rng(0).integers(0, 3, (ITEMS, 3))


def plain(found: list, wanted: set, cutoff: int) -> tuple[float, float]:
    """Hit and NDCG of one row; what is found twice counts once."""
    gained = {one: 1 / math.log2(at + 2) for at, one in reversed([*enumerate(found[:cutoff])])}
    right = sum(gain for one, gain in gained.items() if one in wanted)
    best = sum(1 / math.log2(at + 2) for at in range(min(len(wanted), cutoff)))
    return float(right > 0), right / best


def random_runs(tree: Tree, seeds: int) -> list[Run]:
    draw = np.random.default_rng(3)
    words = [
        np.stack([draw.permutation(len(tree.words))[:20] for _ in range(25)]) for _ in range(seeds)
    ]
    return [Run(seed, named, 30, 90, 20, 1.5, 2.0) for seed, named in enumerate(words)]


def test_runs_are_scored_as_a_plain_program_does():
    tree = Tree.of(Spelling.of_sids(SIDS), DATA.users)
    assert len(tree.words) < ITEMS  # some SIDs are shared
    runs = random_runs(tree, 2)
    found = score_runs("some", "sids", runs, 2, tree, DATA)
    for place, cutoff in enumerate((10, 20)):
        for row in range(25):
            targets = DATA.scored.targets[row].tolist()
            of_items, of_sids = [], []
            for run in runs:
                sids = [tuple(tree.words[word]) for word in run.words[row]]
                items = []
                for sid in sids:
                    same = [item for item in range(ITEMS) if tuple(SIDS[item]) == sid]
                    items.append(min(same, key=lambda item: (-DATA.users[item], item)))
                of_items.append(plain(items, set(targets), cutoff))
                of_sids.append(plain(sids, {tuple(SIDS[item]) for item in targets}, cutoff))
            for values, wanted in ((found.values, of_items), (found.sids, of_sids)):
                both = [values[METRICS[place]][row], values[METRICS[2 + place]][row]]
                assert both == pytest.approx(np.mean(wanted, axis=0))


def test_items_are_no_sids_and_too_few_runs_are_not_finished():
    tree = Tree.of(Spelling.of_items(ITEMS), DATA.users)
    found = score_runs("items", "one token an item", random_runs(tree, 2), 3, tree, DATA)
    assert not found.finished
    assert found.sids == {}
    assert [run["seed"] for run in found.runs] == [0, 1]


def test_a_baseline_is_scored_on_the_rows_it_was_asked_for():
    right = np.full((25, 20), -1)
    right[:, 0] = [DATA.scored.targets[row][0] for row in range(25)]
    asked = np.arange(25) < 5
    found = score_items("some", right, DATA, asked=asked)
    assert found.values["hit_rate@10"].tolist() == [1.0] * 25
    assert found.rows.tolist() == asked.tolist()


def test_the_interval_is_that_of_the_rows_that_were_asked_for():
    hits = np.arange(ROWS) < 50
    asked = scored_of("asked", "baseline", hits, rows=hits)
    result = small_result(more=[asked])
    assert result.interval("asked", "hit_rate@10").mean == 1
    assert result.interval("pid2sid", "hit_rate@10").mean == pytest.approx(0.8)
    [found] = [
        one for one in result.differences if one.to == "asked" and one.metric == "hit_rate@10"
    ]
    assert found.interval.mean == pytest.approx(-0.2)  # 80 % of those rows, not of all


@pytest.mark.parametrize(
    "other",
    [
        scored_of("other", "sids", np.arange(ROWS) % 2 == 0, finished=False),
        scored_of("other", "sids", np.arange(ROWS) % 2 == 0, runs=RUNS[:2]),
    ],
    ids=["not finished", "two seeds"],
)
def test_it_is_compared_with_nothing(other):
    whole = scored_of("whole", "sids", np.arange(ROWS) % 3 == 0)
    assert find_differences([whole, other], [("whole", "other")], np.arange(ROWS)) == ()


def test_differences_are_paired_by_row():
    draw = np.random.default_rng(0)
    easy = draw.random(ROWS)
    one, other = (scored_of(name, "sids", easy + more) for name, more in (("a", 0.01), ("b", 0)))
    found = find_differences([one, other], [("a", "b")], np.arange(ROWS))
    assert {difference.verdict for difference in found} == {"better"}
    [back, *_] = find_differences([one, other], [("b", "a")], np.arange(ROWS))
    assert back.verdict == "worse"
    [same, *_] = find_differences([one, one], [("a", "a")], np.arange(ROWS))
    assert same.verdict == "tie"


def test_the_json():
    unfinished = Scored("late", "sids", {}, np.ones(ROWS, bool), finished=False)
    made = json.loads(json.dumps(as_json(small_result(more=[unfinished]))))
    assert made["rows"]["repeated_targets"] == 7
    named = {one["name"]: one for one in made["scored"]}
    own = named["pid2sid"]
    assert own["hit_rate@10"]["mean"] == pytest.approx(0.8)
    assert own["hit_rate@10"]["low"] < 0.8 < own["hit_rate@10"]["high"]
    # None of the rows that nobody has met is right: 160 of the 180 others are.
    assert own["hit_rate@10"]["unseen"] == 0
    assert own["hit_rate@10"]["seen"] == pytest.approx(160 / 180)
    assert own["of_sids"]["hit_rate@10"] == pytest.approx(0.8)
    assert [run["best_step"] for run in own["runs"]] == [20, 20, 20]
    assert "of_sids" not in named["popularity"]
    assert named["late"]["finished"] is False
    assert "hit_rate@10" not in named["late"]
    first = made["differences"][0]
    assert (first["of"], first["to"]) == ("pid2sid", "pid2sid, dealt at random")
    assert first["verdict"] == "better"
    assert first["low"] < first["mean"] < first["high"]
