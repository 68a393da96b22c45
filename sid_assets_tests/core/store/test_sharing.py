"""Shared parts: versions have them in common, and removing one takes nothing from another."""

import itertools
import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from sid_assets.core.store.chunks import Chunk
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.parts import PartWriter, part_name
from sid_assets.core.store.places import is_local
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.sharing import PartSharer
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets_tests.core.store.drafts import COLUMNS, PARTS, pids


def chunk(number: int, *some: int) -> Chunk:
    return Chunk(number, len(some), min(some), max(some))


def draft_of(store: Store, *groups: Iterable[int], log: list[str] | None = None) -> Draft:
    """A finished draft that shares each group of pids that the current version has as a part."""
    before = store.current(PARTS)
    with store.draft(PARTS) as draft:
        draft.begin()
        said = [] if log is None else log
        sharer = PartSharer(before, draft.folder) if before else None
        parts = []
        for number, group in enumerate(groups):
            group, name = list(group), part_name(number, len(list(groups)))
            if sharer and (part := sharer.part_of(chunk(number, *group), said.append)):
                parts.append(sharer.share(part, name, said.append))
                continue
            with PartWriter(draft.folder / name, COLUMNS) as writer:
                writer.write(pa.table([group], schema=COLUMNS))
            parts.append(writer.part)
        draft.finish(parts, Provenance(PARTS, details={"groups": len(parts)}))
    return draft


def commit(store: Store, *groups: Iterable[int], log: list[str] | None = None) -> Version:
    return store.commit(draft_of(store, *groups, log=log))


def files(store: Store) -> set[str]:
    """The part files that exist, by the end of their path."""
    found = store.history(PARTS).rglob("part-*.parquet")
    return {"/".join(path.path.split("/")[-2:]) for path in found}


def inodes(version: Version) -> list[int]:
    return [Path(path.path).stat().st_ino for path in version.paths]


def rows(version: Version) -> list[int]:
    return version.stream().read_all()["pid"].to_pylist()


def test_a_local_version_has_links_to_the_parts_that_it_shares(local):
    first = commit(local, range(5), range(5, 9), range(9, 12))
    second = commit(local, range(5), range(5, 8), range(9, 12), [20])
    assert rows(second) == [*range(8), *range(9, 12), 20]
    assert [one in inodes(first) for one in inodes(second)] == [True, False, True, False]
    assert [part.name for part in second.parts] == [part_name(n, 4) for n in range(4)]
    assert {part.folder for part in second.parts} == {""}
    assert pd.read_parquet(local.path(PARTS).path).pid.tolist() == rows(second)
    assert rows(first) == list(range(12))


def test_the_manifest_and_not_the_old_footer_says_where_a_version_comes_from(store):
    commit(store, range(5), range(5, 9))
    version = commit(store, range(5), range(5, 9), [9])
    assert version.provenance.details == {"groups": 3}
    assert Provenance.of(store.require(PARTS).schema()) == version.provenance
    assert Provenance.of(store.require(PARTS).dataset().schema) == version.provenance
    assert store.require(PARTS).dataset().count_rows() == 10


def test_a_version_that_shares_all_parts_has_the_same_content(store):
    first = commit(store, range(5), range(5, 9))
    second = commit(store, range(5), range(5, 9))
    assert second.provenance.version == first.provenance.version
    assert second.folder != first.folder


def test_an_object_store_refers_to_the_folder_that_has_the_file(tmp_path):
    store = Store(f"memory://{tmp_path.name}")
    first = commit(store, range(5), range(5, 9))
    second = commit(store, range(5), range(5, 9), [9])
    third = commit(store, range(5), range(5, 9), [9], [11])
    owners = [part.folder for part in third.parts]
    assert owners == [first.folder.name, first.folder.name, second.folder.name, ""]
    assert rows(third) == [*range(10), 11]
    assert rows(store.require(PARTS)) == rows(third)
    assert len(files(store)) == 4  # every part once
    assert third.bytes == sum(path.stat().st_size for path in third.paths)


def test_old_versions_are_removed_but_not_the_files_that_newer_ones_need(store):
    versions = [commit(store, range(5), [10 + number]) for number in range(6)]
    assert rows(versions[-1]) == [*range(5), 15]
    previous = versions[-1].previous()
    assert previous
    assert rows(previous) == [*range(5), 14]
    assert not (versions[3].folder / "_manifest.json").exists()
    if not is_local(store.root):
        assert len(files(store)) == 3
        assert list(versions[0].folder.iterdir()) == [versions[0].paths[0]]
    else:
        assert len(files(store)) == 4
        assert not versions[0].folder.exists()
    assert store.leftovers(PARTS) == []
    commit(store, [1], [2])
    version = commit(store, [1], [3])
    # Nobody needs the first file now.
    assert {name.split("/")[0] for name in files(store)} <= {
        version.folder.name,
        version.before,
    }
    assert not versions[0].folder.exists()


def test_removing_the_previous_version_keeps_what_the_current_one_needs(store):
    commit(store, range(5), [10], [20])
    second = commit(store, range(5), [11], [20])
    third = commit(store, range(5), [12], [21])
    with store.lock(PARTS) as lease:
        store.remove(PARTS, [second.folder], lease)
    assert pids(store, PARTS) == [*range(5), 12, 21]
    assert third.previous() is None
    assert store.leftovers(PARTS) == []
    if store.root.protocol == "memory":  # the part of pid 20 is gone with the only one that had it
        assert len(files(store)) == 3
    assert rows(commit(store, range(5), [12], [22])) == [*range(5), 12, 22]


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_part_is_not_shared(local, damage):
    first = commit(local, range(5), range(5, 9))
    path = Path(first.paths[1].path)
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flipped" else content[:-1])
    said: list[str] = []
    second = commit(local, range(5), range(5, 9), log=said)
    assert rows(second) == list(range(9))
    assert inodes(second)[0] == Path(first.paths[0].path).stat().st_ino
    assert said == [f"{path}: is damaged or missing. It is made again from the rows that are left."]
    if damage != "gone":
        assert inodes(second)[1] != path.stat().st_ino


@pytest.mark.parametrize(
    "other", [chunk(0, 0, 1, 2, 4), chunk(0, 0, 1, 2, 3, 5), chunk(0, 1, 2, 3, 4)]
)
def test_a_part_with_other_rows_is_not_shared(store, other):
    before = commit(store, range(5))
    sharer = PartSharer(before, before.folder.parent / "draft")
    assert sharer.part_of(chunk(0, *range(5)), print) == before.parts[0]
    assert sharer.part_of(other, print) is None


def refuse(*paths) -> None:
    """What `os.link` does on a file system without hard links."""
    raise OSError(1, "Operation not permitted")


def test_without_hard_links_parts_are_copied_and_the_log_says_so(local, monkeypatch):
    first = commit(local, range(5), range(5, 9))
    monkeypatch.setattr(os, "link", refuse)
    said: list[str] = []
    second = commit(local, range(5), range(5, 9), [9], log=said)
    assert rows(second) == list(range(10))
    assert not set(inodes(first)) & set(inodes(second))
    (line,) = set(said)
    assert "hard links are not possible here (Operation not permitted)" in line
    assert "copied instead" in line


def test_a_copy_that_is_cut_short_leaves_nothing(local, monkeypatch):
    def copy_half(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:10])
        raise KeyboardInterrupt

    commit(local, range(5))
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", copy_half)
    with pytest.raises(KeyboardInterrupt):
        draft_of(local, range(5))
    (left,) = local.leftovers(PARTS)
    assert [path.name for path in left.iterdir()] == ["_staging.json"]
    assert pids(local, PARTS) == list(range(5))


def test_a_link_that_a_killed_run_left_is_replaced(local):
    version = commit(local, range(5), range(5, 9))
    folder = UPath(local.history(PARTS) / "draft")
    folder.mkdir()
    sharer = PartSharer(version, folder)
    for part in (version.parts[1], version.parts[0], version.parts[0]):
        sharer.share(part, "part-0.parquet", print)
    shared = Path((folder / "part-0.parquet").path)
    assert shared.samefile(version.paths[0].path)
    assert rows(version) == list(range(9))


def test_data_can_be_copied_with_and_without_its_links(local, tmp_path):
    commit(local, range(5), range(5, 9))
    version = commit(local, range(5), range(5, 9), [9])
    shutil.copytree(Path(local.root.path), tmp_path / "copy", symlinks=True)
    copy = Store(tmp_path / "copy")
    assert pids(copy, PARTS) == rows(version)
    assert rows(commit(copy, range(5), [9])) == [*range(5), 9]


@pytest.fixture
def stop_at_removal(monkeypatch):
    """Stops whatever removes the file with a number, counted from 0."""

    def stop_at(number: int) -> None:
        removals, remove = itertools.count(), MemoryFileSystem.rm

        def remove_or_stop(self, *args, **options):
            if next(removals) >= number:
                raise KeyboardInterrupt
            remove(self, *args, **options)

        monkeypatch.setattr(MemoryFileSystem, "rm", remove_or_stop)

    return stop_at


@pytest.mark.parametrize("number", range(3))
def test_no_run_resumes_in_a_folder_whose_removal_was_killed(tmp_path, stop_at_removal, number):
    store = Store(f"memory://{tmp_path.name}")
    commit(store, range(5), [10])
    commit(store, range(5), [11])
    third = draft_of(store, range(5), [12])
    stop_at_removal(number)
    with pytest.raises(KeyboardInterrupt):
        store.commit(third)
    owners = {part.folder for version in store.kept(PARTS) for part in version.parts}
    resumed = [run for run in store.unfinished(PARTS) if run.folder.name in owners]
    assert all((run.folder / "_manifest.json").exists() for run in resumed)


@pytest.mark.parametrize("number", range(6))
def test_a_previous_version_whose_removal_was_killed_is_whole_or_gone(
    tmp_path, monkeypatch, stop_at_removal, number
):
    names = itertools.count()  # folders of one second are in the order of their commits
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(names):0{2 * size}x}")
    store = Store(f"memory://{tmp_path.name}")
    for last in range(3):
        commit(store, range(5), [10], [20 + last])
    current = commit(store, range(5), [11], [30])
    stop_at_removal(number)
    with suppress(KeyboardInterrupt), store.lock(PARTS) as lease:
        store.remove(PARTS, [current.folder.parent / current.before], lease)
    assert rows(current) == [*range(5), 11, 30]
    previous = current.previous()
    assert previous is None or rows(previous) == [*range(5), 10, 22]
