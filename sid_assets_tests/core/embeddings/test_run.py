"""The embedding run: unchanged vectors are reused, and nothing is lost or done twice."""

import itertools
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sid_assets.core.embedders.canary import PROBES
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.embeddings import cuts
from sid_assets.core.embeddings import run as embedding
from sid_assets.core.embeddings import worker as chunk_worker
from sid_assets.core.embeddings.cuts import cut_chunks
from sid_assets.core.embeddings.run import EmbeddingProgress
from sid_assets.core.embeddings.worker import ChunkSummary
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.refresh import RefreshPolicy
from sid_assets.core.store.chunks import Chunk
from sid_assets.core.store.store import Store
from sid_assets_tests.core.drawn_vectors import (
    FakeEmbedder,
    commit_texts,
    draft_embeddings,
    embed,
    expected_vectors,
    item_texts,
    vectors_by_pid,
)
from sid_assets_tests.core.embeddings.interrupted import DENY, FailingEmbedder, survey_of, work_of


def test_the_first_run_embeds_all(store):
    texts = item_texts(range(30))
    run = embed(store, texts, FakeEmbedder())
    assert vectors_by_pid(store.require("item_embeddings")) == expected_vectors(
        texts, FakeEmbedder()
    )
    assert (run.changes.new, run.progress.embedded, run.progress.reused) == (30, 30, 0)
    assert run.version.provenance.space == FakeEmbedder().space
    assert run.version.provenance.inputs == {
        "item_texts": store.require("item_texts").provenance.version
    }


@pytest.mark.usefixtures("small_chunks")
def test_a_refresh_embeds_only_new_or_changed_items(store):
    texts = item_texts(range(0, 60, 2))
    embed(store, texts, FakeEmbedder())
    later = {pid: text for pid, text in texts.items() if pid not in (0, 24, 58)}
    later |= {10: "another text", -4: "the first", 25: "between", 99: "the last"}
    embedder = FakeEmbedder()
    run = embed(store, later, embedder, RefreshPolicy())
    assert vectors_by_pid(run.version) == expected_vectors(later, embedder)
    changes = run.changes
    assert (changes.new, changes.changed, changes.removed, changes.unchanged) == (3, 1, 3, 26)
    assert (run.progress.embedded, run.progress.reused) == (4, 26)
    embedded = {text for text in embedder.embedded if text not in PROBES}
    assert embedded == {"another text", "the first", "between", "the last"}


@pytest.mark.usefixtures("small_chunks")
def test_vectors_are_copied_bit_for_bit(store):
    """The embedder would now give vectors that differ by rounding."""
    texts = item_texts(range(20))
    embed(store, texts, FakeEmbedder())
    before = vectors_by_pid(store.require("item_embeddings"))

    class RoundsDifferently(FakeEmbedder):
        def vector(self, text: str) -> np.ndarray:
            return np.nextafter(super().vector(text), 1, dtype=np.float32)

    run = embed(store, texts | {3: "changed"}, RoundsDifferently(), RefreshPolicy())
    after = vectors_by_pid(run.version)
    assert {pid for pid in texts if before[pid] != after[pid]} == {3}


def test_without_changes_the_embedder_is_not_used(store):
    texts = item_texts(range(10))
    first = embed(store, texts, FakeEmbedder())
    embedder = FakeEmbedder()
    second = embed(store, texts, embedder, DENY)
    assert embedder.calls == []
    assert second.progress.reused == 10
    assert second.version.provenance.details == first.version.provenance.details


def test_string_pids_and_texts_of_any_script(store):
    texts = {"é": "标题：千与千寻", "Z": "a\nb", "中": "🎬", "10": "Пикник", "9": "x"}
    embed(store, texts, FakeEmbedder())
    later = texts | {"ä": "new", "Z": "other"}
    run = embed(store, later, FakeEmbedder())
    assert vectors_by_pid(run.version) == expected_vectors(later, FakeEmbedder())
    assert run.progress.reused == 4


def test_the_demos_real_embedder(store):
    texts = item_texts(range(20))
    warnings: list[str] = []
    draft, *_ = embedding.embed_items(
        store,
        "item_embeddings",
        commit_texts(store, texts),
        HashedWordsEmbedder(),
        DENY,
        warnings.append,
        lambda progress: None,
    )
    version = store.commit(draft)
    expected = HashedWordsEmbedder().embed(list(texts.values())).vectors
    assert list(vectors_by_pid(version).values()) == [row.tobytes() for row in expected]
    assert warnings == []


RUNS = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 12), st.sampled_from("abcdefg"), min_size=1),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)
NUMBERS = itertools.count()


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(runs=RUNS, rows=st.integers(1, 9))
def test_however_the_catalog_changes_the_vectors_match_its_texts(monkeypatch, runs, rows):
    """One catalog after another; some runs end before their commit."""
    monkeypatch.setattr(cuts, "CHUNK_ROWS", rows)
    monkeypatch.setattr(chunk_worker, "VECTOR_ROW_GROUP", 3)
    store = Store(f"memory://whatever-{next(NUMBERS)}")
    made: set[tuple[int, str]] = set()  # their vectors are in the previous version or a draft
    for texts, commits in runs:
        embedder = FakeEmbedder()
        draft, _, progress, _ = draft_embeddings(store, commit_texts(store, texts), embedder)
        assert vectors_by_pid(draft.as_version()) == expected_vectors(texts, embedder)
        assert progress.embedded == len(texts.items() - made)
        made |= texts.items()
        if commits:
            store.commit(draft)
            made = set(texts.items())
        else:
            draft.close()


def test_a_large_change_stops_with_the_plan_and_changes_nothing(store):
    texts = item_texts(range(10))
    first = embed(store, texts, FakeEmbedder())
    later = commit_texts(store, item_texts(range(4)) | {20: "new"})
    embedder = FakeEmbedder()
    with pytest.raises(InputError, match=r"remove 60% of the items; 30% is the limit") as stopped:
        draft_embeddings(store, later, embedder, DENY)
    assert "1 new, 0 changed, 6 removed, 4 unchanged" in str(stopped.value)
    assert "To embed: 1 texts, 1 tokens." in str(stopped.value)
    assert "allow_large_change" in str(stopped.value)
    assert embedder.calls == []
    assert store.require("item_embeddings") == first.version
    draft_embeddings(store, later, embedder, RefreshPolicy(allow_large_change=True))


def test_another_space_starts_afresh_only_on_request(store):
    texts = item_texts(range(5))
    embed(store, texts, FakeEmbedder())
    other = FakeEmbedder(model="other")
    later = commit_texts(store, texts)
    with pytest.raises(InputError, match=r"afresh: .*model: 'fake' -> 'other'.*new_generation"):
        draft_embeddings(store, later, other, DENY)
    assert other.calls == []
    run = embed(store, texts, other, RefreshPolicy(new_generation=True))
    assert vectors_by_pid(run.version) == expected_vectors(texts, other)
    assert run.progress.reused == 0
    (said,) = run.warnings
    assert "Starts afresh: the vectors in" in said
    assert "model: 'fake' -> 'other'" in said


def test_ids_that_became_strings_start_afresh_only_on_request(store):
    embed(store, item_texts(range(5)), FakeEmbedder())
    texts = {str(pid): text for pid, text in item_texts(range(5)).items()}
    with pytest.raises(InputError, match="are of type int, these are string"):
        draft_embeddings(store, commit_texts(store, texts), FakeEmbedder(), DENY)
    run = embed(store, texts, FakeEmbedder(), RefreshPolicy(new_generation=True))
    assert vectors_by_pid(run.version) == expected_vectors(texts, FakeEmbedder())


def test_no_items_are_an_error(store):
    with pytest.raises(InputError, match="has no items"):
        draft_embeddings(store, commit_texts(store, {}), FakeEmbedder())


@pytest.mark.usefixtures("small_chunks")
def test_finished_chunks_are_not_embedded_again(store):
    items = item_texts(range(40))
    texts = commit_texts(store, items)
    failing = FailingEmbedder(fails_at="Title: film 30")
    with pytest.raises(ZeroDivisionError):
        draft_embeddings(store, texts, failing)
    again = FakeEmbedder()
    draft, _, progress, _ = draft_embeddings(store, texts, again)
    assert progress.resumed == 28  # four chunks of seven
    assert progress.embedded == 12
    assert min(work_of(again, items)) == "Title: film 28"
    assert vectors_by_pid(draft.as_version()) == expected_vectors(items, again)


@pytest.mark.usefixtures("small_chunks")
def test_truncated_texts_are_counted_over_all_runs_of_the_same_work(store):
    class Truncating(FailingEmbedder):
        def embed(self, texts):
            return replace(super().embed(texts), truncated=sum("0" in text for text in texts))

    texts = commit_texts(store, item_texts(range(40)))
    with pytest.raises(ZeroDivisionError):
        draft_embeddings(store, texts, Truncating(fails_at="Title: film 30"))
    _, _, progress, _ = draft_embeddings(store, texts, Truncating(fails_at=""))
    assert progress.resumed == 28
    assert progress.truncated == 4  # 0, 10, 20 and 30


def test_a_new_generation_over_a_truncated_export_stops(local):
    embed(local, item_texts(range(100)), FakeEmbedder())
    other, allowed = FakeEmbedder(model="other"), RefreshPolicy(new_generation=True)
    few = commit_texts(local, item_texts(range(3)))
    with pytest.raises(InputError, match="would change or remove 97% of the items"):
        draft_embeddings(local, few, other, allowed)
    assert other.calls == []
    run = embed(local, item_texts(range(90)), other, allowed)
    assert vectors_by_pid(run.version) == expected_vectors(item_texts(range(90)), other)
    assert run.changes.removed == 10


def test_a_full_disk(mounted):
    folder, mount = mounted
    mount("size=12m")
    store, texts = Store(folder), item_texts(range(100))
    first = embed(store, texts, FakeEmbedder())
    before = vectors_by_pid(first.version)
    filler = folder / "filler"
    filler.write_bytes(b"x" * (9 << 20))
    later = texts | {1000 + pid: f"new {pid}" for pid in range(100)}
    version = commit_texts(store, later)
    with pytest.raises(StoreError, match=r"No space left on device .*GB free.*Free disk space"):
        draft_embeddings(store, version, FakeEmbedder())
    assert vectors_by_pid(store.require("item_embeddings")) == before
    filler.unlink()
    run = embed(store, later, FakeEmbedder())
    assert vectors_by_pid(run.version) == expected_vectors(later, FakeEmbedder())


def test_a_plan_that_does_not_fit_the_disk_is_logged_first(mounted):
    folder, mount = mounted
    mount("size=1m")
    store = Store(folder)
    warnings: list[str] = []
    with pytest.raises(StoreError, match="No space left"):
        embedding.embed_items(
            store,
            "item_embeddings",
            commit_texts(store, item_texts(range(100))),
            FakeEmbedder(),
            DENY,
            warnings.append,
            lambda progress: None,
        )
    assert "Disk: 1.6 MB for the new version of the vectors" in warnings[0]
    assert "It does not fit." in warnings[0]


def test_a_disk_that_cannot_be_written(mounted):
    folder, mount = mounted
    mount("size=20m")
    store, texts = Store(folder), item_texts(range(10))
    first = embed(store, texts, FakeEmbedder())
    later = commit_texts(store, texts | {50: "new"})
    mount("remount,ro,size=20m")
    with pytest.raises(StoreError, match="Read-only file system"):
        draft_embeddings(store, later, FakeEmbedder())
    assert vectors_by_pid(store.require("item_embeddings")) == vectors_by_pid(first.version)
    mount("remount,rw,size=20m")
    draft, *_ = draft_embeddings(store, later, FakeEmbedder())
    assert store.commit(draft).rows == 11


EMBED_AND_PRINT_PEAK = """
import sys
from pathlib import Path
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets_tests.core.drawn_vectors import embed, item_texts

embed(Store(sys.argv[1]), item_texts(range(int(sys.argv[2]))), HashedWordsEmbedder())
# ru_maxrss would count what the parent held when it started this process.
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) / 1024)
"""


def peak_mb(folder: Path, items: int) -> float:
    """The peak memory of a process that embeds this many short texts."""
    done = subprocess.run(
        [sys.executable, "-c", EMBED_AND_PRINT_PEAK, str(folder), str(items)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder)  # 330 MB of vectors
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak memory is read from /proc")
def test_memory_does_not_grow_with_items(tmp_path):
    """A chunk of 8,192 vectors is 128 MB; all vectors would be 300 MB more."""
    few, many = (peak_mb(tmp_path / str(items), items) for items in (2_000, 20_000))
    assert many - few < 200


def test_nobody_changes_the_vectors_between_the_survey_and_the_work(local):
    """A second run starts when the first one has just surveyed the vectors."""
    embed(local, item_texts(range(10)), FakeEmbedder())
    committed = commit_texts(local, item_texts(range(12)))

    class Intruded(FakeEmbedder):
        def count_tokens(self, texts):
            with pytest.raises(StoreError, match="another run is writing it"):
                draft_embeddings(Store(local.root), committed, FakeEmbedder(model="other"))
            return super().count_tokens(texts)

    draft, *_ = draft_embeddings(local, committed, Intruded())
    assert local.commit(draft).rows == 12


def test_a_run_that_stops_early_lets_others_write(local):
    embed(local, item_texts(range(10)), FakeEmbedder())
    texts = commit_texts(local, item_texts(range(3)))
    with pytest.raises(InputError, match="is the limit"):
        draft_embeddings(local, texts, FakeEmbedder(), DENY)
    draft, *_ = draft_embeddings(local, texts, FakeEmbedder())
    assert local.commit(draft).rows == 3


@pytest.mark.usefixtures("small_chunks")
def test_loading_the_weights_does_not_affect_the_speed(store):
    class Loading(FakeEmbedder):
        loaded = 0.0

        def embed(self, texts):
            if not self.calls:
                time.sleep(0.1)
                self.loaded = time.monotonic()
            return super().embed(texts)

    first, again = Loading(), Loading()
    texts = commit_texts(store, item_texts(range(40)))
    draft, _, progress, _ = draft_embeddings(store, texts, first)
    assert progress.started >= first.loaded
    draft.close()
    _, _, progress, _ = draft_embeddings(store, commit_texts(store, item_texts(range(41))), again)
    assert progress.embedded == 1
    assert progress.started >= again.loaded
    assert progress.seconds <= time.monotonic() - again.loaded


def test_chunks_are_cut_by_the_texts_to_embed(local, monkeypatch):
    monkeypatch.setattr(cuts, "CHUNK_ROWS", 50)
    texts = dict.fromkeys(range(100), "x" * 10)
    version = commit_texts(local, texts)

    def rows(counts: np.ndarray, characters: float) -> list[int]:
        return [chunk.rows for chunk in cut_chunks(version, counts, characters)]

    none = survey_of(local, version).not_lasting()
    assert rows(none, 100) == [10] * 10
    assert rows(none, 1) == [1] * 100
    assert rows(none, 10_000) == [50, 50]
    embed(local, {pid: texts[pid] for pid in range(60)}, FakeEmbedder())
    half = survey_of(local, version).not_lasting()
    assert rows(half, 100) == [50, 20, 10, 10, 10]
    monkeypatch.setattr(cuts, "CHUNK_CHARACTERS", 300)
    assert rows(half, 100) == [30, 30, 10, 10, 10, 10]


def test_progress_is_described_in_one_line():
    progress = EmbeddingProgress(total_rows=1000, started=time.monotonic() - 10)
    progress.add(Chunk(0, 100, 0, 99), ChunkSummary(embedded=50), resumed=True)
    summary = ChunkSummary(embedded=150, tokens=9000, seconds=9.0)
    progress.add(Chunk(1, 200, 100, 299), summary, resumed=False)
    assert (progress.rows, progress.resumed, progress.reused) == (300, 100, 50)
    assert progress.describe() == (
        "300 of 1,000 items, 20 items/s, 1,000 tokens/s, about 0.6 minutes left"
    )


def test_the_speed_is_that_of_all_actors_together():
    progress = EmbeddingProgress(total_rows=1000, started=time.monotonic() - 10)
    for number in range(4):
        summary = ChunkSummary(embedded=100, tokens=1000, seconds=9.0)
        progress.add(Chunk(number, 100, 0, 99), summary, resumed=False)
    assert "40 items/s, 400 tokens/s" in progress.describe()
