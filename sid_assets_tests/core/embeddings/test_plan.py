"""The plan: what a refresh would do and cost."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.embedders import Embedded, Memory, TokenCounts
from sid_assets.core.embeddings import plan as planning
from sid_assets.core.embeddings.plan import Plan, make_plan, measure_speed
from sid_assets.core.embeddings.run import embed_items
from sid_assets.core.embeddings.survey import SpreadSample
from sid_assets.core.errors import InputError
from sid_assets.core.refresh import Changes, RefreshPolicy
from sid_assets.core.store.provenance import EmbeddingSpace
from sid_assets.core.store.store import Store
from sid_assets_tests.core.drawn_vectors import (
    FakeEmbedder,
    commit_texts,
    embed,
    item_texts,
    text_table,
)


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path) -> Store:
    return Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")


def plan_for(store: Store, texts: dict, embedder: FakeEmbedder, calibrate: bool = False) -> Plan:
    reader = text_table(texts).to_reader(max_chunksize=100)
    return make_plan(store, "item_embeddings", reader, embedder, calibrate=calibrate)


def test_a_first_run(store):
    texts = item_texts(range(30))
    embedder = FakeEmbedder()
    plan = plan_for(store, texts, embedder)
    assert plan.changes == Changes(new=30, changed=0, unchanged=0, removed=0)
    assert (plan.texts, plan.tokens, plan.tokens_counted) == (30, 90, True)
    assert plan.characters == sum(map(len, texts.values()))
    assert set(plan.sample) == set(texts.values())
    assert (plan.seconds, plan.memory, plan.afresh, plan.in_draft) == (None, None, "", 0)
    assert 30 * 16_384 < plan.disk_needed < 30 * 17_000
    assert embedder.calls == []
    assert store.tables() == []


def test_a_refresh(store):
    texts = item_texts(range(10))
    embed(store, texts, FakeEmbedder())
    later = {pid: text for pid, text in texts.items() if pid > 2} | {5: "one two", 50: "three"}
    plan = plan_for(store, later, FakeEmbedder())
    assert plan.changes == Changes(new=1, changed=1, unchanged=6, removed=3)
    assert (plan.texts, plan.tokens, plan.sample) == (2, 3, ("one two", "three"))
    assert plan.disk_needed > 8 * 16_384  # the unchanged ones are written too
    assert plan.describe().split("\n")[:2] == [
        "The refresh: 1 new, 1 changed, 3 removed, 6 unchanged items.",
        "To embed: 2 texts, 3 tokens.",
    ]


def test_nothing_to_do(store):
    texts = item_texts(range(10))
    embed(store, texts, FakeEmbedder())
    embedder = FakeEmbedder()
    plan = plan_for(store, texts, embedder, calibrate=True)
    assert (plan.texts, plan.tokens, plan.seconds) == (0, 0, 0.0)
    assert embedder.calls == []


def test_what_an_unfinished_run_left_is_counted(store):
    texts = item_texts(range(10))
    embed(store, texts, FakeEmbedder())
    left = commit_texts(store, texts | {20: "left", 21: "left too"})
    draft, *_ = embed_items(
        store, "item_embeddings", left, FakeEmbedder(), RefreshPolicy(), print, print
    )
    draft.close()
    plan = plan_for(store, texts | {20: "left", 21: "changed since", 22: "new"}, FakeEmbedder())
    assert plan.changes == Changes(new=3, changed=0, unchanged=10, removed=0)
    assert (plan.in_draft, plan.texts) == (1, 2)
    assert "An unfinished run left the vectors of 1 of them." in plan.describe()


def test_another_space_is_reported(store):
    texts = item_texts(range(10))
    embed(store, texts, FakeEmbedder())
    plan = plan_for(store, texts, FakeEmbedder(model="other"))
    assert plan.changes == Changes(new=10, changed=0, unchanged=0, removed=0, moved=10)
    assert plan.texts == 10
    assert plan.describe().startswith(
        "The refresh: 10 new (10 of them from the previous generation), 0 changed, 0 removed, "
    )
    assert "Starts afresh: the vectors in" in plan.describe()
    assert "model: 'fake' -> 'other'" in plan.describe()


def test_the_unfinished_draft_for_the_same_texts_needs_no_more_disk_space(store):
    texts = commit_texts(store, item_texts(range(10)))
    columns = ["pid", "text", "text_hash"]
    first = make_plan(store, "item_embeddings", texts.stream(columns), FakeEmbedder())
    draft, *_ = embed_items(
        store, "item_embeddings", texts, FakeEmbedder(), RefreshPolicy(), print, print
    )
    draft.close()
    again = make_plan(store, "item_embeddings", texts.stream(columns), FakeEmbedder())
    assert first.disk_needed > 10 * 16_384
    assert again.disk_needed < 16_384
    other = commit_texts(store, item_texts(range(11)))
    plan = make_plan(store, "item_embeddings", other.stream(columns), FakeEmbedder())
    assert plan.disk_needed > 11 * 16_384  # vectors of the draft are reused, but copied


def test_truncated_texts_are_reported(store):
    class Short(FakeEmbedder):
        """Truncates texts to two words."""

        @property
        def space(self) -> EmbeddingSpace:
            return replace(super().space, max_length=2)

        def count_tokens(self, texts) -> TokenCounts:
            lengths = super().count_tokens(texts).lengths
            return TokenCounts(np.minimum(lengths, 2), int((lengths > 2).sum()), estimated=False)

    plan = plan_for(store, {1: "one", 2: "one two three", 3: "one", 4: "one"}, Short())
    assert "Truncated to 2 tokens: 1 texts (25.00%)." in plan.describe()
    assert plan.metadata()["plan_texts_cut"] == 1
    many = {pid: "one" if pid < 3000 else "one two three" for pid in range(4000)}
    plan = plan_for(store, many, Short())
    assert plan.cut == pytest.approx(1000, rel=0.02)
    assert "Truncated to 2 tokens: about " in plan.describe()


def test_a_failed_calibration_leaves_the_rest_of_the_plan(store):
    class Down(FakeEmbedder):
        def embed(self, texts) -> Embedded:
            raise InputError("the server does not answer")

    plan = plan_for(store, item_texts(range(3)), Down(), calibrate=True)
    assert (plan.texts, plan.tokens, plan.seconds) == (3, 9, None)
    assert "Time: not measured (the server does not answer)." in plan.describe()


def test_a_new_generation_knows_which_items_are_gone(store):
    embed(store, item_texts(range(100)), FakeEmbedder())
    plan = plan_for(store, item_texts([1, 2, 200]), FakeEmbedder(model="other"))
    assert plan.changes == Changes(new=3, changed=0, unchanged=0, removed=98, moved=2)
    assert plan.changes.share == 0.98
    texts = {str(pid): "text" for pid in range(3)}
    plan = plan_for(store, texts, FakeEmbedder(model="other"))
    assert plan.changes == Changes(new=3, changed=0, unchanged=0, removed=0)


def test_tokens_of_many_texts_are_estimated_from_a_sample_spread_over_them(store):
    """Later texts are ten times as long; a sample of the first ones would miss that."""
    texts = {pid: "word " * (1 if pid < 2000 else 10) for pid in range(4000)}
    plan = plan_for(store, texts, FakeEmbedder())
    assert plan.tokens == pytest.approx(22_000, rel=0.02)
    assert not plan.tokens_counted
    assert 256 < len(plan.sample) <= 512
    assert f"about {plan.tokens:,} tokens (estimated from {len(plan.sample)} of them)" in (
        plan.describe()
    )


def test_tokens_that_the_embedder_estimates_are_not_counts(store):
    class Estimates(FakeEmbedder):
        def count_tokens(self, texts) -> TokenCounts:
            return replace(super().count_tokens(texts), estimated=True)

    assert not plan_for(store, item_texts(range(3)), Estimates()).tokens_counted


@given(sizes=st.lists(st.integers(0, 30), max_size=20))
def test_a_sample_is_spread_evenly(sizes):
    sample = SpreadSample(most=16)
    start = 0
    for size in sizes:
        sample.add(pa.array([str(n) for n in range(start, start + size)], pa.string()))
        start += size
    drawn = [int(text) for text in sample.texts]
    steps = set(np.diff(drawn).tolist())
    assert len(steps) <= 1
    assert drawn[:1] == ([0] if start else [])
    assert len(drawn) <= 16
    if start <= 16:
        assert drawn == list(range(start))
    elif steps:
        assert start - drawn[-1] <= steps.pop()
        assert len(drawn) >= 8


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(planning, "time", clock)
    return clock


def test_time_is_measured_if_the_weights_fit(store, clock):
    class Slow(FakeEmbedder):
        fits = True

        def embed(self, texts) -> Embedded:
            clock.now += 0.01 * len(texts) if self.calls else 100.0  # first call: loads weights
            return super().embed(texts)

        def memory(self) -> Memory:
            return Memory("cuda:0", needed=16 * 10**9, free=(20 if self.fits else 10) * 10**9)

    embedder = Slow()
    plan = plan_for(store, item_texts(range(1000)), embedder, calibrate=True)
    assert plan.seconds == pytest.approx(10, rel=0.05)
    assert len(embedder.embedded) == 1 + 255  # two seconds, and the batch started by then
    assert "Memory: 16.00 GB needed, cuda:0 has 20.00 GB free." in plan.describe()
    embedder = Slow()
    embedder.fits = False
    plan = plan_for(store, item_texts(range(1000)), embedder, calibrate=True)
    assert plan.seconds is None
    assert embedder.calls == []
    assert "cuda:0 has 10.00 GB free. It does not fit." in plan.describe()


def test_speed_is_that_of_large_batches(clock):
    """The device takes as long for one text as for many."""

    def embed_batch(texts) -> Embedded:
        clock.now += 0.01
        return Embedded(np.zeros((len(texts), 1)), tokens=0, padded_tokens=0, truncated=0)

    assert measure_speed(embed_batch, ["x" * 10] * 127) == pytest.approx(64 * 10 / 0.01)


PLAN = Plan(
    changes=Changes(1, 2, 3, 4),
    in_draft=0,
    afresh="",
    texts=3,
    characters=30,
    tokens=9,
    tokens_counted=True,
    seconds=None,
    memory=None,
    disk_needed=1_500_000_000,
    disk_free=None,
    sample=("a",),
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 seconds"),
        (119, "119 seconds"),
        (130, "2.2 minutes"),
        (9000, "2.5 hours"),
        (864_000, "10.0 days"),
    ],
)
def test_time_as_text(seconds, words):
    said = replace(PLAN, seconds=seconds).describe()
    assert f"Time in one process on this device: about {words}.\n" in said


def test_disk_space_as_text():
    assert PLAN.describe().endswith("Disk: 1.50 GB for the new version of the vectors.")
    tight = replace(PLAN, disk_free=1_000_000_000)
    assert tight.describe().endswith("vectors, 1.00 GB free. It does not fit.")
    assert PLAN.fits_disk
    assert not tight.fits_disk


def test_figures_for_the_ui():
    figures = replace(PLAN, seconds=7.0).metadata()
    assert figures.pop("plan") == replace(PLAN, seconds=7.0).describe()
    assert figures == {
        "plan_items_new": 1,
        "plan_items_changed": 2,
        "plan_items_unchanged": 3,
        "plan_items_removed": 4,
        "plan_items_moved": 0,
        "plan_texts_to_embed": 3,
        "plan_tokens": 9,
        "plan_texts_cut": 0,
        "plan_seconds": 7.0,
        "plan_disk_bytes": 1_500_000_000,
    }
