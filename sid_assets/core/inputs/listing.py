"""The files in a folder or behind a glob: links are followed, and no file is listed twice."""

import os
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fsspec.utils import glob_translate
from upath import UPath

from sid_assets.core.errors import InputError
from sid_assets.core.store.places import is_local

WILDCARDS = "*?["
RECURSIVE = "**"

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
"""The folder name that Hive and Spark give to rows without a value in the partition column."""

_PARTITION = re.compile(r"([^=]+)=(.*)", re.DOTALL)

Partition = Mapping[str, str | None]
"""The columns that stand in the names of a file's folders, in their order, and their values."""


@dataclass(frozen=True)
class Listing:
    """What a path stands for.

    Attributes:
        base: The folder that is read; of a glob, the folder below which its wildcards begin.
        files: Paths, each with what an object store reports about it.
        hidden: Files of an object store that were skipped for their names.
    """

    base: str
    files: Mapping[str, Mapping[str, Any]]
    hidden: tuple[str, ...] = ()


def list_files(root: UPath) -> Listing:
    """The files that a path stands for: itself, all files of a folder, or those of a glob.

    Files and folders whose names start with `.` or `_` are skipped: Spark and other programs keep
    notes in them. A partition folder such as `_column=1` is data.

    Raises:
        InputError: There is no such file or folder, or a link points to nothing.
        OSError: A folder cannot be read.
    """
    path = root.path
    if root.fs.isfile(path):
        return Listing(
            path.rpartition("/")[0], {path: {} if is_local(root) else root.fs.info(path)}
        )
    is_folder = root.fs.isdir(path)
    if not is_folder and not any(character in path for character in WILDCARDS):
        if is_local(root) and Path(path).is_symlink():
            raise _broken(path)
        raise InputError(f"{root}: no such file or folder.")
    if not is_local(root):
        return _list_store(root.fs, path, is_folder)
    base = path if is_folder else str(next(p for p in Path(path).parents if p.is_dir()))
    walk = _LocalWalk(base)
    pattern = _below(path, base)
    if is_folder:
        walk.read([base])
    elif RECURSIVE not in Path(pattern).parts:
        walk.read(sorted(map(str, Path(base).glob(pattern))))
    else:
        walk.read([base])
        matches = re.compile(glob_translate(pattern)).fullmatch
        walk.files = [
            file for file in walk.files if any(map(matches, _with_folders(_below(file, base))))
        ]
    return Listing(base, {file: {} for file in walk.files})


def partition_of(path: str, base: str) -> Partition:
    """The columns in the names of the folders below `base` in which a file lies.

    The names are `column=value`, as Hive and Spark write them. Both are decoded as URLs are: Spark
    writes `a/b` as `a%2Fb`.

    Raises:
        InputError: Two folders have the same column.
    """
    columns: dict[str, str | None] = {}
    for folder in Path(_below(path, base)).parts[:-1]:
        if found := _PARTITION.fullmatch(folder):
            column, value = map(unquote, found.groups())
            if column in columns:
                raise InputError(f"{path}: two of its folders give the column {column!r} a value.")
            columns[column] = None if value == NULL_PARTITION else value
    return columns


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is skipped."""
    return name.startswith(".") or (name.startswith("_") and not _PARTITION.fullmatch(name))


class _LocalWalk:
    """Reads local folders, and follows links.

    What is found under its own name comes first. Links follow; those to a folder that has been read
    already, or in which the link itself lies, are left out.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.files: list[str] = []
        real = Path(os.path.realpath(base))
        self._folders = {str(folder) for folder in (real, *real.parents)}  # cycles lead there
        self._known: set[tuple[Any, ...]] = set()
        self._links: deque[str] = deque()

    def read(self, paths: Iterable[str]) -> None:
        """List files and folders, and then what their links point to."""
        for path in paths:
            if _in_hidden(path, self.base):
                continue
            if path != self.base and Path(path).is_symlink():
                self._links.append(path)
            else:
                self._add(path)
        while self._links:
            link = self._links.popleft()
            if not Path(link).exists():
                raise _broken(link)
            self._add(link)

    def _add(self, path: str) -> None:
        if not Path(path).is_dir():
            if Path(path).is_file():
                self._add_file(path, Path(path).stat())
            return
        folders = [(path, os.path.realpath(path))]
        while folders:
            folder, real = folders.pop()
            if real in self._folders and folder != self.base:
                continue
            self._folders.add(real)
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if is_hidden(entry.name):
                        continue
                    if entry.is_symlink():
                        self._links.append(entry.path)
                    elif entry.is_dir():
                        folders.append((entry.path, f"{real}/{entry.name}"))
                    elif entry.is_file():
                        self._add_file(entry.path, entry.stat())

    def _add_file(self, path: str, status: os.stat_result) -> None:
        """Hard links count as one file, unless their folders give them different columns.

        So do a link and a file of another ending, which decides whether it is read: the Hugging
        Face cache has `a.parquet` beside the blob that it points to. Size and time are compared
        because some network file systems give all files the same number.
        """
        partition = tuple(partition_of(path, self.base).items())
        ending = Path(path).suffix.lower()
        state = (status.st_size, status.st_mtime_ns)
        identity = (status.st_dev, status.st_ino, *state, ending, partition)
        if identity not in self._known:
            self._known.add(identity)
            self.files.append(path)


def _list_store(filesystem: Any, path: str, is_folder: bool) -> Listing:
    """Files of an object store, which has no links."""
    found: dict[str, Any] = {}
    if is_folder:
        base = path
        found = filesystem.find(path, detail=True)
    else:
        first = min(path.index(character) for character in WILDCARDS if character in path)
        base = path[:first].rpartition("/")[0]
        for match, info in filesystem.glob(path, detail=True).items():
            inside = info["type"] == "directory"
            found |= filesystem.find(match, detail=True) if inside else {match: info}
    hidden = tuple(path for path in found if _in_hidden(path, base))
    skipped = set(hidden)
    return Listing(base, {p: info for p, info in found.items() if p not in skipped}, hidden)


def _below(path: str, base: str) -> str:
    return path[len(base) :].lstrip("/")


def _in_hidden(path: str, base: str) -> bool:
    return any(map(is_hidden, Path(_below(path, base)).parts))


def _with_folders(path: str) -> list[str]:
    """A relative path, and those of the folders in which it lies."""
    return [path, *map(str, Path(path).parents[:-1])]


def _broken(link: str) -> InputError:
    return InputError(
        f"{link}: a link to {Path(link).readlink()}, which does not exist or cannot be reached. "
        "Mount or restore it, or remove the link."
    )
