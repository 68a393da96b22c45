"""Where vectors are reused from: the version before, and the drafts of unfinished runs."""

from pathlib import Path

import numpy as np
import pytest

from sid_assets.core.embeddings.sources import EMBED, Source, beside, first_of_same_text
from sid_assets_tests.core.drawn_vectors import (
    FakeEmbedder,
    commit_texts,
    draft_embeddings,
    embed,
    expected_vectors,
    item_texts,
    text_table,
    vectors_by_pid,
)
from sid_assets_tests.core.embeddings.interrupted import FailingEmbedder, work_of


@pytest.mark.usefixtures("small_chunks")
def test_finished_chunks_are_kept_even_if_a_source_is_lost(local):
    old = item_texts(range(14))
    first = embed(local, old, FakeEmbedder())
    items = item_texts(range(60))
    texts = commit_texts(local, items)
    with pytest.raises(ZeroDivisionError):
        draft_embeddings(local, texts, FailingEmbedder(fails_at="Title: film 50"))
    Path(first.version.paths[0].path).unlink()
    again = FakeEmbedder()
    draft, _, progress, _ = draft_embeddings(local, texts, again)
    assert (progress.resumed, progress.reused) == (35, 7)  # and seven in a shared part
    assert set(work_of(again, items)) == set(item_texts([*range(7), *range(49, 60)]).values())
    assert vectors_by_pid(draft.as_version()) == expected_vectors(items, again)


@pytest.mark.usefixtures("small_chunks")
def test_rows_of_an_unfinished_draft_are_reused_after_the_catalog_changed(store):
    items = item_texts(range(0, 80, 2))
    with pytest.raises(ZeroDivisionError):
        draft_embeddings(store, commit_texts(store, items), FailingEmbedder("Title: film 60"))
    later = {pid: text for pid, text in items.items() if pid % 10} | {7: "new", 22: "changed"}
    again = FakeEmbedder()
    run = embed(store, later, again)
    in_draft = {pid for pid in items if pid < 56}  # four chunks of seven
    wanted = {text for pid, text in later.items() if items.get(pid) != text or pid not in in_draft}
    assert set(work_of(again, later)) == wanted
    assert run.progress.embedded == len(wanted)
    assert vectors_by_pid(run.version) == expected_vectors(later, again)
    assert run.progress.reused == len(later) - len(wanted)


@pytest.mark.usefixtures("small_chunks")
def test_rows_of_an_unfinished_draft_in_another_space_are_not_reused(store):
    texts = commit_texts(store, item_texts(range(40)))
    with pytest.raises(ZeroDivisionError):
        draft_embeddings(store, texts, FailingEmbedder("Title: film 30"))
    other = FakeEmbedder(model="other")
    draft, *_ = draft_embeddings(store, texts, other)
    assert vectors_by_pid(draft.as_version()) == expected_vectors(item_texts(range(40)), other)


def test_the_first_source_with_the_same_text_is_taken(store):
    texts = {1: "one", 2: "two", 3: "three"}
    first = embed(store, {1: "one", 2: "changed"}, FakeEmbedder()).version
    second = embed(store, texts, FakeEmbedder()).version
    sources = [Source.before(first), Source.before(second)]
    (rows,) = text_table(texts | {4: "four"}).to_batches()
    (found,) = beside([rows], sources, ["text_hash"], on_damage=print)
    assert found["text_hash_0"].is_valid().to_pylist() == [True, True, False, False]
    assert found["text_hash_1"].is_valid().to_pylist() == [True, True, True, False]
    none = np.full(4, EMBED, np.int16)
    assert first_of_same_text(found, 2, after=none).tolist() == [0, 1, 1, EMBED]
    skipped = np.zeros(4, np.int16)
    assert first_of_same_text(found, 2, after=skipped).tolist() == [1, 1, 1, EMBED]


def test_a_source_that_was_emptied_has_no_rows(store):
    source = Source.before(embed(store, item_texts(range(3)), FakeEmbedder()).version)
    assert (source.parts.rows, source.emptied().parts.rows) == (3, 0)
    assert source.emptied().kind == "before"
