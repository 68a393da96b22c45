"""Local folders and object stores behind one path type."""

import errno
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.numpy import save_file
from upath import UPath

from sid_assets.core.arrow.duck import open_database
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.store.places import (
    UnreachableError,
    explained,
    folder_bytes,
    free_bytes,
    is_local,
    place,
    remove_folder,
    require_reachable,
    temporary_folder,
    write_pieces,
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
    with pytest.raises(InputError, match=r"gs://bucket/x: .*pip install 'sid_assets\[gcs\]'"):
        place("gs://bucket/x")


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
    assert list(folder.iterdir()) == [Path(path.path)]


def test_what_is_needed_is_said_if_it_is_known(mounted):
    folder, mount = mounted
    mount("size=1m")
    path = UPath(folder / "file")
    message = r"About 2\.5 MB are needed there\. Nothing is lost"
    with pytest.raises(StoreError, match=message), explained(path, wanted=2_500_000):
        Path(path.path).write_bytes(b"x" * 2_500_000)
    Path(path.path).unlink()
    with pytest.raises(StoreError, match=r"More than the 1\.0 MB written so far are needed there"):
        write_pieces(path, [b"x" * 500_000] * 5)


@pytest.mark.parametrize("root", ["memory://full", None])
def test_a_full_temporary_folder_is_named_with_its_variable(mounted, monkeypatch, tmp_path, root):
    folder, mount = mounted
    mount("size=1m")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    message = rf"{folder}/\w+: cannot be written: No space left.*set TMPDIR to a folder with more"
    with pytest.raises(StoreError, match=message), temporary_folder() as scratch:
        Path(scratch, "file").write_bytes(b"x" * 2_000_000)
    if root:
        with pytest.raises(StoreError, match=message):
            write_pieces(place(root) / "file", [b"x" * 2_000_000])
    assert list(folder.iterdir()) == []


def test_a_temporary_folder_that_cannot_be_made_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StoreError, match=r"gone: cannot be .*No such file"), temporary_folder():
        pass


def test_other_errors_pass_through_a_temporary_folder():
    for error in (OSError(errno.EIO, "of something else"), ValueError("wrong")):
        with pytest.raises(type(error), match=str(error.args[-1])), temporary_folder():
            raise error


def _of_pyarrow(folder: Path) -> None:
    with pa.OSFile(str(folder / "file"), "wb") as file:
        file.write(b"x" * 2_000_000)


def _of_duckdb(folder: Path) -> None:
    with open_database(folder, 100, folder / "rows.duckdb") as database:
        database.execute("CREATE TABLE t AS SELECT md5(range::VARCHAR) FROM range(1_000_000)")
        database.execute("CHECKPOINT")


def _of_duckdb_spilling(folder: Path) -> None:
    with open_database(folder, 100) as database:
        database.execute("CREATE TABLE t AS SELECT md5(range::VARCHAR) FROM range(6_000_000)")


def _of_torch(folder: Path) -> None:
    torch.save(torch.zeros(500_000), folder / "file")


def _of_safetensors(folder: Path) -> None:
    save_file({"x": np.zeros(500_000)}, folder / "file")


def _of_python(folder: Path) -> None:
    with (folder / "file").open("wb") as file:
        file.write(b"x" * 2_000_000)


@pytest.mark.parametrize(
    "fill", [_of_pyarrow, _of_duckdb, _of_duckdb_spilling, _of_torch, _of_safetensors, _of_python]
)
def test_the_errors_of_other_packages_on_a_full_disk_are_recognised(mounted, fill):
    folder, mount = mounted
    mount("size=1m")
    message = rf"^{folder}: cannot be written: No space left on device.*Nothing is lost.*run again"
    with pytest.raises(StoreError, match=message), explained(UPath(folder), only_full=True):
        fill(folder)


def test_a_quota_and_a_limit_of_file_sizes_are_full_disks_too(tmp_path):
    for code in (errno.EDQUOT, errno.EFBIG):
        message = rf"cannot be written: {os.strerror(code)}.*Nothing is lost"
        with pytest.raises(StoreError, match=message), explained(UPath(tmp_path)):
            raise OSError(code, os.strerror(code))


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


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError("no answer")])
def test_a_lost_connection_says_nothing_about_a_file(tmp_path, error):
    wrapped = OSError("it failed")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        said = rf"a.parquet: cannot be read: {one}\. .* Check that its disk can be reached"
        with pytest.raises(UnreachableError, match=said):
            require_reachable(UPath(tmp_path / "a.parquet"), one)


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), OSError("not a parquet file")])
def test_a_file_that_is_missing_or_damaged_was_reached(tmp_path, error):
    require_reachable(UPath(tmp_path / "a.parquet"), error)


@pytest.mark.parametrize("root", ["memory://removed", None])
def test_remove_folder(tmp_path, root):
    folder = place(root or tmp_path / "folder")
    (folder / "below").mkdir(parents=True, exist_ok=True)
    (folder / "below" / "file").write_text("x")
    remove_folder(folder)
    remove_folder(folder)  # nothing to do
    assert not folder.exists()
