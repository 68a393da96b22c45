"""The store: all tables below one folder or URL. A version appears at once or not at all.

Every version of a table is a folder of its own, `.versions/<table>/<id>/`, with its part files
and a manifest. Locally `.versions/<table>/current` is a symlink to the one that readers see,
replaced in one step, and `<table>.parquet` leads there; on an object store, which has no rename, a
small pointer object is written last. The version before is kept until the next commit, so that a
reader is not cut off.
"""

import datetime as dt
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import filelock
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.schema import table_named
from sid_assets.core.store.draft import STATE, Draft, UnfinishedRun
from sid_assets.core.store.parts import Part
from sid_assets.core.store.places import explained, is_local, place, remove_folder, sync_folder
from sid_assets.core.store.versions import (
    Version,
    how_to_make_afresh,
    read_version,
    write_manifest,
)

VERSIONS = ".versions"
CURRENT = "current"

_FOLDER_NAME = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")
"""Of a version, or of a draft."""


class Store:
    """All tables below one folder or URL, each in versions."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Nothing is read or written yet.

        Args:
            root: A local folder or any fsspec URL.
        """
        self.root = place(root)

    def path(self, table: str) -> UPath:
        """Where readers find the current version, e.g. `<root>/codes.parquet`."""
        return self.root / f"{table}{table_named(table).suffix}"

    def history(self, table: str) -> UPath:
        """The folder that holds all versions of a table."""
        return self.root / VERSIONS / table

    def current(self, table: str) -> Version | None:
        """The version readers see; None where there is none yet.

        Raises:
            StoreError: What is there was not made by this package, or its manifest is damaged.
        """
        link = Path(self.path(table).path)
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
                f"{pointer}: is damaged ({error}). {how_to_make_afresh(pointer.parent)}"
            ) from error

    def require(self, table: str) -> Version:
        """The version readers see.

        Raises:
            StoreError: There is none.
        """
        version = self.current(table)
        if version is None:
            raise StoreError(f"{self.path(table)}: is not there yet. Materialise {table} first.")
        return version

    def draft(self, table: str) -> Draft:
        """A draft of a table, and the right to write the table until the draft is closed.

        The right also ends with the process, however that ends.

        Raises:
            StoreError: Another process is making a version of this table.
        """
        with ExitStack() as right:
            right.enter_context(self.lock(table))
            return Draft(table, self.history(table), self.unfinished(table), right.pop_all())

    @contextmanager
    def lock(self, table: str) -> Iterator[None]:
        """The right to write a table, until the end of the block or of the process.

        Object stores have no locks: there the run queue has to ensure it (`max_concurrent_runs: 1`
        in dagster.yaml).

        Raises:
            StoreError: Another process has it.
        """
        if not is_local(self.root):
            yield
            return
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
        try:
            yield
        finally:
            lock.release()

    def unfinished(self, table: str) -> list[UnfinishedRun]:
        """What runs left that ended before their version was shown, latest first.

        A run that was killed during its commit may have left a manifest; it is still unfinished.
        """
        found = []
        for folder in reversed(self.leftovers(table)):
            with suppress(OSError, ValueError):  # without its state it is of no use
                found.append(UnfinishedRun(folder, json.loads((folder / STATE).read_text())))
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
        folders = (path for path in versions.rglob("*") if _FOLDER_NAME.fullmatch(path.name))
        histories = {folder.parent.path for folder in folders}
        return sorted(os.path.relpath(history, versions.path) for history in histories)

    def commit(self, draft: Draft) -> Version:
        """Make a finished draft the version that readers see, in one step, and close it.

        Older versions than the one before, and what unfinished runs left, are removed. The draft is
        closed in any case.

        Raises:
            StoreError: A part is not as its summary says, the place cannot be written, or the draft
                was closed before.
        """
        if draft.is_closed:
            raise StoreError(f"{self.path(draft.table)}: its draft was closed before. Run again.")
        try:
            _require_whole(draft.folder, draft.parts)
            before = self.current(draft.table)
            version = replace(
                draft.as_version(),
                created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                before=before.folder.name if before else "",
            )
            with explained(draft.folder):
                _remove_strays(draft.folder, draft.parts)
                write_manifest(version)
                sync_folder(draft.folder)
                self._show(version, draft.table)
            for other in self.leftovers(draft.table):
                remove_folder(other)
        finally:
            draft.close()
        return version

    def _show(self, version: Version, table: str) -> None:
        if not is_local(self.root):
            self._pointer(table).write_text(json.dumps({"version": version.folder.name}))
            return
        current = Path(self.history(table).path, CURRENT)
        visible = Path(self.path(table).path)
        in_parts = table_named(table).layout == "parts"
        target = current if in_parts else current / version.parts[0].name
        _link(visible, os.path.relpath(target, visible.parent))
        _link(current, version.folder.name)

    def forget(self, table: str) -> None:
        """Make the table one that was never committed. Its files stay."""
        if not is_local(self.root):
            self._pointer(table).unlink(missing_ok=True)
            return
        Path(self.path(table).path).unlink(missing_ok=True)
        Path(self.history(table).path, CURRENT).unlink(missing_ok=True)

    def _pointer(self, table: str) -> UPath:
        return self.history(table) / "current.json"


def _folders(history: UPath) -> list[UPath]:
    """The folders of versions and drafts, oldest first."""
    if not history.exists():
        return []
    found = [path for path in history.iterdir() if _FOLDER_NAME.fullmatch(path.name)]
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
