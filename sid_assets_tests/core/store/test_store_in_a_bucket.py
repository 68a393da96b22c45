"""The store in a bucket: two writers, a busy server, and what is at a table's name."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pandas as pd
import pytest
from s3fs import S3FileSystem

from sid_assets.core.errors import StoreError
from sid_assets.core.store import lease as lease_module
from sid_assets.core.store.chunks import Chunk, finished_parts
from sid_assets.core.store.conditional import read_object, replace_object
from sid_assets.core.store.draft import STATE
from sid_assets.core.store.lease import Lease, Terms
from sid_assets.core.store.pid_ranges import SortedParts
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.sharing import PartSharer
from sid_assets.core.store.store import REMOVED, Store
from sid_assets.core.store.versions import read_version
from sid_assets_tests.core.store.drafts import PARTS, commit, draft_of, finished, pids

WRITERS = 4


@pytest.mark.parametrize("keys", ["equal", "different"])
def test_of_several_writers_in_a_bucket_one_wins_and_nothing_is_lost(bucket, monkeypatch, keys):
    monkeypatch.setattr(lease_module, "TERMS", Terms(renewal=0.2, lapse=60, look=0.2))
    commit(Store(f"{bucket}/data"), [0])

    def write(number: int) -> int:
        store = Store(f"{bucket}/data")
        try:
            draft = store.draft("t")
        finally:
            together.wait()  # until all others have tried
        draft.begin("key" if keys == "equal" else f"key {number}")
        store.commit(finished(draft, [number]))
        return number

    together = threading.Barrier(WRITERS)
    with ThreadPoolExecutor(WRITERS) as threads:
        tried = [threads.submit(write, number) for number in range(WRITERS)]
    refused = [str(one.exception()) for one in tried if one.exception()]
    assert len(refused) == WRITERS - 1
    assert all("another run is writing it" in message for message in refused)
    (won,) = (one.result() for one in tried if not one.exception())
    store = Store(f"{bucket}/data")
    assert pids(store) == [won]
    previous = store.require("t").previous()
    assert previous
    assert previous.stream().read_all()["pid"].to_pylist() == [0]


def test_a_writer_that_was_cut_off_changes_nothing(bucket):
    """Its lease lapsed, another run resumed its work and committed, and then it wakes up."""
    store = Store(f"{bucket}/data")
    cut_off = draft_of(store, [1], key="work")
    lease = store.history("t") / ".lease.json"
    replace_object(lease, b"{}", read_object(lease))
    version = store.commit(draft_of(store, [2], key="work"))
    with pytest.raises(StoreError, match="another run has taken it"):
        store.commit(cut_off)
    assert store.current("t") == version
    assert pids(store) == [2]


def cut_off_in(monkeypatch, method, do):
    """Let another run write the table while this one waits: once, after a method of the lease."""
    original = getattr(Lease, method)

    def waiting(lease):
        original(lease)
        if not done:
            done.append(True)
            replace_object(lease._path, b"{}", read_object(lease._path))
            do()

    done: list[bool] = []
    monkeypatch.setattr(Lease, method, waiting)


def test_what_another_run_has_resumed_is_not_removed(bucket, monkeypatch):
    """A commit has listed an unfinished draft, is cut off, and wakes when it is in use."""
    store = Store(f"{bucket}/data")
    commit(store, [0], table=PARTS)
    with suppress(KeyboardInterrupt), store.draft(PARTS) as draft:
        draft.begin("theirs")
        finished(draft, [2])
        raise KeyboardInterrupt
    left = draft.folder

    def resume_and_commit():
        with Store(f"{bucket}/data").draft(PARTS) as resumed:
            resumed.begin("theirs")
            assert resumed.earlier_folders == [left]
            parts = [replace(part, folder=left.name) for part in draft.parts]
            resumed.finish(parts, Provenance(PARTS))
        Store(f"{bucket}/data").commit(resumed)

    mine = draft_of(store, [1], table=PARTS, key="mine")
    commits = store._clear

    def clear(folders, kept, lease):
        cut_off_in(monkeypatch, "require_held", resume_and_commit)
        commits(folders, kept, lease)

    monkeypatch.setattr(store, "_clear", clear)
    store.commit(mine)
    assert pids(Store(f"{bucket}/data"), PARTS) == [2]


def test_what_another_run_has_begun_is_not_removed(bucket, monkeypatch):
    """A commit is cut off before its pointer is written, and the other run not before it listed."""
    store = Store(f"{bucket}/data")
    commit(store, [0], table=PARTS)
    theirs = []

    def begin():
        draft = Store(f"{bucket}/data").draft(PARTS)
        draft.begin("theirs")
        theirs.append(finished(draft, [2]))

    mine = draft_of(store, [1], table=PARTS, key="mine")
    cut_off_in(monkeypatch, "require_held", begin)
    store.commit(mine)
    (other,) = theirs
    assert (other.folder / "part-0.parquet").exists()
    with pytest.raises(StoreError, match="another run has committed it since"):
        store.commit(other)
    with Store(f"{bucket}/data").draft(PARTS) as again:  # its work is kept
        again.begin("theirs")
        assert again.earlier_folders == [other.folder]


def test_a_draft_that_is_being_removed_is_not_resumed(bucket):
    store = Store(f"{bucket}/data")
    draft_of(store, [1], key="work").close()
    with store.draft("t") as draft:
        (left,) = draft.unfinished
        replace_object(left.folder / STATE, REMOVED, read_object(left.folder / STATE))
        draft.begin("work")
        assert draft.earlier_folders == []
    assert [run.folder for run in store.unfinished("t")] == [draft.folder]


def test_the_file_at_the_name_is_that_of_the_last_commit(bucket, monkeypatch):
    """Another run commits before this one copies its file to the name of the table."""
    store = Store(f"{bucket}/data")
    mine = draft_of(store, [1])
    copy = store.root.fs.copy

    def slow_copy(*arguments):
        monkeypatch.setattr(store.root.fs, "copy", copy)
        lease = store.history("t") / ".lease.json"
        replace_object(lease, b"{}", read_object(lease))
        commit(Store(f"{bucket}/data"), [2])
        copy(*arguments)

    monkeypatch.setattr(store.root.fs, "copy", slow_copy)
    store.commit(mine)
    assert pids(store) == [2]
    assert pd.read_parquet(str(store.path("t"))).pid.tolist() == [2]


def fail(damage: Exception) -> None:
    raise damage


def test_a_store_that_is_busy_is_no_damage(faulty_bucket, monkeypatch):
    """What it does not show now is neither made again nor to be restored from a backup."""
    bucket, faults = faulty_bucket
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()
    store = Store(f"{bucket}/data")
    draft_of(store, [1], table=PARTS, key="left").close()
    version = commit(store, [0], table=PARTS)
    rows = SortedParts.of(version).all_rows(["pid"], fail)
    reads = (
        lambda: store.current(PARTS),
        lambda: store.unfinished(PARTS),
        lambda: list(rows),
        lambda: version.stream().read_all(),
        lambda: PartSharer(version, version.folder).part_of(Chunk(0, 1, 0, 0), pytest.fail),
        lambda: read_version(version.folder),
        lambda: finished_parts(version.folder),
    )
    faults.busy = 10**6
    for read in reads:
        with pytest.raises((StoreError, OSError), match=r"try again|Unavailable") as refused:
            read()
        assert "damaged" not in str(refused.value)
        assert "backup" not in str(refused.value)
    faults.busy = 0
    assert pids(store, PARTS) == [0]


def test_a_failure_after_the_commit_says_that_it_is_committed(bucket, monkeypatch):
    store = Store(f"{bucket}/data")

    def refuse(*arguments):
        raise PermissionError("no")

    monkeypatch.setattr(store.root.fs, "copy", refuse)
    with pytest.raises(StoreError, match=r"the new version is committed, but .* failed: no"):
        commit(store, [1])
    assert pids(store) == [1]


def test_a_commit_after_another_one_is_refused(bucket):
    store = Store(f"{bucket}/data")
    version = commit(store, [0])
    draft = draft_of(store, [1])
    pointer = store.history("t") / "current.json"
    pointer.fs.pipe_file(pointer.path, f'{{"version":  "{version.folder.name}"}}'.encode())
    with pytest.raises(StoreError, match=r"has committed it since.*Nothing is lost"):
        store.commit(draft)


def test_in_a_bucket_a_table_of_one_file_is_at_its_name(bucket):
    store = Store(f"{bucket}/data")
    for last in (1, 2):
        commit(store, [0, last])
        assert pd.read_parquet(str(store.path("t"))).pid.tolist() == [0, last]
        assert store.path("t").read_bytes() == store.require("t").paths[0].read_bytes()
    commit(store, [0], table=PARTS)
    assert not store.path(PARTS).exists()
    store.forget("t")
    assert not store.path("t").exists()


def test_an_object_that_others_made_is_left_alone(bucket):
    store = Store(f"{bucket}/data")
    store.path("t").write_text("mine")
    with pytest.raises(StoreError, match=r"t\.parquet: exists, but was not made by sid_assets"):
        commit(store, [1])
    assert store.path("t").read_text() == "mine"
    assert store.current("t") is None


def test_what_another_process_committed_is_seen_at_once(bucket):
    """Clients of buckets keep listings, which are stale as soon as others write."""
    mine = Store(f"{bucket}/data")
    assert mine.current("t") is None
    assert mine.tables() == []
    code = (
        "import sys; from sid_assets.core.store.store import Store\n"
        "from sid_assets_tests.core.store.drafts import commit\n"
        "commit(Store(sys.argv[1]), [int(sys.argv[2])])"
    )
    for number in (1, 2):
        subprocess.run([sys.executable, "-c", code, f"{bucket}/data", str(number)], check=True)
        assert pids(mine) == [number]
        assert mine.leftovers("t") == []
    assert mine.tables() == ["t"]


def test_a_bucket_that_is_busy_for_a_while_is_survived(faulty_bucket):
    bucket, faults = faulty_bucket
    store = Store(f"{bucket}/data")
    for number in range(3):
        faults.busy = 3
        commit(store, [number], table=PARTS)
        assert pids(store, PARTS) == [number]
    assert faults.refused == 9


def test_a_bucket_that_stays_busy_is_told_and_nothing_is_lost(faulty_bucket, monkeypatch):
    bucket, faults = faulty_bucket
    monkeypatch.setattr(lease_module, "TERMS", Terms(renewal=0.2, lapse=2, look=0.2))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")  # of the client, as of other programs
    S3FileSystem.clear_instance_cache()
    store = Store(f"{bucket}/data")
    commit(store, [0])
    draft = draft_of(store, [1])
    faults.busy = 10**6
    with pytest.raises(StoreError, match="Please try again"):
        store.commit(draft)
    faults.busy = 0
    for thread in threading.enumerate():
        if thread.name == "lease":  # a renewal that waited for the bucket may still come
            thread.join()
    assert pids(store) == [0]
    commit(store, [2])
    assert pids(store) == [2]


def test_commits_whose_answers_are_lost_count(faulty_bucket):
    """The client repeats a write that was done, and its condition then does not hold."""
    bucket, faults = faulty_bucket
    store = Store(f"{bucket}/data")
    for number in range(4):
        faults.cut_answers = number
        draft = draft_of(store, [number])
        faults.cut_answers = number
        store.commit(draft)
        assert pids(store) == [number]
