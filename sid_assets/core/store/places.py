"""Places where tables live: a local folder or any fsspec URL, behind one path type."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
from upath import UPath

from sid_assets.core.errors import InputError, SidAssetsError, StoreError

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""By protocol, the extra of this package that installs its file system."""


def place(location: str | os.PathLike[str]) -> UPath:
    """The path of a setting: an absolute local path, or a path on the file system of a URL.

    Raises:
        InputError: There is no file system for the URL, or its package is not installed.
    """
    try:
        path = UPath(location)
        if path.protocol not in ("", "file", "memory"):
            path = UPath(location, **_options(path.protocol))
        path.fs  # noqa: B018 - the file system's package is imported here
    except (ImportError, ValueError) as error:
        extra = EXTRAS.get(str(location).partition("://")[0])
        package = f"pip install 'sid_assets[{extra}]'" if extra else "the fsspec package for it"
        raise InputError(
            f"{location}: {error}. Use a local path, or install what reads this URL: {package}."
        ) from error
    if path.protocol in ("", "file"):
        return UPath(Path(path.path).expanduser().absolute())
    return path


def _options(protocol: str) -> dict[str, Any]:
    """What the client of an object store is told. Endpoint, region and credentials it finds itself.

    Other processes write there too, so what was listed before is not what is there now. A server
    that is down for half a minute does not end a run, unless the environment says otherwise.
    """
    if protocol not in EXTRAS:
        return {}
    options: dict[str, Any] = {"use_listings_cache": False}
    if EXTRAS[protocol] == "s3" and not {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & os.environ.keys():
        retries = {"mode": "standard", "max_attempts": S3_ATTEMPTS}
        options["config_kwargs"] = {"retries": retries}
    return options


S3_ATTEMPTS = 8
"""With the pauses between them, which double, about half a minute."""


def make_folder(path: UPath) -> None:
    """Make a local folder and those above it. Object stores have none, and no bucket is made."""
    if is_local(path):
        Path(path.path).mkdir(parents=True, exist_ok=True)


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
    content = text.encode()
    if is_local(path):
        write_pieces(path, [content], wanted=len(content))
    else:
        with explained(path):
            path.fs.pipe_file(path.path, content)


def write_json(path: UPath, value: object) -> None:
    """Write a small JSON file, whole or not at all.

    Raises:
        StoreError: The file cannot be written, e.g. because the disk is full.
    """
    write_text(path, json.dumps(value))


def write_pieces(path: UPath, pieces: Iterable[bytes], wanted: int | None = None) -> None:
    """Write a file piece by piece; it appears whole or not at all.

    Args:
        path: The file.
        pieces: Its content.
        wanted: Its size in bytes, if it is known, for the message if the disk is full.

    Raises:
        StoreError: The file cannot be written, e.g. because the disk is full.
    """
    if not is_local(path):
        with explained(path, wanted=wanted), temporary_folder() as scratch:
            local = Path(scratch, path.name)
            _write(local, pieces)
            path.fs.put_file(str(local), path.path)
        return
    temporary = Path(f"{path.path}.tmp")
    try:
        with explained(path, wanted=wanted):
            _write(temporary, pieces)
            temporary.replace(path.path)
    except BaseException:
        # What is half there would fill the disk for the others.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def local_copy(path: UPath) -> Iterator[Path]:
    """A local path to read a file from: its own, or a copy that is removed after the block.

    Raises:
        FileNotFoundError: The file should be on an object store and does not exist.
    """
    if is_local(path):
        yield Path(path.path)
        return
    with temporary_folder() as scratch:
        local = Path(scratch, path.name)
        local.write_bytes(path.read_bytes())
        yield local


@contextmanager
def temporary_folder() -> Iterator[str]:
    """A folder in $TMPDIR for what does not fit into memory; it is removed after the block.

    Raises:
        StoreError: The folder cannot be made, or what is in it fills its disk.
    """
    folder = UPath(tempfile.gettempdir())
    with explained(folder, FOR_TMPDIR):
        temporary = tempfile.TemporaryDirectory()
    with temporary as path, explained(UPath(path), FOR_TMPDIR, only_full=True):
        yield path


FOR_TMPDIR = "Free disk space there, or set TMPDIR to a folder with more"


@contextmanager
def explained(
    path: UPath,
    remedy: str = "Free disk space",
    *,
    wanted: int | None = None,
    only_full: bool = False,
) -> Iterator[None]:
    """Turn the operating system's errors about a path into a message that says what to do.

    DuckDB, torch and others have errors of their own for a full disk; they are recognised as well.

    Args:
        path: The file or folder that is written.
        remedy: What to do if its disk is full.
        wanted: The bytes that are needed there; by default what is there shows the least.
        only_full: Let all errors pass except those about a full disk.

    Raises:
        StoreError: The file cannot be written, e.g. because the disk is full.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, SidAssetsError):
            raise
        if reason := why_full(error):
            raise StoreError(
                f"{path}: cannot be written: {reason}{_room(path)}. {_needed(path, wanted)}"
                "Nothing is lost: all tables are as before, and finished parts are reused. "
                f"{remedy}, then run again."
            ) from error
        if only_full or not isinstance(error, OSError):
            raise
        if not is_local(path):
            raise StoreError(
                f"{path}: cannot be read or written: {error}. {_CHECK_STORE}"
            ) from error
        raise StoreError(
            f"{path}: cannot be read or written: {error.strerror or error}{_room(path)}. The "
            "previous version is untouched. Free disk space or fix the permissions, then run "
            "again: finished parts are reused."
        ) from error


_CHECK_STORE = (
    "Nothing is lost: all tables are as before. Check that the bucket exists, and what its client "
    "finds in the environment: for S3 the endpoint (AWS_ENDPOINT_URL), the region, and credentials "
    "that may read and write there (AWS_PROFILE, AWS_ACCESS_KEY_ID, ...). Then run again: finished "
    "parts are reused."
)


_CHECK_DISK = (
    "Nothing is lost: all tables are as before. Check that its disk can be reached, then run "
    "again: finished parts are reused."
)


def store_trouble(error: BaseException) -> str:
    """What to tell of an error of an object store's client, which has types of its own; else ""."""
    if _is_of_client(error):
        return f"The object store cannot be used: {error}. {_CHECK_STORE}"
    return ""


def require_reachable(path: UPath, error: BaseException) -> None:
    """Tell what is missing or damaged from what an object store only does not show now.

    Args:
        path: The file that could not be read.
        error: What was raised.

    Raises:
        UnreachableError: The store was busy, could not be reached, or did not allow it.
    """
    is_missing = isinstance(error, FileNotFoundError)
    causes = [one for one in (error, error.__cause__) if one]
    # Clients do not wrap all errors of theirs, and a folder may be on another machine's disk.
    is_cut_off = any(isinstance(one, ConnectionError | TimeoutError) for one in causes)
    if not is_missing and (is_cut_off or any(map(_is_of_client, causes))):
        remedy = _CHECK_DISK if is_local(path) else _CHECK_STORE
        raise UnreachableError(f"{path}: cannot be read: {error}. {remedy}") from error


class UnreachableError(StoreError):
    """A file cannot be reached now, which says nothing about the file."""


def _is_of_client(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in ("botocore", "aiohttp")


_FULL = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]


def why_full(error: BaseException | None) -> str:
    """How the operating system says that a disk is full, if that caused an error; else ""."""
    while error is not None:
        if isinstance(error, OSError) and os.strerror(error.errno or 0) in _FULL:
            return os.strerror(error.errno or 0)
        text = str(error)
        if found := next((words for words in _FULL if words in text), ""):
            return found
        if any(words in text for words in _OWN_WORDS):
            return f"{_FULL[0]}: {text.splitlines()[0][:QUOTED]}"
        error = error.__cause__ or error.__context__
    return ""


_OWN_WORDS = ("max_temp_directory_size", "PytorchStreamWriter failed", "basic_ios::clear")
"""How DuckDB and torch say that a disk is full, if they do not quote the operating system."""


def _room(path: UPath) -> str:
    free = free_bytes(path)
    return "" if free is None else f" ({free / 1e9:,.2f} GB free there)"


QUOTED = 120
"""Characters of another program's message."""


def _needed(path: UPath, wanted: int | None) -> str:
    """How much is needed at a path, as a sentence."""
    if wanted is not None:
        return f"About {_size(wanted)} are needed there. "
    there = sum(
        folder_bytes(one) if one.is_dir() else one.stat().st_size
        for one in (path, path.with_name(f"{path.name}.tmp"))
        if is_local(path) and one.exists()
    )
    return f"More than the {_size(there)} written so far are needed there. " if there else ""


def _size(count: int) -> str:
    """A number of bytes for people."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:,.1f} {unit}"
    return f"{count} bytes"


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
