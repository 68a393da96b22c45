"""The store: readers see the old or the new version, whatever happens in between."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import StoreError
from sid_assets.core.store import store as store_module
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets_tests.core.store.drafts import PARTS, commit, draft_of, pids


def test_there_is_nothing_before_the_first_commit(store):
    draft_of(store, [1]).close()
    assert store.current("t") is None
    with pytest.raises(StoreError, match=r"t\.parquet: does not exist yet\. Materialise t first"):
        store.require("t")


def test_readers_see_the_last_commit(store):
    version = None
    for number in range(4):
        version = commit(store, [1, 2], [3 + number])
        assert pids(store) == [1, 2, 3 + number]
        assert store.current("t") == version
    assert version is not None
    assert (version.rows, version.schema().names, version.pid_type) == (3, ["pid"], "int")
    assert Provenance.of(version.schema()) == version.provenance
    assert store.tables() == ["t"]


def test_the_previous_version_is_kept_and_older_ones_are_removed(store):
    first, second, third = (commit(store, [number]) for number in range(3))
    assert not first.folder.exists()
    assert second.stream().read_all()["pid"].to_pylist() == [1]
    assert third.before == second.folder.name


@pytest.mark.parametrize(("table", "groups"), [(PARTS, ([1, 2], [3])), ("t", ([1, 2, 3],))])
def test_pandas_and_pyarrow_read_through_the_link(local, table, groups):
    commit(local, *groups, table=table)
    commit(local, *groups, table=table)
    path = Path(local.path(table).path)
    assert path.is_symlink()
    assert not path.readlink().is_absolute()  # the data folder can be moved
    assert pd.read_parquet(path).pid.tolist() == [1, 2, 3]
    assert pq.read_table(path)["pid"].to_pylist() == [1, 2, 3]


def test_a_moved_data_folder_still_works(local, tmp_path):
    commit(local, [1])
    Path(local.root.path).rename(tmp_path / "elsewhere")
    assert pids(Store(tmp_path / "elsewhere")) == [1]
    assert pd.read_parquet(tmp_path / "elsewhere" / "t.parquet").pid.tolist() == [1]


def test_a_table_below_another_does_not_interfere(store):
    commit(store, [1], table="goods/codes")
    for number in range(3):
        commit(store, [number], table="goods")
    assert pids(store, "goods/codes") == [1]
    assert store.tables() == ["goods", "goods/codes"]


@pytest.mark.parametrize("step", ["write_manifest", "_link", "_remove_strays", "remove_unshared"])
@pytest.mark.parametrize("first", [True, False], ids=["first-commit", "later-commit"])
def test_a_commit_killed_anywhere_shows_old_or_new_and_can_be_repeated(
    local, monkeypatch, step, first
):
    if not first:
        commit(local, [1], table=PARTS)
        commit(local, [1, 2], table=PARTS)
    draft = draft_of(local, [7], table=PARTS, key="work")
    folder = draft.folder
    calls = 0

    def stop_at(call: int, function):
        def stopping(*arguments):
            nonlocal calls
            calls += 1
            if calls == call:
                raise KeyboardInterrupt
            return function(*arguments)

        return stopping

    was_shown = False
    for call in (1, 2):
        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(store_module, step, stop_at(call, getattr(store_module, step)))
            try:
                local.commit(draft)
            except KeyboardInterrupt:
                seen = local.current(PARTS)
                assert seen is None or seen.stream().read_all()["pid"].to_pylist() in ([1, 2], [7])
                if seen:
                    path = local.path(PARTS).path
                    assert pd.read_parquet(path).pid.tolist() in ([1, 2], [7])
        with local.draft(PARTS) as again:
            # A version that was not shown is found again as a draft with all its parts.
            again.begin("work")
            shown = local.current(PARTS)
            was_shown = shown is not None and shown.folder == folder
            assert (again.folder == folder) is not was_shown
            if was_shown:
                break
            again.finish(draft.parts, draft.provenance)
        draft = again
    if not was_shown:
        local.commit(draft)
    assert pids(local, PARTS) == [7]
    assert pd.read_parquet(local.path(PARTS).path).pid.tolist() == [7]


def test_stray_files_of_a_killed_run_are_not_shown(local):
    draft = draft_of(local, [1], table=PARTS)
    folder = draft.folder
    (folder / "part-1.parquet.tmp").write_bytes(b"PAR1 half")
    (folder / "part-5.parquet").write_bytes((folder / "part-0.parquet").read_bytes())
    local.commit(draft)
    assert pd.read_parquet(local.path(PARTS).path).pid.tolist() == [1]


def test_parts_that_overlap_or_have_changed_are_not_committed(store):
    commit(store, [1])
    for groups in (([1, 2], [2, 3]), ([3], [1])):
        draft = draft_of(store, *groups)
        with pytest.raises(StoreError, match="starts at pid"):
            store.commit(draft)
    for change in ({"bytes": 7}, {"name": "gone.parquet"}):
        draft = draft_of(store, [4])
        draft.finish([replace(draft.parts[0], **change)], draft.provenance)
        with pytest.raises(StoreError, match="has changed since it was written"):
            store.commit(draft)
    assert pids(store) == [1]


def test_one_process_at_a_time_writes_a_table(local):
    code = (
        "import sys; from sid_assets.core.store.store import Store\n"
        "from sid_assets.core.errors import StoreError\n"
        "try: Store(sys.argv[1]).draft(sys.argv[2]).close()\n"
        "except StoreError as error: print(error)\n"
        "else: print('free')"
    )

    def other(table: str) -> str:
        command = [sys.executable, "-c", code, local.root.path, table]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with local.draft("t"):
        assert "another run is writing it. Wait until that run has ended" in other("t")
        assert other("u") == "free\n"
        with pytest.raises(StoreError, match="another run is writing it"):
            local.draft("t")
    assert other("t") == "free\n"


def test_a_file_that_others_made_is_left_alone(local):
    path = Path(local.path("t").path)
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(StoreError, match=r"t\.parquet: exists, but was not made by sid_assets"):
        local.current("t")
    draft = draft_of(local, [1])
    with pytest.raises(StoreError, match="was not made by sid_assets"):
        local.commit(draft)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "../x"}', '{"version": 1}', "null"])
def test_a_damaged_pointer_says_what_to_do(tmp_path, content):
    store = Store(f"memory://{tmp_path.name}")
    version = commit(store, [1])
    (store.history("t") / "current.json").write_text(content)
    named = f'{{"version": "{version.folder.name}"}}'
    message = r"current\.json: is damaged, .* newest version: its content is then " + named
    with pytest.raises(StoreError, match=message):
        store.current("t")


def test_a_lost_pointer_is_no_new_table(store):
    """The next commit would have removed all versions."""
    version = commit(store, [1])
    pointer = store.history("t") / (
        "current" if store.history("t").protocol == "" else "current.json"
    )
    named = pointer.read_text() if pointer.name == "current.json" else ""
    pointer.unlink()
    with pytest.raises(StoreError, match=rf"is lost.*{version.folder.name}"):
        store.current("t")
    with pytest.raises(StoreError, match="is lost"):
        commit(store, [2])
    if named:
        pointer.write_text(named)
    else:
        Path(pointer.path).symlink_to(version.folder.name)
    assert pids(store) == [1]


def test_a_table_that_was_forgotten_is_new(store):
    commit(store, [1])
    store.forget("t")
    assert store.current("t") is None
    commit(store, [2])
    assert pids(store) == [2]


def test_a_full_disk_is_reported_and_leaves_the_old_version(mounted):
    folder, mount = mounted
    mount("size=1m")
    store = Store(folder)
    commit(store, [1])
    (folder / "filler").write_bytes(b"x" * (900 << 10))
    with pytest.raises(StoreError, match=r"No space left on device \(0\.00 GB free there\).*run"):
        draft_of(store, range(100_000))
    assert pids(store) == [1]
    (folder / "filler").unlink()
    commit(store, range(50_000))
    assert len(pids(store)) == 50_000


def test_a_read_only_disk_is_reported(mounted):
    folder, mount = mounted
    mount("size=1m")
    store = Store(folder)
    commit(store, [1])
    mount("remount,ro,size=1m")
    with pytest.raises(StoreError, match="Read-only file system"):
        store.draft("t")
    assert pids(store) == [1]
    mount("remount,rw,size=1m")
    commit(store, [2])
    assert pids(store) == [2]
