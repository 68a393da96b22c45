"""The files that a setting names: a file, a folder or a glob of parquet, CSV or JSON lines."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import fsspec
from upath import UPath

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.lakes import refuse_lakes
from sid_assets.core.inputs.listing import Partition, list_files, partition_of
from sid_assets.core.store.places import is_local, place

TableFormat = Literal["parquet", "csv", "tsv", "json"]

ENDINGS: dict[str, TableFormat] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
    ".json": "json",
    ".json.gz": "json",
    ".jsonl": "json",
    ".jsonl.gz": "json",
    ".ndjson": "json",
    ".ndjson.gz": "json",
}

_KNOWN = ", ".join(ENDINGS)

_COMPRESSED = re.compile(
    r".*(\.(?:parquet|csv|tsv|json|jsonl|ndjson))\.(?:gz|zst|bz2|xz|lz4|snappy|br|zip|7z)",
    re.DOTALL,
)
"""Names of tables in a compression that is not read; `.parquet.gz` among them."""

_ETAGS = ("ETag", "etag", "md5Hash", "content_md5")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class FileStamp:
    """Identifies the state of a file, to detect changes.

    Attributes:
        name: Absolute path or URL.
        size: In bytes.
        version: mtime in nanoseconds on a local disk; on other stores the ETag, else a time.
    """

    name: str
    size: int
    version: str


@dataclass(frozen=True)
class TableFiles:
    """The files of a table, sorted by name.

    Attributes:
        root: The location that the setting names.
        format: The format of all files.
        stamps: One for each file, sorted by name.
        partitions: One for each file: the columns that stand in the names of its folders below
            `root`, such as `category=books/split=0`. All files have the same columns in the same
            order; mostly there are none. A value is text, decoded; None is Hive's null.
        delimiter: What separates the values of a text file, if not what its name says. Values are
            never in quotes if it has several characters.
        header: The names of the columns of text files that have no header line.
    """

    root: UPath
    format: TableFormat
    stamps: tuple[FileStamp, ...]
    partitions: tuple[Partition, ...]
    delimiter: str = ""
    header: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Absolute paths or URLs."""
        return tuple(stamp.name for stamp in self.stamps)

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The names as the file system spells them: without the protocol of a URL."""
        return tuple(str(self.root.fs._strip_protocol(name)) for name in self.names)

    @property
    def filesystem(self) -> fsspec.AbstractFileSystem:
        """The file system of the files."""
        return self.root.fs

    @property
    def fingerprint(self) -> str:
        """Hash of all stamps, 16 hex digits; it changes if a file is added, removed or changed."""
        stamps: list[Any] = [(stamp.name, stamp.size, stamp.version) for stamp in self.stamps]
        if any(self.partitions):  # The same files below another root may have other columns.
            stamps.append([dict(partition) for partition in self.partitions])
        return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:16]

    @property
    def partition_columns(self) -> tuple[str, ...]:
        """The columns that stand in the names of folders."""
        return tuple(self.partitions[0])


def find_table_files(setting: str, otherwise: TableFormat | None = None) -> TableFiles:
    """Find the files.

    In a folder and its subfolders, these are the files with a known ending. `list_files` says what
    is skipped and how links are followed.

    Args:
        setting: A path or fsspec URL of a file, a folder or a glob.
        otherwise: The format of a file that is named directly, if its ending is unknown.

    Raises:
        InputError: There is no such file, the folder has none, an ending is unknown, there are
            several formats, a link is broken, files have different partition folders, or they
            belong to a Delta table or the like.
    """
    root = place(setting)
    root.fs.invalidate_cache()
    try:
        listing = list_files(root)
        refuse_lakes(root, listing)
        found = listing.files
        tables = _tables(found)
        _refuse_compressed(root, found.keys() - tables.keys(), set(tables.values()))
        if otherwise and not tables and root.path in found:
            tables[root.path] = otherwise
        stamps = tuple(_stamp(root, path, found[path]) for path in tables)
    except (OSError, ValueError) as error:  # ValueError: a pattern such as a**
        raise InputError(f"{setting}: cannot be accessed ({error}).") from error
    if not tables:
        raise _nothing_there(root, found)
    if len(set(tables.values())) > 1:
        raise _mixed(root, tables)
    partitions = tuple(partition_of(path, listing.base) for path in tables)
    _require_same_columns(stamps, partitions)
    return TableFiles(root, next(iter(tables.values())), stamps, partitions)


def fingerprint(setting: str) -> str:
    """Hash of the names, sizes and times or etags of the files that a setting names.

    Raises:
        InputError: See `find_table_files`.
    """
    return find_table_files(setting).fingerprint


def _tables(paths: Iterable[str]) -> dict[str, TableFormat]:
    """The paths with a known ending, sorted, each with the format of its ending."""
    return {
        path: kind
        for path in sorted(paths)
        for ending, kind in ENDINGS.items()
        if path.lower().endswith(ending)
    }


def _require_same_columns(stamps: tuple[FileStamp, ...], partitions: tuple[Partition, ...]) -> None:
    expected = list(partitions[0])
    for stamp, partition in zip(stamps, partitions, strict=True):
        if list(partition) != expected:
            raise InputError(
                f"{stamps[0].name} and {stamp.name} are not parts of one table: the folders of the "
                f"first name {_columns(expected)}, those of the second {_columns(partition)}. All "
                "files must have the same columns in the names of their folders, in the same "
                "order. Move the other files away, or name one kind with a glob."
            )


def _columns(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "no columns"


def _stamp(root: UPath, path: str, info: Mapping[str, Any]) -> FileStamp:
    if is_local(root):
        status = Path(path).stat()
        return FileStamp(path, status.st_size, str(status.st_mtime_ns))
    version = next((info[key] for key in (*_ETAGS, *_TIMES) if info.get(key)), "")
    return FileStamp(_name(root, path), info["size"] or 0, str(version))


def _name(root: UPath, path: str) -> str:
    return path if is_local(root) else root.fs.unstrip_protocol(path)


def _nothing_there(root: UPath, found: Iterable[str]) -> InputError:
    seen = ", ".join(_name(root, path) for path in sorted(found)[:3])
    what = f"found {seen}" if seen else "found no files"
    return InputError(
        f"{root}: no parquet, CSV or JSON lines here; {what}. Known endings: {_KNOWN}."
    )


def _refuse_compressed(root: UPath, others: Iterable[str], kinds: set[TableFormat]) -> None:
    """Raise InputError if a file that is not read is a part of the table in another compression.

    A download that lies beside its unpacked copy in another format is none.
    """
    compressed = [
        path
        for path in sorted(others)
        if (named := _COMPRESSED.fullmatch(path.lower())) and kinds <= {ENDINGS[named[1]]}
    ]
    if compressed:
        raise InputError(
            f"{_name(root, compressed[0])}: this compression is not read ({len(compressed):,} such "
            f"files). Decompress them, or write them with a known ending: {_KNOWN}."
        )


def _mixed(root: UPath, tables: dict[str, TableFormat]) -> InputError:
    first = {kind: path for path, kind in reversed(tables.items())}
    shown = ", ".join(f"{kind} ({_name(root, path)})" for kind, path in sorted(first.items()))
    return InputError(
        f"{root}: files of several formats: {shown}. Choose one, e.g. {root}/*.{min(first)}."
    )
