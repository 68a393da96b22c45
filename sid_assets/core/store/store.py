"""The store: all tables below one folder or URL. A version appears at once or not at all.

Each version of a table has its own folder, `.versions/<table>/<id>/`, with its part files and a
manifest. Locally, `.versions/<table>/current` is a symlink to the version that readers see. It is
replaced in one step, and `<table>.parquet` points to it. An object store has no rename, so a small
pointer object is written last. The previous version is kept until the next commit, so that running
readers can finish.
"""

import datetime as dt
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import filelock
from upath import UPath

from sid_assets.core.errors import SidAssetsError, StoreError
from sid_assets.core.schema import table_named
from sid_assets.core.store.conditional import ConflictError, read_object, replace_object
from sid_assets.core.store.draft import STATE, Claim, Draft, UnfinishedRun
from sid_assets.core.store.lease import Lease, LeaseLostError, leased
from sid_assets.core.store.parts import Part
from sid_assets.core.store.places import (
    UnreachableError,
    explained,
    is_local,
    place,
    require_reachable,
    sync_folder,
)
from sid_assets.core.store.sharing import has_only_shared_parts, remove_unshared
from sid_assets.core.store.versions import (
    FOLDER_NAME,
    MANIFEST,
    Version,
    how_to_restore,
    read_version,
    write_manifest,
)

VERSIONS = ".versions"
CURRENT = "current"

REQUESTS = 16
"""How many files are looked at, at the same time."""

LEASE = ".lease.json"

REMOVED = b"removed"
"""The state of a draft that is being removed. It cannot be resumed."""

COMMITTED = ".committed"
"""In the folder of all versions, from the first commit on. It tells a pointer that was lost from a
first commit that was killed."""


class Store:
    """All tables below one folder or URL, each in versions."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Nothing is read or written yet.

        Args:
            root: A local folder or any fsspec URL.
        """
        self.root = place(root)

    def path(self, table: str) -> UPath:
        """Where readers find the current version, e.g. `<root>/pid2sid.parquet`.

        On an object store there is nothing at this path if the table has parts.
        """
        return self.root / f"{table}{table_named(table).suffix}"

    def opened_at(self, version: Version) -> UPath:
        """What readers can open of a current version: its path, or else its manifest."""
        table = version.provenance.asset
        if is_local(self.root) or table_named(table).layout != "parts":
            return self.path(table)
        return version.folder / MANIFEST

    def history(self, table: str) -> UPath:
        """The folder that holds all versions of a table."""
        return self.root / VERSIONS / table

    def current(self, table: str) -> Version | None:
        """The version that readers see; None if there is none yet.

        Raises:
            StoreError: The file there was not made by this package, or the manifest is damaged.
        """
        link = Path(self.path(table).path)
        if is_local(self.root) and link.exists() and not link.is_symlink():
            raise StoreError(
                f"{link}: exists, but was not made by sid_assets, which keeps a symlink at this "
                "path. If the data folder is a copy, copy it again with its symlinks (`cp -a`, "
                "`rsync -a`, `tar`). Otherwise set SID_DATA_DIR to another folder."
            )
        name = self._current_name(table)
        return read_version(self.history(table) / name) if name else None

    def _current_name(self, table: str) -> str:
        """Name of the folder that readers see; "" if there is none.

        Raises:
            StoreError: What names it is damaged or lost.
        """
        if is_local(self.root):
            pointer = self.history(table) / CURRENT
            link = Path(pointer.path)
            if link.exists() and not link.is_symlink():
                raise StoreError(
                    f"{link}: is not a symlink. If the data folder is a copy, copy it again with "
                    "its symlinks (`cp -a`, `rsync -a`, `tar`)."
                )
            name: Any = str(link.readlink()) if link.is_symlink() else ""
        else:
            pointer = self._pointer(table)
            name = _name_in(pointer)
        if name == "" and (self.history(table) / COMMITTED).exists():
            raise StoreError(
                f"{pointer}: is lost, although {table} has been committed. If the data folder is a "
                f"copy, copy it again with its symlinks (`cp -a`, `rsync -a`, `tar`). If not: "
                f"{_how_to_point(pointer)}"
            )
        if name == "" or (isinstance(name, str) and FOLDER_NAME.fullmatch(name)):
            return name
        raise StoreError(
            f"{pointer}: is damaged, because it names no version of {table}. "
            f"{_how_to_point(pointer)}"
        )

    def require(self, table: str) -> Version:
        """The version that readers see.

        Raises:
            StoreError: There is none.
        """
        version = self.current(table)
        if version is None:
            raise StoreError(f"{self.path(table)}: does not exist yet. Materialise {table} first.")
        return version

    def draft(self, table: str) -> Draft:
        """A draft of a table, which holds the table's write lock until it is closed.

        The lock is also released when the process ends, however it ends.

        Raises:
            StoreError: Another process is writing this table.
        """
        history = self.history(table)
        with ExitStack() as right:
            lease = right.enter_context(self.lock(table))
            claim = Claim(lease, read_object(self._pointer(table))) if lease else None
            return Draft(table, history, self.unfinished(table), right.pop_all(), claim)

    @contextmanager
    def lock(self, table: str) -> Iterator[Lease | None]:
        """Hold the write lock of a table until the block or the process ends.

        On an object store the lock is a lease. If the process that has it was killed on another
        machine, this waits until the lease has lapsed.

        Raises:
            StoreError: Another process holds the lock.
        """
        history = self.history(table)
        if not is_local(self.root):
            with explained(history), leased(history / LEASE, self.path(table)) as lease:
                yield lease
            return
        with explained(history):
            history.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(Path(history.path) / ".lock", thread_local=False)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout as error:
                raise StoreError(
                    f"{self.path(table)}: another run is writing it. Wait until that run has "
                    "ended, or stop it, then run again."
                ) from error
        try:
            yield
        finally:
            lock.release()

    def unfinished(self, table: str) -> list[UnfinishedRun]:
        """The drafts of runs that ended before their commit, latest first.

        A run that was killed during its commit may have left a manifest; its draft still counts.
        """
        found = []
        for folder in reversed(self.leftovers(table)):
            try:
                found.append(UnfinishedRun.read(folder))
            except (OSError, ValueError) as error:  # without its state it cannot be resumed
                require_reachable(folder / STATE, error)
        return found

    def leftovers(self, table: str) -> list[UPath]:
        """The folders that hold neither the current nor the previous version, oldest first.

        A folder with nothing but parts that these two refer to is left out.
        """
        folders = _folders(self.history(table))
        name = self._current_name(table)
        if not folders or not name:
            return folders
        current = read_version(self.history(table) / name)
        others = [folder for folder in folders if folder.name not in (name, current.before)]
        kept = [current, *_readable_previous(current)]
        return [folder for folder in others if not has_only_shared_parts(folder, kept)]

    def tables(self) -> list[str]:
        """The asset keys of all tables that have a version or a draft."""
        versions = self.root / VERSIONS
        if not versions.exists():
            return []
        folders = (path for path in versions.rglob("*") if FOLDER_NAME.fullmatch(path.name))
        histories = {folder.parent.path for folder in folders}
        return sorted(os.path.relpath(history, versions.path) for history in histories)

    def commit(self, draft: Draft) -> Version:
        """Make a finished draft the version that readers see, in one step, and close it.

        Versions older than the previous one, and the drafts of unfinished runs, are removed, except
        for parts that the new or the previous version shares. The draft is closed in any case.

        Raises:
            StoreError: A part does not match its summary, the folder cannot be written, or the
                draft is not finished or is already closed.
        """
        if draft.is_closed:
            raise StoreError(f"{self.path(draft.table)}: its draft is already closed. Run again.")
        try:
            if not draft.is_finished:
                raise StoreError(f"{self.path(draft.table)}: its draft is not finished. Run again.")
            if draft.claim:
                with explained(draft.folder):
                    draft.claim.lease.require_held()
            _require_whole(draft.folder, draft.parts)
            before = self.current(draft.table)
            if draft.claim and before is None:
                self._require_free_name(draft.table)
            version = replace(
                draft.as_version(),
                created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                before=before.folder.name if before else "",
            )
            with explained(draft.folder):
                _remove_strays(draft.folder, draft.parts)
                write_manifest(version)
                sync_folder(draft.folder)
                self._show(version, draft)
            with self._committed(draft.table):
                (self.history(draft.table) / COMMITTED).touch()
                self._show_by_name(draft.table)
                kept = [version, *([before] if before else [])]
                lease = draft.claim.lease if draft.claim else None
                with suppress(LeaseLostError):  # then the commit of the other run clears up
                    self._clear(self.leftovers(draft.table), kept, lease)
        finally:
            draft.close()
        return version

    @contextmanager
    def _committed(self, table: str) -> Iterator[None]:
        """Tell of a failure after a commit that the new version is the current one.

        Raises:
            StoreError: What follows a commit failed.
        """
        try:
            yield
        except (OSError, UnreachableError) as error:
            raise StoreError(
                f"{self.path(table)}: the new version is committed, but clearing up after it "
                f"failed: {error}. Nothing is lost. Run again once the cause is mended; until "
                "then, a file at the table's own name in a bucket may be that of the version "
                "before."
            ) from error

    @staticmethod
    def _clear(folders: Iterable[UPath], kept: Sequence[Version], lease: Lease | None) -> None:
        """Remove folders but for what the versions to keep refer to.

        On an object store this process may have been cut off since it listed the folders, and
        another run may write the table. Then nothing is removed that the other run has begun: the
        lease is looked at after the listing. And nothing that it has resumed: that run and this
        one both write the state of a folder, on the condition that it is as it was listed.

        Raises:
            LeaseLostError: Another run has taken the lease.
        """
        if lease is None:
            for folder in folders:
                remove_unshared(folder, kept)
            return
        listed = [(folder, read_object(folder / STATE)) for folder in folders]
        lease.require_held()
        for folder, seen in listed:
            with suppress(ConflictError):
                if seen.content is not None:
                    replace_object(folder / STATE, REMOVED, seen)
                remove_unshared(folder, kept)

    def _show(self, version: Version, draft: Draft) -> None:
        table = draft.table
        if draft.claim:
            content = json.dumps({"version": version.folder.name}).encode()
            try:
                replace_object(self._pointer(table), content, draft.claim.pointer)
            except ConflictError as error:
                raise StoreError(
                    f"{self.path(table)}: another run has committed it since this run began. "
                    "Nothing is lost: that version is the current one. Run again."
                ) from error
            return
        current = Path(self.history(table).path, CURRENT)
        visible = Path(self.path(table).path)
        in_parts = table_named(table).layout == "parts"
        target = current if in_parts else current / version.parts[0].name
        _link(visible, os.path.relpath(target, visible.parent))
        _link(current, version.folder.name)

    def _require_free_name(self, table: str) -> None:
        """Refuse to replace an object that others made, which a first commit would do.

        Raises:
            StoreError: There is one.
        """
        if table_named(table).layout != "parts" and self.path(table).exists():
            raise StoreError(
                f"{self.path(table)}: exists, but was not made by sid_assets. Remove it, or set "
                "SID_DATA_DIR to another folder."
            )

    def _show_by_name(self, table: str) -> None:
        """On an object store, put a table of one file at its path too, for readers of files."""
        if not is_local(self.root) and table_named(table).layout != "parts":
            self._copy_current(table, lambda version: version.paths[0], self.path(table))

    def _copy_current(self, table: str, file_of: Callable[[Version], UPath], path: UPath) -> None:
        """Copy a file of the current version, which may change before the copy is there."""
        while True:
            version = self.require(table)
            with suppress(FileNotFoundError):  # a later commit has removed it
                path.fs.copy(file_of(version).path, path.path)
            if self._current_name(table) == version.folder.name:
                return

    def show_beside(self, table: str, path: UPath) -> None:
        """Let readers find a file that is kept with the current version of a table.

        Locally this is a symlink, so that the file changes together with the table.

        Args:
            table: The table. The folder of its version holds the file, its name after a `_`.
            path: Where readers find it, below the root.

        Raises:
            StoreError: The folder cannot be written.
        """
        kept = f"_{path.name}"
        with explained(path):
            if is_local(self.root):
                target = Path(self.history(table).path, CURRENT, kept)
                _link(Path(path.path), os.path.relpath(target, Path(path.path).parent))
            else:
                self._copy_current(table, lambda version: version.folder / kept, path)

    def forget(self, table: str) -> None:
        """Hide the table from readers, as before its first commit. Its files stay."""
        (self.history(table) / COMMITTED).unlink(missing_ok=True)
        if not is_local(self.root):
            # The name first: without a pointer, an object there would be that of others.
            for shown in (self.path(table), self._pointer(table)):
                shown.unlink(missing_ok=True)
            return
        Path(self.path(table).path).unlink(missing_ok=True)
        Path(self.history(table).path, CURRENT).unlink(missing_ok=True)

    def remove(self, table: str, folders: Iterable[UPath], lease: Lease | None) -> None:
        """Remove folders of a table that readers do not see, and files that only these referred to.

        Parts that a version outside these folders refers to are kept.

        Args:
            table: The table.
            folders: The folders, listed under the lock.
            lease: What `lock` gave: on an object store the lease, which is still held.

        Raises:
            LeaseLostError: Another run has taken the lease meanwhile.
        """
        gone = {folder.name for folder in folders}
        kept = [version for version in self.kept(table) if version.folder.name not in gone]
        # Versions before the files that only they referred to: none is left with a part missing.
        folders = sorted(_folders(self.history(table)), key=lambda one: one.name not in gone)
        unseen = (
            folder
            for folder in folders
            if folder.name in gone or (lease is not None and _is_remnant(folder))
        )
        self._clear(unseen, kept, lease)

    def kept(self, table: str) -> list[Version]:
        """The current version and, if it can be read, the previous one."""
        current = self.current(table)
        return [current, *_readable_previous(current)] if current else []

    def _pointer(self, table: str) -> UPath:
        return self.history(table) / "current.json"


def _name_in(pointer: UPath) -> Any:
    """What a pointer object names; "" if there is none, None if it is damaged."""
    content = read_object(pointer).content
    if content is None:
        return ""
    try:
        return json.loads(content)["version"] or None
    except (ValueError, TypeError, LookupError):
        return None


def _how_to_point(pointer: UPath) -> str:
    """What to do about a damaged pointer: it can point to the newest version, which is whole."""
    history = pointer.parent
    for folder in reversed(_folders(history)):
        with suppress(SidAssetsError):
            read_version(folder)
            if is_local(history):
                return f"Point it to the newest version: ln -sfn {folder.name} {pointer}"
            content = json.dumps({"version": folder.name})
            return f"Let it name the newest version: its content is then {content}"
    return how_to_restore(history)


def _folders(history: UPath) -> list[UPath]:
    """The folders of versions and drafts, oldest first."""
    if not history.exists():
        return []
    found = [path for path in history.iterdir() if FOLDER_NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name)


def _readable_previous(version: Version) -> list[Version]:
    """The previous version, if it is kept and undamaged."""
    try:
        previous = version.previous()
    except UnreachableError:
        raise
    except StoreError:
        return []
    return [previous] if previous else []


def _is_remnant(folder: UPath) -> bool:
    """Whether a folder is what was kept of a version: parts that later versions refer to."""
    return not any((folder / name).exists() for name in (STATE, MANIFEST))


def _require_whole(folder: UPath, parts: Sequence[Part]) -> None:
    """Refuse to commit parts that do not match their summaries or are not in order.

    Raises:
        StoreError: The message names the part.
    """
    with ThreadPoolExecutor(REQUESTS) as threads:  # an object store answers in milliseconds
        sizes = threads.map(lambda part: _size(part.path(folder)), parts)
        for part, size in zip(parts, sizes, strict=True):
            if size != part.bytes:
                raise StoreError(
                    f"{part.path(folder)}: has changed since it was written. Run again."
                )
    with_pids = [part for part in parts if part.first_pid is not None]
    for earlier, later in pairwise(with_pids):
        if not earlier.last_pid < later.first_pid:
            raise StoreError(
                f"{later.path(folder)}: starts at pid {later.first_pid!r}, but the previous part "
                f"ends at {earlier.last_pid!r}. Run again."
            )


def _size(path: UPath) -> int | None:
    """The size of a file; None if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _remove_strays(folder: UPath, parts: Sequence[Part]) -> None:
    """Remove files of a killed run, which readers of the folder would take for parts."""
    names = {part.name for part in parts if not part.folder}
    for path in list(folder.iterdir()):
        if path.name not in names and not path.name.startswith("_"):
            path.unlink()


def _link(link: Path, target: str) -> None:
    """Point a symlink to a target, in one step."""
    if link.is_symlink() and str(link.readlink()) == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)  # left by a run that was killed here
    fresh.symlink_to(target)
    fresh.replace(link)
    sync_folder(UPath(link.parent))
