"""Folders beside the data for what does not fit into memory; a killed run leaves them behind."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
from upath import UPath

from sid_assets.core.store.places import explained, is_local, temporary_folder

PREFIX = ".scratch-"
LOCK = ".lock"
"""In the folder; locked as long as the run that made it is alive."""


@contextmanager
def scratch_folder(root: UPath) -> Iterator[str]:
    """A folder below the data folder if that is local and exists; else a temporary folder.

    Raises:
        StoreError: The data folder cannot be written, or what is in the folder fills its disk.
    """
    if not is_local(root) or not root.exists():
        with temporary_folder() as folder:
            yield folder
        return
    with explained(root):
        scratch = tempfile.TemporaryDirectory(prefix=PREFIX, dir=root.path)
    with (
        scratch as folder,
        filelock.FileLock(Path(folder, LOCK)),
        explained(UPath(folder), only_full=True),
    ):
        yield folder


def abandoned_folders(root: UPath) -> list[UPath]:
    """The scratch folders that no running process uses.

    Empty folders are left out: their run may be about to lock them.
    """
    if not is_local(root) or not root.exists():
        return []
    folders = sorted(root.glob(f"{PREFIX}*"), key=lambda folder: folder.name)
    return [folder for folder in folders if any(folder.iterdir()) and not _in_use(folder)]


def _in_use(folder: UPath) -> bool:
    path = folder / LOCK
    if not path.exists():
        return False
    try:
        with filelock.FileLock(Path(path.path), timeout=0):
            return False
    except filelock.Timeout:
        return True
