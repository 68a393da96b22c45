"""Local folders and object stores behind one path type."""

import sys

import pytest
from upath import UPath

from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.store.places import (
    explained,
    folder_bytes,
    free_bytes,
    is_local,
    place,
    remove_folder,
    write_text,
)


def test_a_relative_folder_is_below_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place("data").path == str(tmp_path / "data")
    assert place("file://" + str(tmp_path)).path == str(tmp_path)


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place("~/data").path == str(tmp_path / "data")


def test_only_this_machines_disk_is_local(tmp_path):
    assert is_local(place(tmp_path))
    assert not is_local(place("memory://data"))


def test_a_url_without_a_file_system_is_refused(monkeypatch):
    with pytest.raises(InputError, match=r"foo://x: Unsupported filesystem: 'foo'\. Use a local"):
        place("foo://x")
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"s3://bucket/x: Install s3fs.*such as s3fs for s3://"):
        place("s3://bucket/x")


def test_free_bytes_of_a_folder_that_does_not_exist_yet(tmp_path):
    assert free_bytes(UPath(tmp_path / "a" / "b")) == free_bytes(UPath(tmp_path))
    assert free_bytes(place("memory://data")) is None


def test_a_disk_error_says_what_to_do(tmp_path):
    path = UPath(tmp_path / "file" / "below")
    (tmp_path / "file").write_text("not a folder")
    message = r"below: cannot be .*Not a directory.*GB free.*run again"
    with pytest.raises(StoreError, match=message), explained(path):
        path.mkdir(parents=True)


def test_a_full_disk_is_reported_when_a_small_file_is_written(mounted):
    folder, mount = mounted
    mount("size=64k")
    path = UPath(folder / "note.json")
    write_text(path, "before")
    with pytest.raises(StoreError, match=r"note\.json: cannot be .*No space left.*Free disk space"):
        write_text(path, "x" * 100_000)
    assert path.read_text() == "before"


def test_a_missing_folder_is_reported_when_a_small_file_is_written(tmp_path):
    with pytest.raises(StoreError, match=r"note\.json: cannot be .*No such file.*run again"):
        write_text(UPath(tmp_path / "gone" / "note.json"), "x")


@pytest.mark.parametrize("root", ["memory://sized", None])
def test_the_size_of_a_folder_includes_all_files_below_it(tmp_path, root):
    folder = place(root or tmp_path / "folder")
    (folder / "below" / "it").mkdir(parents=True, exist_ok=True)
    (folder / "file").write_bytes(b"x" * 3)
    (folder / "below" / "it" / "file").write_bytes(b"x" * 40)
    assert folder_bytes(folder) == 43


@pytest.mark.parametrize("root", ["memory://removed", None])
def test_remove_folder(tmp_path, root):
    folder = place(root or tmp_path / "folder")
    (folder / "below").mkdir(parents=True, exist_ok=True)
    (folder / "below" / "file").write_text("x")
    remove_folder(folder)
    remove_folder(folder)  # nothing to do
    assert not folder.exists()
