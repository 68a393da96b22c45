"""The whole probe on a toy catalog whose users follow a rule."""

import time

import numpy as np
import pytest
from upath import UPath

from sid_assets.core.probe.measure import ITEM_WORDS, Controls, dealt, probe_sids
from sid_assets.core.probe.result import METRICS
from sid_assets.core.probe.run import Data
from sid_assets_tests.core.probe.random_rows import rows_of
from sid_assets_tests.core.probe.small_decoder import use_small_decoder

CATEGORIES, ITEMS_EACH = 8, 12
ITEMS = CATEGORIES * ITEMS_EACH
UNSEEN = [
    category * ITEMS_EACH + 4 * group + (category + group) % 4
    for category in range(CATEGORIES)
    for group in range(3)
]
"""Items of every category that nobody has met in split 0; each of their codes occurs in others."""


def toy_sids() -> np.ndarray:
    """The first code of a SID is the category of the item."""
    within = np.arange(ITEMS) % ITEMS_EACH
    return np.stack([np.arange(ITEMS) // ITEMS_EACH, within // 4, within % 4], axis=1)


def toy_data() -> Data:
    """After an item of category c comes one of category c + 1."""
    draw = np.random.default_rng(0)

    def sequence(length: int, items: np.ndarray) -> list[int]:
        first = draw.integers(CATEGORIES)
        found = []
        for place in range(length):
            category = (first + place) % CATEGORIES
            found.append(int(draw.choice(items[items // ITEMS_EACH == category])))
        return found

    seen = np.setdiff1d(np.arange(ITEMS), UNSEEN)
    trained, scored = [], []
    for user in range(400):
        items = sequence(5, seen)
        trained.append((user, items[:-1], items[-1:]))
    for user in range(200):
        items = sequence(4, seen)
        unseen = [item for item in UNSEEN if item // ITEMS_EACH == items[-1] // ITEMS_EACH]
        scored.append((user, items[:-1], [int(draw.choice(unseen))] if user % 2 else items[-1:]))
    return Data.of(rows_of(trained), rows_of(scored), ITEMS)


@pytest.fixture(scope="module", autouse=True)
def short():
    """A smaller decoder and fewer steps: the rule is simple."""
    with pytest.MonkeyPatch.context() as patch:
        use_small_decoder(patch, steps=90, between=30)
        yield


@pytest.fixture(scope="module")
def data() -> Data:
    return toy_data()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> UPath:
    return UPath(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def result(data, folder):
    return probe_sids(data, {"toy": toy_sids()}, Controls(), folder=folder)


def test_the_rule_is_found_also_for_items_that_nobody_has_met(result):
    assert result.unseen.sum() == 100
    hits = result.interval("toy", "hit_rate@20").mean
    of_dealt = result.interval(dealt("toy"), "hit_rate@20").mean
    [toy] = (one for one in result.scored if one.name == "toy")
    [control] = (one for one in result.scored if one.name == dealt("toy"))
    assert hits > 0.9
    assert toy.values["hit_rate@20"][result.unseen].mean() > 0.9
    assert control.values["hit_rate@20"][result.unseen].mean() < 0.4
    assert hits > of_dealt + 0.2


def test_the_difference_to_the_dealt_sids_is_more_than_chance(result):
    found = {one.metric: one for one in result.differences if one.to == dealt("toy")}
    assert set(found) == set(METRICS)
    assert found["hit_rate@20"].verdict == "better"
    assert found["hit_rate@20"].interval.low > 0.2


def test_items_as_tokens_cannot_recommend_what_nobody_has_met(result):
    [items] = (one for one in result.scored if one.name == ITEM_WORDS)
    assert items.values["hit_rate@10"][result.unseen].mean() < 0.3


def test_a_second_probe_reads_the_runs_of_the_first(data, folder, result):
    started, said = time.monotonic(), []
    again = probe_sids(data, {"toy": toy_sids()}, Controls(), folder=folder, progress=said.append)
    assert not said
    assert time.monotonic() - started < 20
    for one, other in zip(again.scored, result.scored, strict=True):
        assert all(np.array_equal(one.values[name], other.values[name]) for name in METRICS)
        assert list(one.runs) == list(other.runs)


def test_what_is_not_finished_is_compared_with_nothing(data, folder, tmp_path):
    said = []
    result = probe_sids(
        data,
        {"toy": toy_sids()},
        Controls(items=False),
        folder=UPath(tmp_path),
        deadline=time.monotonic(),
        progress=said.append,
    )
    assert [one.finished for one in result.scored] == [False, False]
    assert result.differences == ()
    assert any("not finished" in text for text in said)


def test_fewer_than_three_seeds_are_compared_with_nothing(data, folder):
    result = probe_sids(data, {"toy": toy_sids()}, Controls(items=False), folder=folder, seeds=2)
    assert all(one.finished for one in result.scored)
    assert result.differences == ()
