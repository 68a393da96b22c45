"""What a refresh writes: parts of vectors without changes are shared with the previous version."""

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sid_assets.core.embeddings import cuts
from sid_assets.core.embeddings.plan import BYTES_PER_ROW, make_plan
from sid_assets.core.errors import StoreError
from sid_assets.core.store import sharing
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets_tests.core.drawn_vectors import (
    FakeEmbedder,
    commit_texts,
    draft_embeddings,
    embed,
    expected_vectors,
    item_texts,
    vectors_by_pid,
)
from sid_assets_tests.core.embeddings.interrupted import FailingEmbedder, flip_a_bit, work_of

pytestmark = pytest.mark.usefixtures("small_chunks")


def files_of(version: Version) -> list[tuple[int, int] | str]:
    """What identifies each file of a version."""
    return [
        path.path if path.protocol == "memory" else (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in version.paths
    ]


def shared(version: Version, before: Version) -> list[bool]:
    """Whether each part of a version is a file of the one before it."""
    return [file in set(files_of(before)) for file in files_of(version)]


def test_a_refresh_without_a_change_writes_no_vectors(store):
    texts = item_texts(range(35))
    first = embed(store, texts, FakeEmbedder()).version
    files = files_of(first)
    for _ in range(2):
        run = embed(store, texts, FakeEmbedder())
        assert files_of(run.version) == files
        assert run.progress.reused == run.progress.rows == 35
        assert run.warnings == []
        assert vectors_by_pid(run.version) == expected_vectors(texts, FakeEmbedder())
        assert run.version.provenance.version == first.provenance.version


def test_a_change_writes_only_its_part(store):
    texts = item_texts(range(0, 70, 2))
    first = embed(store, texts, FakeEmbedder()).version
    later = texts | {30: "changed", 31: "inserted"}
    del later[34]
    second = embed(store, later, FakeEmbedder()).version
    assert shared(second, first) == [True, True, False, True, True]
    assert vectors_by_pid(second) == expected_vectors(later, FakeEmbedder())
    assert vectors_by_pid(first) == expected_vectors(texts, FakeEmbedder())


RUNS = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 30), st.sampled_from("abc"), max_size=4),
        st.sets(st.integers(0, 30), max_size=4),
        st.sampled_from(["commit", "leave", "commit and remove the previous version"]),
    ),
    min_size=1,
    max_size=5,
)
NUMBERS = itertools.count()


@pytest.mark.parametrize("kind", ["local", "memory"])
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(runs=RUNS, rows=st.integers(2, 9))
def test_however_often_a_catalog_changes_its_table_is_the_one_made_from_scratch(
    tmp_path, monkeypatch, kind, runs, rows
):
    monkeypatch.setattr(cuts, "CHUNK_ROWS", rows)
    number = next(NUMBERS)
    where = tmp_path / str(number)
    store = Store(where if kind == "local" else f"memory://sharing-{tmp_path.name}-{number}")
    texts = dict.fromkeys(range(0, 30, 2), "a")
    last = embed(store, texts, FakeEmbedder()).version
    for changed, removed, end in runs:
        old = texts
        texts = {pid: text for pid, text in (old | changed).items() if pid not in removed} or {
            1: "a"
        }
        draft, _, progress, _ = draft_embeddings(store, commit_texts(store, texts), FakeEmbedder())
        assert progress.rows == len(texts)
        assert max(part.rows for part in draft.parts) <= rows
        assert vectors_by_pid(draft.as_version()) == expected_vectors(texts, FakeEmbedder())
        if end == "leave":
            draft.close()
            texts = old
        else:
            before, last = last, store.commit(draft)
            assert vectors_by_pid(before) == expected_vectors(old, FakeEmbedder())
            if end != "commit":
                with store.lock("item_embeddings") as lease:
                    store.remove("item_embeddings", [before.folder], lease)
        current = store.require("item_embeddings")
        assert current.folder == last.folder
        assert vectors_by_pid(current) == expected_vectors(texts, FakeEmbedder())
    scratch = Store(f"memory://scratch-{tmp_path.name}-{number}")
    wanted = embed(scratch, texts, FakeEmbedder()).version.stream().read_all()
    assert store.require("item_embeddings").stream().read_all().equals(wanted)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.999])
def test_a_damaged_shared_part_is_made_again_in_one_run(local, place):
    texts = item_texts(range(35))
    embed(local, texts, FakeEmbedder())
    before = embed(local, texts, FakeEmbedder()).version
    path = Path(before.paths[2].path)
    flip_a_bit(path, place)
    run = embed(local, texts, FakeEmbedder())
    assert vectors_by_pid(run.version) == expected_vectors(texts, FakeEmbedder())
    assert shared(run.version, before) == [True, True, False, True, True]
    assert any(path.name in said for said in run.warnings)
    again = embed(local, texts, FakeEmbedder())
    assert again.warnings == []
    assert shared(again.version, run.version) == [True] * 5


def test_a_killed_run_shares_and_resumes(store):
    texts = item_texts(range(35))
    first = embed(store, texts, FakeEmbedder()).version
    later = texts | {30: "new title"} | item_texts(range(100, 140))
    version = commit_texts(store, later)
    with pytest.raises(ZeroDivisionError):
        draft_embeddings(store, version, FailingEmbedder(fails_at="Title: film 120"))
    again = FakeEmbedder()
    draft, _, progress, _ = draft_embeddings(store, version, again)
    made = store.commit(draft)
    assert vectors_by_pid(made) == expected_vectors(later, FakeEmbedder())
    assert shared(made, first)[:5] == [True] * 4 + [False]
    assert progress.resumed > 0
    assert "new title" not in work_of(again, later)


@pytest.mark.parametrize("stop_at", range(1, 7))
def test_a_run_killed_while_it_shares_leaves_nothing_that_hurts(local, monkeypatch, stop_at):
    texts = item_texts(range(35))
    first = embed(local, texts, FakeEmbedder()).version
    version = commit_texts(local, texts | {16: "changed"})
    calls = itertools.count(1)
    link = os.link

    def link_or_stop(*paths):
        if next(calls) >= stop_at:
            raise KeyboardInterrupt
        link(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(sharing.os, "link", link_or_stop)
        if stop_at <= 5:  # four of five parts are shared, and one is written
            with pytest.raises(KeyboardInterrupt):
                draft_embeddings(local, version, FakeEmbedder())
        else:
            draft_embeddings(local, version, FakeEmbedder())[0].close()
    assert vectors_by_pid(local.require("item_embeddings")) == expected_vectors(
        texts, FakeEmbedder()
    )
    draft, *_ = draft_embeddings(local, version, FakeEmbedder())
    made = local.commit(draft)
    assert shared(made, first) == [True, True, False, True, True]
    assert vectors_by_pid(made) == expected_vectors(texts | {16: "changed"}, FakeEmbedder())


def test_without_hard_links_the_run_says_that_it_copies(local, monkeypatch):
    def refuse(*paths):
        raise OSError(95, "Operation not supported")

    texts = item_texts(range(35))
    first = embed(local, texts, FakeEmbedder()).version
    monkeypatch.setattr(sharing.os, "link", refuse)
    run = embed(local, texts, FakeEmbedder())
    (said,) = run.warnings
    assert "hard links are not possible here (Operation not supported)" in said
    assert vectors_by_pid(run.version) == expected_vectors(texts, FakeEmbedder())
    assert shared(run.version, first) == [False] * 5


def test_a_new_generation_shares_nothing(store):
    texts = item_texts(range(20))
    first = embed(store, texts, FakeEmbedder()).version
    second = embed(store, texts, FakeEmbedder(model="other")).version
    assert shared(second, first) == [False] * 3
    assert vectors_by_pid(second) == expected_vectors(texts, FakeEmbedder(model="other"))


def test_the_plan_needs_disk_space_only_for_what_is_written(local):
    texts = item_texts(range(35))
    embed(local, texts, FakeEmbedder())
    rows = commit_texts(local, texts | {16: "changed"}).stream(["pid", "text", "text_hash"])
    plan = make_plan(local, "item_embeddings", rows, FakeEmbedder())
    assert plan.disk_needed == 7 * BYTES_PER_ROW


def test_a_full_disk_does_not_stop_a_refresh_that_writes_little(mounted):
    folder, mount = mounted
    mount("size=12m")
    store, texts = Store(folder), item_texts(range(400))
    embed(store, texts, FakeEmbedder())  # 6.6 MB: a second copy does not fit
    run = embed(store, texts | {16: "changed"}, FakeEmbedder())
    assert vectors_by_pid(run.version) == expected_vectors(texts | {16: "changed"}, FakeEmbedder())
    with pytest.raises(StoreError, match="No space left"):
        embed(store, {pid: f"all other {text}" for pid, text in texts.items()}, FakeEmbedder())
