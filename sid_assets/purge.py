"""What can be removed from the data folder: `sid-assets purge` lists it, `--yes` removes it.

It covers previous versions of tables, drafts and scratch folders of unfinished runs, and rejected
rows. The version that readers see is never touched, nor is a table that a run is writing.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from upath import UPath

from sid_assets import cli
from sid_assets.core.errors import SidAssetsError
from sid_assets.core.store.places import folder_bytes, is_local, remove_folder
from sid_assets.core.store.scratch import abandoned_folders
from sid_assets.core.store.store import Store

REJECTED = "item_texts_rejected"


@dataclass(frozen=True)
class Removable:
    """A folder that can be removed.

    Attributes:
        table: Asset key of the table it belongs to; "" if unknown.
        what: What it is, in words.
        folder: Its path.
        bytes: Size of all files in it and below.
    """

    table: str
    what: str
    folder: UPath
    bytes: int


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m sid_assets.purge`, which is `sid-assets purge`; the exit code."""
    return cli.run("purge", arguments, "python -m sid_assets.purge")


def describe(found: Sequence[Removable], root: UPath, removed: bool) -> str:
    """The folders that can be or were removed, one per line, and their total size."""
    if not found:
        return f"Nothing to remove in {root}."
    lines = [
        f"{one.table:<28} {one.what:<44} {one.bytes / 1e6:>12,.1f} MB  {one.folder.name}"
        for one in found
    ]
    folders = "folder" if len(found) == 1 else "folders"
    size = sum(one.bytes for one in found) / 1e6
    total = f"{len(found):,} {folders} in {root}, {size:,.1f} MB"
    end = (
        f"Removed {total}."
        if removed
        else f"{total}. Nothing was removed; pass --yes to remove it."
    )
    return "\n".join([*lines, end])


def purge(store: Store, remove: bool) -> tuple[list[Removable], list[str]]:
    """Find what can be removed, and remove it if `remove` is true.

    Returns:
        The folders that can be or were removed, and why tables were skipped.
    """
    found: list[Removable] = []
    problems: list[str] = []
    for table in store.tables():
        try:
            with store.lock(table):
                removable = list(_removable(store, table))
                if remove:
                    _remove(store, table, removable)
                found += removable
        except SidAssetsError as error:
            problems.append(str(error))
    return found + _purge_scratch(store, remove), problems


def _purge_scratch(store: Store, remove: bool) -> list[Removable]:
    folders = abandoned_folders(store.root)
    found = [_described("", "scratch of an unfinished run", folder) for folder in folders]
    for folder in folders if remove else ():
        remove_folder(folder)
    return found


def _removable(store: Store, table: str) -> Iterator[Removable]:
    current = store.current(table)
    leftovers = store.leftovers(table)
    # An object store has no locks: a run may be writing to these folders.
    if is_local(store.root):
        for folder in leftovers:
            yield _described(table, "unfinished draft, which the next run resumes", folder)
    if current and current.before:
        before = store.history(table) / current.before
        if before.exists():
            yield _described(table, "the previous version", before)
    if current and current.rows and _is_rejected(table):
        yield _described(table, f"{current.rows:,} rejected rows of the catalog", current.folder)


def _remove(store: Store, table: str, removable: Sequence[Removable]) -> None:
    if _is_rejected(table):
        store.forget(table)
    for one in removable:
        remove_folder(one.folder)


def _is_rejected(table: str) -> bool:
    return table.rsplit("/", 1)[-1] == REJECTED


def _described(table: str, what: str, folder: UPath) -> Removable:
    return Removable(table, what, folder, folder_bytes(folder))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
