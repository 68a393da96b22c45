"""Versions of tables on disk: a version appears at once or not at all.

Every version of a table is a folder of its own, `.versions/<table>/<id>/`, with its part files
and a manifest. Locally `.versions/<table>/current` is a symlink to the one that readers see,
replaced in one step, and `<table>.parquet` leads there; on an object store, which has no rename, a
small pointer object is written last. The version before is kept until the next commit, so that a
reader is not cut off.
"""

import dataclasses
import datetime as dt
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import filelock
import pyarrow as pa
import pyarrow.dataset as pads
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.schema import PidType
from sid_assets.core.store.parts import VECTOR_ROW_GROUP, Part, read_footer, read_part
from sid_assets.core.store.places import (
    arrow_filesystem,
    explained,
    is_local,
    place,
    remove_folder,
    sync_folder,
    write_text,
)
from sid_assets.core.store.provenance import Provenance

MANIFEST = "_manifest.json"
STAGING = "_staging.json"
VERSIONS = ".versions"
CURRENT = "current"

_VERSION_NAME = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")


@dataclass(frozen=True)
class Version:
    """A committed version of a table, or of a single file.

    Attributes:
        folder: Where its files are.
        provenance: Where it comes from; `provenance.version` identifies its content.
        created: When it was committed (UTC, ISO 8601).
        parts: Its files, in the order of their rows.
        before: Name of the folder of the version before ("" where there is none).
    """

    folder: UPath
    provenance: Provenance
    created: str
    parts: tuple[Part, ...]
    before: str = ""

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Size of all parts."""
        return sum(part.bytes for part in self.parts)

    @property
    def pid_type(self) -> PidType:
        """`int` or `string`, by what the manifest says; no file is read."""
        return "string" if isinstance(self.parts[0].first_pid, str) else "int"

    @property
    def paths(self) -> list[UPath]:
        """The files, in the order of their rows."""
        return [self.folder / part.name for part in self.parts]

    def previous(self) -> "Version | None":
        """The version before, as long as it is kept."""
        folder = self.folder.parent / self.before
        return read_version(folder) if self.before and folder.exists() else None

    def schema(self) -> pa.Schema:
        """Columns as the first part has them, and the provenance with the version.

        Raises:
            StoreError: The part is missing or damaged.
        """
        footer = read_footer(self.paths[0], self.parts[0])
        return self.provenance.attach(footer.schema.to_arrow_schema())

    def stream(
        self, columns: Sequence[str] | None = None, batch_rows: int = VECTOR_ROW_GROUP
    ) -> pa.RecordBatchReader:
        """The rows in their order, a batch at a time; memory does not grow with their number.

        Raises:
            StoreError: When it comes to a part that is missing, damaged, or of other columns.
        """
        schema = self.schema()
        if columns:
            narrow = pa.schema([schema.field(name) for name in columns])
            schema = narrow.with_metadata(schema.metadata)
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema, batch_rows))

    def _batches(self, schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        for part in self.parts:
            for batch in read_part(self.folder, part, schema.names, batch_rows):
                try:
                    yield batch.cast(schema)
                except (pa.ArrowException, ValueError) as error:
                    raise StoreError(
                        f"{self.folder / part.name}: its columns are not the table's ({error}). "
                        "Materialise its asset again."
                    ) from error

    def dataset(self) -> pads.Dataset:
        """The rows as a pyarrow data set, for filters and for engines that read those."""
        paths = [path.path for path in self.paths]
        return pads.dataset(
            paths, schema=self.schema(), filesystem=arrow_filesystem(self.folder), format="parquet"
        )


@dataclass(frozen=True)
class Staging:
    """A folder in which a version is being made. It is no version until it is committed.

    As a context manager it closes itself; what is staged stays for the next run with its key.

    Attributes:
        table: The table, by its asset key ("goods/codes").
        folder: Where part files go.
        state: What its maker wants to find again when it goes on after a crash (JSON).
        lock: Keeps other processes from making a version of the same table.
    """

    table: str
    folder: UPath
    state: dict
    lock: filelock.FileLock | None = None

    def close(self) -> None:
        """Let others make versions of this table."""
        if self.lock:
            self.lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass(frozen=True)
class StagedTable:
    """A version that is made and waits for its commit: parts that workers wrote, not rows.

    Attributes:
        staging: Where the parts are.
        parts: Their summaries, in the order of their rows.
        provenance: Where the rows come from.
    """

    staging: Staging
    parts: tuple[Part, ...]
    provenance: Provenance

    def with_details(self, details: dict[str, Any]) -> "StagedTable":
        """The same, saying more of where the rows come from."""
        more = replace(self.provenance, details={**self.provenance.details, **details})
        return replace(self, provenance=more)

    def as_version(self) -> Version:
        """What will be committed, to read it before."""
        provenance = replace(self.provenance, version=_content_version(self.parts))
        return Version(self.staging.folder, provenance, created="", parts=self.parts)


class Store:
    """The versions of all tables below one folder or URL."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Nothing is read or written yet.

        Args:
            root: A local folder or any fsspec URL.
        """
        self.root = place(root)

    def path(self, table: str, suffix: str = ".parquet") -> UPath:
        """Where readers find the current version: `<root>/<table>.parquet`."""
        return self.root / f"{table}{suffix}"

    def history(self, table: str) -> UPath:
        """The folder that holds all versions of a table."""
        return self.root / VERSIONS / table

    def current(self, table: str, suffix: str = ".parquet") -> Version | None:
        """The version readers see; None where there is none yet.

        Raises:
            StoreError: What is there was not made by this package, or its manifest is damaged.
        """
        link = Path(self.path(table, suffix).path)
        if is_local(self.root) and link.exists() and not link.is_symlink():
            raise StoreError(
                f"{link}: is there, but was not made by sid_assets, which keeps a symlink at "
                "this place. Move it away, or set SID_DATA_DIR to another folder."
            )
        name = self._current_name(table)
        return read_version(self.history(table) / name) if name else None

    def _current_name(self, table: str) -> str:
        """Name of the folder that readers see; "" where there is none."""
        if is_local(self.root):
            link = Path(self.history(table).path, CURRENT)
            return str(link.readlink()) if link.is_symlink() else ""
        pointer = self._pointer(table)
        try:
            return json.loads(pointer.read_text())["version"] if pointer.exists() else ""
        except (ValueError, KeyError) as error:
            raise StoreError(
                f"{pointer}: is damaged ({error}). {_afresh(pointer.parent)}"
            ) from error

    def require(self, table: str, suffix: str = ".parquet") -> Version:
        """The version readers see.

        Raises:
            StoreError: There is none.
        """
        version = self.current(table, suffix)
        if version is None:
            raise StoreError(
                f"{self.path(table, suffix)}: is not there yet. Materialise {table} first."
            )
        return version

    def stage(
        self,
        table: str,
        key: str = "",
        make_state: Callable[[], dict] = dict,
        *,
        locked: bool = False,
    ) -> Staging:
        """A folder to make a version in, and the right to be the only one who makes it.

        The lock falls when the staging is closed or its process ends, however it ends. Object
        stores know no locks: there the run queue has to see to it (`max_concurrent_runs: 1` in
        dagster.yaml).

        Args:
            table: The table, by its asset key.
            key: Names the work. A folder that an unfinished run left for the same work is handed
                out again, with what is in it. Without a key the folder is new.
            make_state: Called for what is kept with a new folder, and found again with an old one.
            locked: Whether the caller holds the lock, and keeps it when the staging is closed.

        Raises:
            StoreError: Another process is making a version of this table.
        """
        lock = None if locked else self.lock(table)
        try:
            for found in self.unfinished(table) if key else ():
                if found.state.get("key") == key:
                    return replace(found, lock=lock)
            moment = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S")
            folder = self.history(table) / f"{moment}-{secrets.token_hex(4)}"
            state = {"key": key, **make_state()}
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
                sync_folder(folder.parent)
                write_json(folder / STAGING, state)
        except BaseException:
            if lock:
                lock.release()
            raise
        return Staging(table, folder, state, lock)

    def lock(self, table: str) -> filelock.FileLock | None:
        """The right to write a table, held until it is released or the process ends.

        None on an object store, which knows no locks.

        Raises:
            StoreError: Another process has it.
        """
        if not is_local(self.root):
            return None
        history = self.history(table)
        with explained(history):
            history.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(Path(history.path) / ".lock", thread_local=False)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout as error:
                raise StoreError(
                    f"{self.path(table)}: another run is writing it. Wait until that run has "
                    "ended, or end it, and run again."
                ) from error
        return lock

    def unfinished(self, table: str) -> list[Staging]:
        """The folders of runs whose version readers never saw, latest first.

        A run that was killed in its commit may have left a manifest: it is unfinished all the same.
        """
        found = []
        for folder in reversed(self.leftovers(table)):
            with suppress(OSError, ValueError):  # without its state it is of no use
                found.append(Staging(table, folder, json.loads((folder / STAGING).read_text())))
        return found

    def leftovers(self, table: str) -> list[UPath]:
        """The folders that are neither the current version nor the one before, oldest first."""
        folders = _folders(self.history(table))
        current = self._current_name(table)
        if not folders or not current:
            return folders
        before = read_version(self.history(table) / current).before
        return [folder for folder in folders if folder.name not in (current, before)]

    def tables(self) -> list[str]:
        """The asset keys of all tables that have a version, or are getting one."""
        versions = self.root / VERSIONS
        if not versions.exists():
            return []
        folders = (path for path in versions.rglob("*") if _VERSION_NAME.fullmatch(path.name))
        histories = {folder.parent.path for folder in folders}
        return sorted(os.path.relpath(history, versions.path) for history in histories)

    def commit(
        self,
        staging: Staging,
        parts: Sequence[Part],
        provenance: Provenance,
        layout: str = "parts",
        suffix: str = ".parquet",
    ) -> Version:
        """Make a staged folder the version that readers see, in one step.

        Older versions than the one before, and what unfinished runs left, are removed.

        Args:
            staging: The folder.
            parts: Its files, in the order of their rows; each is there and whole.
            provenance: Where the rows come from.
            layout: `parts`: readers see a folder; `file`: they see its only file.
            suffix: Ending of the name that readers see.

        Raises:
            StoreError: A part is not as its summary says, or the place cannot be written.
        """
        table, folder = staging.table, staging.folder
        _require_whole(folder, parts)
        before = self.current(table, suffix)
        version = Version(
            folder=folder,
            provenance=replace(provenance, version=_content_version(parts)),
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            parts=tuple(parts),
            before=before.folder.name if before else "",
        )
        with explained(folder):
            _remove_strays(folder, parts)
            write_json(folder / MANIFEST, _to_json(version))
            sync_folder(folder)
            self._show(version, table, layout, suffix)
        for other in self.leftovers(table):
            remove_folder(other)
        return version

    def _show(self, version: Version, table: str, layout: str, suffix: str) -> None:
        if not is_local(self.root):
            self._pointer(table).write_text(json.dumps({"version": version.folder.name}))
            return
        current = Path(self.history(table).path, CURRENT)
        visible = Path(self.path(table, suffix).path)
        target = current if layout == "parts" else current / version.parts[0].name
        _link(visible, os.path.relpath(target, visible.parent))
        _link(current, version.folder.name)

    def forget(self, table: str, suffix: str = ".parquet") -> None:
        """Make the table one that was never committed. Its files stay."""
        if not is_local(self.root):
            self._pointer(table).unlink(missing_ok=True)
            return
        Path(self.path(table, suffix).path).unlink(missing_ok=True)
        Path(self.history(table).path, CURRENT).unlink(missing_ok=True)

    def _pointer(self, table: str) -> UPath:
        return self.history(table) / "current.json"


def read_version(folder: UPath) -> Version:
    """Read the manifest of a committed version.

    Raises:
        StoreError: There is none, or it is damaged.
        InputError: A newer version of this package wrote it.
    """
    manifest = folder / MANIFEST
    try:
        fields = json.loads(manifest.read_text())
        return Version(
            folder=folder,
            provenance=Provenance.from_json(json.dumps(fields["provenance"]), manifest),
            created=fields["created"],
            parts=tuple(Part(**part) for part in fields["parts"]),
            before=fields["before"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{manifest}: cannot be read ({error}). {_afresh(folder.parent)}"
        ) from error


def write_json(path: UPath, value: object) -> None:
    """Write a small JSON file whole or not at all.

    Raises:
        StoreError: The disk is full, the folder cannot be written, or the like.
    """
    write_text(path, json.dumps(value))


def _to_json(version: Version) -> dict:
    return {
        "created": version.created,
        "before": version.before,
        "provenance": json.loads(version.provenance.to_json()),
        "parts": [dataclasses.asdict(part) for part in version.parts],
    }


def _content_version(parts: Sequence[Part]) -> str:
    digests = "".join(part.digest for part in parts)
    return hashlib.sha256(digests.encode()).hexdigest()[:16]


def _folders(history: UPath) -> list[UPath]:
    """The folders of versions, finished or not, oldest first."""
    if not history.exists():
        return []
    found = [path for path in history.iterdir() if _VERSION_NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name)


def _require_whole(folder: UPath, parts: Sequence[Part]) -> None:
    """Refuse to commit parts that are not as their summaries say, or not in order.

    Raises:
        StoreError: Names the part.
    """
    for part in parts:
        path = folder / part.name
        if not path.exists() or path.stat().st_size != part.bytes:
            raise StoreError(f"{path}: has changed since it was written. Run again.")
    with_pids = [part for part in parts if part.first_pid is not None]
    for earlier, later in pairwise(with_pids):
        if not earlier.last_pid < later.first_pid:
            raise StoreError(
                f"{folder / later.name}: starts at pid {later.first_pid!r}, and the part before "
                f"ends at {earlier.last_pid!r}. Run again."
            )


def _remove_strays(folder: UPath, parts: Sequence[Part]) -> None:
    """Remove what readers of the folder would take for parts: files that a killed run left."""
    names = {part.name for part in parts}
    for path in list(folder.iterdir()):
        if path.name not in names and not path.name.startswith("_"):
            path.unlink()


def _link(link: Path, target: str) -> None:
    """Make a symlink lead to a target, in one step."""
    if link.is_symlink() and str(link.readlink()) == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)  # of a run that was killed here
    fresh.symlink_to(target)
    fresh.replace(link)
    sync_folder(UPath(link.parent))


def _afresh(history: UPath) -> str:
    return f"Restore it from a backup, or move {history} away: the next run makes the table afresh."
