"""Embedding runs that are killed at any moment, in real processes."""

import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from sid_assets.core.embeddings import cuts
from sid_assets.core.errors import StoreError
from sid_assets.core.store.store import Store
from sid_assets_tests.core.drawn_vectors import (
    FakeEmbedder,
    commit_texts,
    draft_embeddings,
    embed,
    expected_vectors,
    vectors_by_pid,
)
from sid_assets_tests.core.embeddings import killed_run
from sid_assets_tests.core.embeddings.killed_run import Moment

ITEMS = range(240)
SAME = range(60)
"""They are three parts of the old version, which the new one shares."""
OLD = {pid: f"Title: film {pid}" for pid in (*SAME, *range(60, 240, 3))}
NEW = {pid: f"Another text of {pid}" for pid in ITEMS}
NEW |= {pid: text for pid, text in OLD.items() if pid in SAME or pid % 4 == 0}


@dataclass(frozen=True)
class Prepared:
    """A store with old vectors and new texts, and the result of an uninterrupted run.

    Attributes:
        folder: The store.
        result: The expected rows.
        events_before_commit: File events of the run before its commit.
        events: File events in total.
    """

    folder: Path
    result: pa.Table
    events_before_commit: int
    events: int


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    folder = tmp_path_factory.mktemp("kill") / "data"
    store = Store(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "CHUNK_ROWS", killed_run.ROWS)
        embed(store, OLD, FakeEmbedder())
    commit_texts(store, NEW)
    uninterrupted = folder.with_name("uninterrupted")
    shutil.copytree(folder, uninterrupted, symlinks=True)
    log = folder.with_name("log")
    assert killed_run.run(uninterrupted, log, Moment()) == 0
    result = Store(uninterrupted).require("item_embeddings").stream().read_all()
    return Prepared(folder, result, *killed_run.events_of(log))


def contents(folder: Path) -> dict[str, bytes]:
    """The files that readers of the vectors see."""
    return {path.name: path.read_bytes() for path in (folder / "item_embeddings.parquet").iterdir()}


def embedded_pids(texts: Iterable[str]) -> Counter:
    """How often each item was embedded, given the embedded texts, without probes."""
    pids = {text: pid for pid, text in NEW.items()}
    return Counter(pids[text] for text in texts if text in pids)


MOMENTS = [
    *((number, "while embedding") for number in range(8)),
    *((number, "in the commit") for number in range(8)),
    *((number, "by the clock") for number in range(4)),
]


@pytest.mark.parametrize(("number", "when"), MOMENTS)
def test_a_run_killed_at_any_moment_loses_nothing(prepared, tmp_path, number, when):
    draw = random.Random(f"{when} {number}")  # noqa: S311 - nothing secret is drawn
    if when == "while embedding":
        moment = Moment(event=draw.randint(1, prepared.events_before_commit))
    elif when == "in the commit":
        moment = Moment(event=draw.randint(prepared.events_before_commit + 1, prepared.events))
    else:
        moment = Moment(seconds=draw.uniform(0.02, 0.3))
    folder, log = tmp_path / "data", tmp_path / "log"
    shutil.copytree(prepared.folder, folder, symlinks=True)
    before = contents(folder)

    assert killed_run.run(folder, log, moment) == -signal.SIGKILL

    store = Store(folder)
    shown = vectors_by_pid(store.require("item_embeddings"))
    if len(shown) == len(OLD):
        assert contents(folder) == before
        assert shown == expected_vectors(OLD, FakeEmbedder())
    else:
        assert when != "while embedding"
        assert shown == expected_vectors(NEW, FakeEmbedder())

    done = embedded_pids(log.read_text().splitlines() if log.exists() else [])
    again = FakeEmbedder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "CHUNK_ROWS", killed_run.ROWS)
        draft, *_ = draft_embeddings(store, store.require("item_texts"), again)
        version = store.commit(draft)
    twice = set(done) & set(embedded_pids(again.embedded))
    assert len({pid // killed_run.ROWS for pid in twice}) <= 1  # only the chunk in progress
    if when == "in the commit":
        assert not twice
    assert version.stream().read_all().equals(prepared.result)
    assert len(pd.read_parquet(folder / "item_embeddings.parquet")) == len(NEW)
    if len(shown) == len(OLD):
        old = version.previous()
        assert old
        assert vectors_by_pid(old) == expected_vectors(OLD, FakeEmbedder())
        for mine, theirs in zip(version.paths[:3], old.paths[:3], strict=True):
            assert Path(mine.path).samefile(theirs.path)


def test_a_second_run_fails_while_one_is_running(prepared, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(prepared.folder, folder, symlinks=True)
    store = Store(folder)
    draft, *_ = draft_embeddings(store, store.require("item_texts"), FakeEmbedder())
    with pytest.raises(StoreError, match=r"item_embeddings\.parquet: another run is writing it"):
        draft_embeddings(Store(folder), store.require("item_texts"), FakeEmbedder())
    assert killed_run.run(folder, tmp_path / "log", Moment()) == 1
    assert store.commit(draft).rows == len(NEW)
