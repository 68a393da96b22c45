"""Parts that versions share: a refresh writes only the parts that change.

A local version holds a hard link to each part that it shares, so its folder is complete for every
reader. An object store has no links: there, the manifest names the folder that has the file, and
that folder keeps the file as long as a version refers to it.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from upath import UPath

from sid_assets.core.store.chunks import Chunk, Say
from sid_assets.core.store.draft import STATE
from sid_assets.core.store.parts import TEMPORARY_SUFFIX, Part, file_digest, read_part
from sid_assets.core.store.places import explained, is_local, remove_folder, require_reachable
from sid_assets.core.store.versions import MANIFEST, Version


class PartSharer:
    """Shares parts of the previous version with a draft. Threads may use it at the same time."""

    def __init__(self, before: Version, draft: UPath) -> None:
        """Nothing is read or written yet.

        Args:
            before: The previous version.
            draft: The folder of the draft.
        """
        self._before = before
        self._draft = draft
        self._by_first_pid = {part.first_pid: part for part in before.parts if part.rows}

    def part_of(self, chunk: Chunk, say: Say) -> Part | None:
        """The part with the same range of pids and as many rows, if it is undamaged; else None.

        Raises:
            UnreachableError: The object store does not show it now.
        """
        part = self._by_first_pid.get(chunk.first_pid)
        if part is None or not chunk.is_in(part):
            return None
        path = part.path(self._before.folder)
        try:
            if file_digest(path) == part.digest:
                return part
        except OSError as error:
            require_reachable(path, error)
        say(f"{path}: is damaged or missing. It is made again from the rows that are left.")
        return None

    def read(self, part: Part, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns of a part of the previous version, batch by batch."""
        return read_part(self._before.folder, part, columns)

    def share(self, part: Part, name: str, say: Say) -> Part:
        """Make a part of the previous version a part of the draft, under a name of its own.

        Raises:
            StoreError: The folder of the draft cannot be written.
        """
        if not is_local(self._draft):
            return replace(part, folder=part.folder or self._before.folder.name)
        source = Path(part.path(self._before.folder).path)
        path = Path(self._draft.path, name)
        with explained(UPath(path)):
            path.unlink(missing_ok=True)  # left by a run that was killed
            try:
                os.link(source, path)
            except OSError as error:
                say(
                    f"{self._draft}: hard links are not possible here ({error.strerror or error}). "
                    "Parts without changes are copied instead, which takes time and space."
                )
                _copy(source, path)
        return replace(part, name=name, folder="")


def _copy(source: Path, path: Path) -> None:
    """Copy a file, whole or not at all."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        shutil.copyfile(source, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def referred_files(versions: Iterable[Version]) -> set[tuple[str, str]]:
    """Folder and name of each file that one of the versions has in another version's folder."""
    return {(part.folder, part.name) for one in versions for part in one.parts if part.folder}


def has_only_shared_parts(folder: UPath, kept: Iterable[Version]) -> bool:
    """Whether a folder holds nothing but files that the versions to keep refer to."""
    files = {(folder.name, path.name) for path in folder.iterdir()}
    return bool(files) and files <= referred_files(kept)


def remove_unshared(folder: UPath, kept: Iterable[Version]) -> None:
    """Remove a folder of a version or draft, except for files that versions to keep refer to."""
    # First the state, so that no run resumes in what is left if this is killed, and overwrites or
    # removes files of other versions there. Then the manifest: a version without it is not read.
    for name in (STATE, MANIFEST):
        (folder / name).unlink(missing_ok=True)
    needed = {name for owner, name in referred_files(kept) if owner == folder.name}
    if not needed:
        remove_folder(folder)
        return
    for path in list(folder.iterdir()):
        if path.name not in needed:
            path.unlink()


def freed_bytes(folder: UPath, kept: Iterable[Version]) -> int:
    """Bytes that removing a folder frees: of its files, and files below it, that none shares.

    Files that vanish meanwhile count as 0.
    """
    kept = list(kept)
    needed, linked = referred_files(kept), set()
    for version in kept if is_local(folder) else ():
        for path in version.paths:
            with suppress(FileNotFoundError):
                linked.add(_inode(Path(path.path)))
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if not path.is_file() or (folder.name, path.name) in needed:
                continue
            if is_local(path) and _inode(Path(path.path)) in linked:
                continue
            size += path.stat().st_size
    return size


def bytes_only_of(version: Version, kept: Iterable[Version]) -> int:
    """Bytes of the files that a version has in the folders of others, and that none else needs."""
    needed = referred_files(kept)
    return sum(
        part.bytes
        for part in version.parts
        if part.folder and (part.folder, part.name) not in needed
    )


def _inode(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
