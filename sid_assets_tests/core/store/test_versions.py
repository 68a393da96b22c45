"""Versions: readers see the old one or the new one, whatever happens in between."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.store import versions
from sid_assets.core.store.parts import PartWriter
from sid_assets.core.store.places import is_local
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.versions import StagedTable, Staging, Store

COLUMNS = pa.schema([pa.field("pid", pa.int64(), nullable=False)])


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path) -> Store:
    return Store(tmp_path / "data" if request.param == "local" else f"memory://{tmp_path.name}")


@pytest.fixture
def local(tmp_path) -> Store:
    return Store(tmp_path / "data")


def stage(store: Store, *groups, table="t", key="") -> StagedTable:
    """Stage a table, given the pids of each part."""
    staging = store.stage(table, key)
    parts = []
    for number, pids in enumerate(groups):
        with PartWriter(staging.folder / f"part-{number}.parquet", COLUMNS) as writer:
            writer.write(pa.table([list(pids)], schema=COLUMNS))
        parts.append(writer.part)
    return StagedTable(staging, tuple(parts), Provenance(table))


def commit(store: Store, *groups, table="t", layout="parts"):
    staged = stage(store, *groups, table=table)
    with staged.staging:
        return store.commit(staged.staging, staged.parts, staged.provenance, layout)


def pids(store: Store, table="t") -> list[int]:
    return store.require(table).stream().read_all()["pid"].to_pylist()


def test_there_is_nothing_before_the_first_commit(store):
    stage(store, [1]).staging.close()
    assert store.current("t") is None
    with pytest.raises(StoreError, match=r"t\.parquet: is not there yet\. Materialise t first"):
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


def test_the_version_before_is_kept_and_older_ones_are_removed(store):
    first, second, third = (commit(store, [number]) for number in range(3))
    assert not first.folder.exists()
    assert second.stream().read_all()["pid"].to_pylist() == [1]
    assert third.before == second.folder.name


def test_the_version_names_the_content(store):
    one, other, again = commit(store, [1]), commit(store, [2]), commit(store, [1])
    assert one.provenance.version == again.provenance.version != other.provenance.version


@pytest.mark.parametrize(("layout", "groups"), [("parts", ([1, 2], [3])), ("file", ([1, 2, 3],))])
def test_pandas_and_pyarrow_read_through_the_link(local, layout, groups):
    commit(local, *groups, layout=layout)
    commit(local, *groups, layout=layout)
    path = Path(local.path("t").path)
    assert path.is_symlink()
    assert not path.readlink().is_absolute()  # the data folder can be moved
    assert pd.read_parquet(path).pid.tolist() == [1, 2, 3]
    assert pq.read_table(path)["pid"].to_pylist() == [1, 2, 3]


def test_a_moved_data_folder_still_works(local, tmp_path):
    commit(local, [1])
    Path(local.root.path).rename(tmp_path / "elsewhere")
    assert pids(Store(tmp_path / "elsewhere")) == [1]
    assert pd.read_parquet(tmp_path / "elsewhere" / "t.parquet").pid.tolist() == [1]


def test_tables_below_one_another_do_not_meet(store):
    commit(store, [1], table="goods/codes")
    for number in range(3):
        commit(store, [number], table="goods")
    assert pids(store, "goods/codes") == [1]
    assert store.tables() == ["goods", "goods/codes"]


def test_unfinished_work_is_found_by_its_key(store):
    staged = stage(store, [1], key="work")
    staged.staging.close()
    with store.stage("t", "other work") as other:
        assert other.folder != staged.staging.folder
    with store.stage("t", "work") as found:
        assert found.folder == staged.staging.folder
        assert (found.folder / "part-0.parquet").exists()
    assert [run.folder for run in store.unfinished("t")] == sorted(
        [staged.staging.folder, other.folder], key=lambda folder: folder.name, reverse=True
    )
    commit(store, [2])
    assert store.unfinished("t") == []


def test_without_a_key_work_starts_anew(store):
    with store.stage("t") as one, pytest.raises(StopIteration):
        raise StopIteration
    with store.stage("t") as other:
        assert other.folder != one.folder


def test_state_is_made_once_and_found_again(store):
    store.stage("t", "work", lambda: {"size": 3}).close()

    def fail() -> dict:
        raise AssertionError("the state is there")

    with store.stage("t", "work", fail) as staging:
        assert staging.state["size"] == 3


def test_a_state_that_fails_to_be_made_leaves_the_table_free(local):
    with pytest.raises(ZeroDivisionError):
        local.stage("t", "work", lambda: {"size": 1 / 0})
    local.stage("t", "work").close()


@pytest.mark.parametrize("step", ["write_json", "_link", "_remove_strays", "remove_folder"])
@pytest.mark.parametrize("first", [True, False], ids=["first-commit", "later-commit"])
def test_a_commit_that_ends_anywhere_shows_old_or_new_and_can_be_done_again(
    local, monkeypatch, step, first
):
    if not first:
        commit(local, [1])
        commit(local, [1, 2])
    staged = stage(local, [7], key="work")
    calls = 0

    def stop_at(call: int, function):
        def stopping(*arguments):
            nonlocal calls
            calls += 1
            if calls == call:
                raise KeyboardInterrupt
            return function(*arguments)

        return stopping

    for call in (1, 2):
        calls = 0
        with monkeypatch.context() as patch, staged.staging:
            patch.setattr(versions, step, stop_at(call, getattr(versions, step)))
            try:
                local.commit(staged.staging, staged.parts, staged.provenance)
            except KeyboardInterrupt:
                seen = local.current("t")
                assert seen is None or seen.stream().read_all()["pid"].to_pylist() in ([1, 2], [7])
                if seen:
                    assert pd.read_parquet(local.path("t").path).pid.tolist() in ([1, 2], [7])
        with local.stage("t", "work") as staging:
            # What was not shown is found again, with all that was done.
            shown = local.current("t")
            was_shown = shown is not None and shown.folder == staged.staging.folder
            assert (staging.folder == staged.staging.folder) is not was_shown
        if was_shown:
            break
    else:
        with local.stage("t", "work") as staging:
            local.commit(staging, staged.parts, staged.provenance)
    assert pids(local) == [7]
    assert pd.read_parquet(local.path("t").path).pid.tolist() == [7]


def test_what_a_killed_run_left_beside_the_parts_is_not_shown(local):
    staged = stage(local, [1])
    folder = staged.staging.folder
    (folder / "part-1.parquet.tmp").write_bytes(b"PAR1 half")
    (folder / "part-5.parquet").write_bytes((folder / "part-0.parquet").read_bytes())
    with staged.staging:
        local.commit(staged.staging, staged.parts, staged.provenance)
    assert pd.read_parquet(local.path("t").path).pid.tolist() == [1]


def test_parts_that_overlap_or_have_changed_are_not_committed(store):
    commit(store, [1])
    for groups in (([1, 2], [2, 3]), ([3], [1])):
        staged = stage(store, *groups)
        with staged.staging, pytest.raises(StoreError, match="starts at pid"):
            store.commit(staged.staging, staged.parts, staged.provenance)
    staged = stage(store, [4])
    changed = replace(staged.parts[0], bytes=7)
    missing = replace(staged.parts[0], name="gone.parquet")
    with staged.staging:
        for part in (changed, missing):
            with pytest.raises(StoreError, match="has changed since it was written"):
                store.commit(staged.staging, [part], staged.provenance)
    assert pids(store) == [1]


def test_one_process_at_a_time_makes_a_version(local):
    code = (
        "import sys; from sid_assets.core.store.versions import Store\n"
        "from sid_assets.core.errors import StoreError\n"
        "try: Store(sys.argv[1]).stage(sys.argv[2]).close()\n"
        "except StoreError as error: print(error)\n"
        "else: print('free')"
    )

    def other(table: str) -> str:
        command = [sys.executable, "-c", code, local.root.path, table]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with local.stage("t"):
        assert "another run is writing it. Wait until that run has ended" in other("t")
        assert other("u") == "free\n"
        with pytest.raises(StoreError, match="another run is writing it"):
            local.stage("t")
    assert other("t") == "free\n"


def test_a_file_of_somebody_else_is_left_alone(local):
    path = Path(local.path("t").path)
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(StoreError, match=r"t\.parquet: is there, but was not made by sid_assets"):
        local.current("t")
    staged = stage(local, [1])
    with staged.staging, pytest.raises(StoreError, match="was not made by sid_assets"):
        local.commit(staged.staging, staged.parts, staged.provenance)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"parts": 1}'])
def test_a_damaged_manifest_says_what_to_do(store, damage):
    version = commit(store, [1])
    (version.folder / versions.MANIFEST).write_text(damage)
    with pytest.raises(StoreError, match=r"_manifest\.json: cannot be read .* move .*t away"):
        store.current("t")


def test_a_damaged_pointer_says_what_to_do(tmp_path):
    store = Store(f"memory://{tmp_path.name}")
    commit(store, [1])
    (store.history("t") / "current.json").write_text("{")
    with pytest.raises(StoreError, match=r"current\.json: is damaged .* move .*t away"):
        store.current("t")


def test_a_damaged_state_of_unfinished_work_is_passed_over(store):
    store.stage("t", "work").close()
    (run,) = store.unfinished("t")
    (run.folder / versions.STAGING).write_text("{")
    assert store.unfinished("t") == []
    assert store.leftovers("t") == [run.folder]
    commit(store, [1])
    assert store.leftovers("t") == []


def test_a_newer_format_is_refused(local):
    version = commit(local, [1])
    manifest = version.folder / versions.MANIFEST
    fields = json.loads(manifest.read_text())
    fields["provenance"]["format_version"] = 99
    manifest.write_text(json.dumps(fields))
    with pytest.raises(InputError, match=r"written in format 99.*Update sid_assets"):
        local.current("t")


def test_other_columns_in_one_part_are_told(local):
    staging = local.stage("t")
    wider = pa.schema([*COLUMNS, ("n", pa.int64())])
    parts = []
    for name, columns in (("part-0.parquet", wider), ("part-1.parquet", COLUMNS)):
        with PartWriter(staging.folder / name, columns) as writer:
            start = 10 * len(parts)
            values = [[start + 1]] * len(columns)
            writer.write(pa.table(values, schema=columns))
        parts.append(writer.part)
    with staging:
        local.commit(staging, parts, Provenance("t"))
    with pytest.raises(StoreError, match=r"part-1\.parquet: its columns are not the table's"):
        local.require("t").stream().read_all()


def test_a_full_disk_is_told_and_leaves_the_old_version(mounted):
    folder, mount = mounted
    mount("size=1m")
    store = Store(folder)
    commit(store, [1])
    (folder / "filler").write_bytes(b"x" * (900 << 10))
    with pytest.raises(StoreError, match=r"No space left on device \(0\.00 GB free there\).*run"):
        stage(store, range(100_000))
    assert pids(store) == [1]
    (folder / "filler").unlink()
    commit(store, range(50_000))
    assert len(pids(store)) == 50_000


def test_a_disk_that_cannot_be_written_is_told(mounted):
    folder, mount = mounted
    mount("size=1m")
    store = Store(folder)
    commit(store, [1])
    mount("remount,ro,size=1m")
    with pytest.raises(StoreError, match="Read-only file system"):
        store.stage("t")
    assert pids(store) == [1]
    mount("remount,rw,size=1m")
    commit(store, [2])
    assert pids(store) == [2]


def test_what_is_staged_can_be_read_before_the_commit(store):
    staged = stage(store, [1], [2])
    assert staged.as_version().stream().read_all()["pid"].to_pylist() == [1, 2]
    assert staged.with_details({"a": 1}).provenance.details == {"a": 1}
    staged.staging.close()


def test_an_object_store_needs_no_lock(tmp_path):
    store = Store(f"memory://{tmp_path.name}")
    assert not is_local(store.root)
    with store.stage("t") as one, store.stage("t") as other:
        assert isinstance(one, Staging)
        assert one.folder != other.folder
