"""Local folders and object stores behind one path type."""

import pytest
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.places import explained, free_bytes, is_local, place, remove_folder


def test_a_relative_folder_is_pinned_to_where_we_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place("data").path == str(tmp_path / "data")
    assert place("file://" + str(tmp_path)).path == str(tmp_path)


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place("~/data").path == str(tmp_path / "data")


def test_only_this_machines_disk_is_local(tmp_path):
    assert is_local(place(tmp_path))
    assert not is_local(place("memory://data"))


def test_free_bytes_of_a_folder_that_is_not_there_yet(tmp_path):
    assert free_bytes(UPath(tmp_path / "a" / "b")) == free_bytes(UPath(tmp_path))
    assert free_bytes(place("memory://data")) is None


def test_an_error_of_the_disk_says_what_to_do(tmp_path):
    path = UPath(tmp_path / "file" / "below")
    (tmp_path / "file").write_text("not a folder")
    message = r"below: cannot be .*Not a directory.*GB free.*run again"
    with pytest.raises(StoreError, match=message), explained(path):
        path.mkdir(parents=True)


@pytest.mark.parametrize("root", ["memory://removed", None])
def test_remove_folder(tmp_path, root):
    folder = place(root or tmp_path / "folder")
    (folder / "below").mkdir(parents=True, exist_ok=True)
    (folder / "below" / "file").write_text("x")
    remove_folder(folder)
    remove_folder(folder)  # nothing to do
    assert not folder.exists()
