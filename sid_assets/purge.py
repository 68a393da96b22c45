"""What can be removed from the data folder: `sid-assets purge` lists it, `--yes` removes it.

It covers previous versions of tables, drafts and scratch folders of unfinished runs, rejected rows,
and the runs that a probe kept. The version that readers see is never touched, nor is a table that a
run is writing, nor the previous version of `sid_registry`. With `--sids-left-before` it frees SIDs
that items have left instead.
"""

import datetime as dt
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from upath import UPath

from sid_assets import cli
from sid_assets.core.errors import InputError, SidAssetsError
from sid_assets.core.probe.run import RUNS
from sid_assets.core.registry.freeing import Reserved, free_sids, reserved_before
from sid_assets.core.store.conditional import is_conditional
from sid_assets.core.store.lease import Lease
from sid_assets.core.store.places import folder_bytes, is_local, remove_folder
from sid_assets.core.store.scratch import abandoned_folders
from sid_assets.core.store.sharing import bytes_only_of, freed_bytes, has_only_shared_parts
from sid_assets.core.store.store import Store

REJECTED = "item_texts_rejected"
REGISTRY = "sid_registry"


@dataclass(frozen=True)
class Removable:
    """A folder that can be removed.

    Attributes:
        table: Asset key of the table it belongs to; "" if unknown.
        what: What it is, in words.
        folder: Its path.
        bytes: What its removal frees: the size of all files in it and below, without parts that
            the remaining versions share.
    """

    table: str
    what: str
    folder: UPath
    bytes: int


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m sid_assets.purge`, which is `sid-assets purge`; the exit code."""
    return cli.run("purge", arguments, "python -m sid_assets.purge")


def describe(
    found: Sequence[Removable], root: UPath, removed: bool, kept: Sequence[UPath] = ()
) -> str:
    """The folders that can be or were removed, one per line, their total size, and what is kept.

    Args:
        found: The folders.
        root: The data folder.
        removed: Whether they were removed.
        kept: The previous versions of registries.
    """
    stays = [
        f"Kept: {folder}, the previous version of {REGISTRY}, which cannot be made again."
        for folder in kept
    ]
    if not found:
        return "\n".join([f"Nothing to remove in {root}.", *stays])
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
    return "\n".join([*lines, end, *stays])


def kept_registries(store: Store) -> list[UPath]:
    """The folders of the previous versions of registries, which no purge removes.

    The registry cannot be made again from other tables: the previous version is its only other
    copy in the data folder.
    """
    found = []
    for table in store.tables():
        if _is_named(table, REGISTRY):
            with suppress(SidAssetsError):  # told of by `purge`
                current = store.current(table)
                if current and current.before:
                    found.append(store.history(table) / current.before)
    return [folder for folder in found if folder.exists()]


def purge(store: Store, remove: bool) -> tuple[list[Removable], list[str]]:
    """Find what can be removed, and remove it if `remove` is true.

    Returns:
        The folders that can be or were removed, and why tables were skipped.
    """
    found: list[Removable] = []
    problems: list[str] = []
    for table in store.tables():
        try:
            with store.lock(table) as lease:
                removable = list(_removable(store, table))
                if remove:
                    _remove(store, table, removable, lease)
                found += removable
        except SidAssetsError as error:
            problems.append(str(error))
    return found + _purge_folders(store, remove), problems


def free_sids_left_before(
    store: Store, date: dt.date, free: bool
) -> tuple[dict[str, Reserved], list[str]]:
    """Find the SIDs that items left before a date, in all registries; free them if `free` is true.

    Args:
        store: The store of the tables.
        date: A date, in UTC.
        free: Whether they are freed.

    Returns:
        The SIDs that can be or were freed, by registry, and why registries were skipped.

    Raises:
        InputError: The date is in the future, or there is no registry.
    """
    if date > dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1):
        raise InputError(
            f"--sids-left-before {date}: is in the future, so that it would free every SID that an "
            "item has left. Name a date that is past."
        )
    registries = [table for table in store.tables() if _is_named(table, REGISTRY)]
    if not registries:
        raise InputError(f"{store.root}: has no {REGISTRY}. SID_DATA_DIR names the data folder.")
    start = dt.datetime.combine(date, dt.time(), dt.UTC)
    found: dict[str, Reserved] = {}
    problems: list[str] = []
    for table in registries:
        try:
            if free:
                found[table] = free_sids(store, table, start)
            else:
                found[table] = reserved_before(store.require(table), start)
        except SidAssetsError as error:
            problems.append(str(error))
    return found, problems


def describe_freed(found: Mapping[str, Reserved], date: dt.date, freed: bool) -> str:
    """How many SIDs of each generation can be or were freed, and what that means."""
    total = sum(reserved.sids for reserved in found.values())
    if not total:
        return f"No SID is reserved that an item left before {date} (UTC)."
    lines = []
    for table, reserved in found.items():
        for generation, sids in reserved.by_generation.items():
            which = "the current one" if generation == reserved.current else "an earlier one"
            lines.append(f"{table:<28} generation {generation} ({which}): {_sids(sids)}")
        if reserved.pids:
            shown = ", ".join(map(repr, reserved.pids))
            lines.append(f"{table:<28} first ids: {shown}")
    meaning = (
        "New items may get these SIDs, and models that were trained before may take the new items "
        "for the old ones. An item that comes back is treated as a new one."
    )
    end = (
        f"Freed {_sids(total)} that items left before {date} (UTC)."
        if freed
        else f"{_sids(total)} that items left before {date} (UTC) can be freed. Nothing was "
        "changed; pass --yes to free them."
    )
    return "\n".join([*lines, end, meaning])


def _sids(count: int) -> str:
    return f"{count:,} SID" if count == 1 else f"{count:,} SIDs"


def _purge_folders(store: Store, remove: bool) -> list[Removable]:
    """Folders that belong to no table."""
    scratch = "scratch of an unfinished run"
    folders = [(scratch, folder) for folder in abandoned_folders(store.root)]
    if (store.root / RUNS).exists():
        folders.append(("the runs that a probe kept", store.root / RUNS))
    found = [Removable("", what, folder, folder_bytes(folder)) for what, folder in folders]
    for one in found if remove else ():
        remove_folder(one.folder)
    return found


def _removable(store: Store, table: str) -> Iterator[Removable]:
    current = store.current(table)
    leftovers = store.leftovers(table)
    kept = [current] if current else []
    # Without conditional writes a store has no locks: a run may be writing to these folders.
    if is_local(store.root) or is_conditional(store.root):
        for folder in leftovers:
            what = "unfinished draft, which the next run resumes"
            yield Removable(table, what, folder, freed_bytes(folder, store.kept(table)))
    if current and current.before and not _is_named(table, REGISTRY):
        before = store.history(table) / current.before
        if before.exists() and not has_only_shared_parts(before, kept):
            size = freed_bytes(before, kept)
            size += sum(bytes_only_of(version, kept) for version in store.kept(table)[1:])
            yield Removable(table, "the previous version", before, size)
    if current and current.rows and _is_named(table, REJECTED):
        what = f"{current.rows:,} rejected rows of the catalog"
        yield Removable(table, what, current.folder, freed_bytes(current.folder, []))


def _remove(store: Store, table: str, removable: Sequence[Removable], lease: Lease | None) -> None:
    if _is_named(table, REJECTED):
        store.forget(table)
    store.remove(table, [one.folder for one in removable], lease)


def _is_named(table: str, name: str) -> bool:
    return table.rsplit("/", 1)[-1] == name


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
