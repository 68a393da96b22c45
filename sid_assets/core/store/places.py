"""Places where tables live: a local folder or any fsspec URL, behind one path type."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.fs as pafs
from upath import UPath

from sid_assets.core.errors import InputError, StoreError


def place(location: str | os.PathLike[str]) -> UPath:
    """The path of a setting: an absolute local path, or a path on the file system of a URL.

    Raises:
        InputError: There is no file system for the URL, or its package is not installed.
    """
    try:
        path = UPath(location)
        path.fs  # noqa: B018 - the file system's package is imported here
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{location}: {error}. Use a local path, or install the fsspec package for this URL, "
            "such as s3fs for s3://."
        ) from error
    if path.protocol in ("", "file"):
        return UPath(Path(path.path).expanduser().absolute())
    return path


def is_local(path: UPath) -> bool:
    """Whether the path is on this machine's file system, which has renames and symlinks."""
    return path.protocol in ("", "file")


def arrow_filesystem(path: UPath) -> pafs.FileSystem:
    """The pyarrow file system on which `path.path` is found."""
    if is_local(path):
        return pafs.LocalFileSystem()
    return pafs.PyFileSystem(pafs.FSSpecHandler(path.fs))


def sync_folder(path: UPath) -> None:
    """Wait until renames in a local folder are on disk."""
    if is_local(path):
        descriptor = os.open(path.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_folder(path: UPath) -> None:
    """Remove a folder and everything in it; do nothing if it does not exist."""
    if is_local(path):
        shutil.rmtree(path.path, ignore_errors=True)
    elif path.exists():
        path.fs.rm(path.path, recursive=True)


def write_text(path: UPath, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        StoreError: The file cannot be written, e.g. because the disk is full.
    """
    write_pieces(path, [text.encode()])


def write_json(path: UPath, value: object) -> None:
    """Write a small JSON file, whole or not at all.

    Raises:
        StoreError: The file cannot be written, e.g. because the disk is full.
    """
    write_text(path, json.dumps(value))


def write_pieces(path: UPath, pieces: Iterable[bytes]) -> None:
    """Write a file piece by piece; it appears whole or not at all.

    Raises:
        StoreError: The file cannot be written, e.g. because the disk is full.
    """
    if not is_local(path):
        with explained(path), tempfile.TemporaryDirectory() as scratch:
            local = UPath(scratch, path.name)
            write_pieces(local, pieces)
            path.fs.put_file(local.path, path.path)
        return
    temporary = Path(f"{path.path}.tmp")
    with explained(path):
        with temporary.open("wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path.path)


@contextmanager
def local_copy(path: UPath) -> Iterator[Path]:
    """A local path to read a file from: its own, or a copy that is removed after the block.

    Raises:
        FileNotFoundError: The file should be on an object store and does not exist.
    """
    if is_local(path):
        yield Path(path.path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch, path.name)
        local.write_bytes(path.read_bytes())
        yield local


@contextmanager
def explained(path: UPath) -> Iterator[None]:
    """Turn the operating system's errors about a path into a message that says what to do.

    Raises:
        StoreError: The file cannot be written, e.g. because the disk is full.
    """
    try:
        yield
    except OSError as error:
        free = free_bytes(path)
        room = "" if free is None else f" ({free / 1e9:,.2f} GB free there)"
        raise StoreError(
            f"{path}: cannot be read or written: {error.strerror or error}{room}. The previous "
            "version is untouched. Free disk space or fix the permissions, then run again: "
            "finished parts are reused."
        ) from error


def folder_bytes(folder: UPath) -> int:
    """Size of all files in a folder and below it; files that vanish meanwhile count as 0."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def free_bytes(path: UPath) -> int | None:
    """Bytes free on the disk of a path, which need not exist yet; None on an object store."""
    if not is_local(path):
        return None
    there = Path(path.path)
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
