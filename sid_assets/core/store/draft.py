"""Drafts: what is written of a table and not yet committed.

A draft has a folder beside the versions of its table and holds the write lock of the table. Once it
is finished, it also has the parts and their provenance. The folder survives a run that is killed:
the next run of the same work resumes in it.
"""

import datetime as dt
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

from upath import UPath

from sid_assets.core.store.conditional import (
    ABSENT,
    ConflictError,
    Seen,
    read_object,
    replace_object,
)
from sid_assets.core.store.lease import Lease
from sid_assets.core.store.parts import TEMPORARY_SUFFIX, Part
from sid_assets.core.store.places import explained, make_folder, sync_folder
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.sealed import sealed, unsealed, write_sealed
from sid_assets.core.store.versions import Version, content_version

STATE = "_staging.json"
"""In the folder of a draft: the key of its work, and what its run stores in order to resume."""

EARLIER = "earlier_folders"
"""In the state: the names of the folders in which earlier runs of the same work left parts."""

RESUMED_BY = "resumed_by"
"""In the state, on an object store: the name of the folder whose run refers to these parts. With
it the object is another one, so that who listed it before cannot remove it."""


@dataclass(frozen=True)
class UnfinishedRun:
    """The draft of a run that ended before its commit, to read or to resume.

    Attributes:
        folder: The folder of its parts.
        state: What the run stored in order to resume (JSON); `key` identifies the work.
        seen: The object of the state as it was read. A run that resumes or removes the folder
            writes the object first, so that on an object store only one of them does.
    """

    folder: UPath
    state: dict[str, Any]
    seen: Seen = ABSENT

    @classmethod
    def read(cls, folder: UPath) -> "UnfinishedRun":
        """The draft in a folder.

        Raises:
            OSError: The store cannot be reached.
            ValueError: It has no state, or the state is damaged, so that it cannot be resumed.
        """
        seen = read_object(folder / STATE)
        state = unsealed((seen.content or b"").decode())
        state.pop(RESUMED_BY, None)
        return cls(folder, state, seen)


@dataclass(frozen=True)
class Claim:
    """The right to write a table on an object store.

    Attributes:
        lease: The write lock of the table.
        pointer: What named the current version when the draft was opened. The commit replaces it
            only if it is still the same.
    """

    lease: Lease
    pointer: Seen


class Draft:
    """A version that is being written, and the write lock of its table.

    `begin` gives it a folder; `finish` declares its parts written; `Store.commit` makes it the
    version that readers see. The commit closes the draft, and so does a `with` block that raises or
    does not finish it; then others may write the table. A finished draft stays open after its
    block, so that the caller can commit it:

        with store.draft("codes") as draft:
            draft.begin(key)
            draft.finish(write(draft.folder), provenance)
        return draft

    Attributes:
        table: Asset key of the table ("goods/codes").
        unfinished: Drafts that earlier runs of this table left, latest first.
        claim: The right to write the table, on an object store.
        folder: The folder for its parts, once it has begun.
        state: What a run stores in order to resume after a crash (JSON), once it has begun.
        parts: Its files in row order, once it is finished.
        provenance: Where its rows come from, once it is finished.
        is_finished: Whether its parts are written.
        is_closed: Whether the write lock has been released.
    """

    folder: UPath
    state: dict[str, Any]
    parts: tuple[Part, ...]
    provenance: Provenance

    def __init__(
        self,
        table: str,
        history: UPath,
        unfinished: Sequence[UnfinishedRun],
        right: ExitStack,
        claim: Claim | None = None,
    ) -> None:
        """Use `Store.draft`. Nothing is written yet.

        Args:
            table: Asset key of the table.
            history: The folder of all versions of the table.
            unfinished: Drafts that earlier runs left there, latest first.
            right: The write lock of the table, released when the draft is closed.
            claim: What the commit needs on an object store.
        """
        self.table = table
        self.claim = claim
        self.unfinished = tuple(unfinished)
        self.is_finished = False
        self.is_closed = False
        self._history = history
        self._right = right

    def begin(self, key: str = "", make_state: Callable[[], dict[str, Any]] = dict) -> None:
        """Resume what an unfinished run left for the same work, or begin anew.

        On a local disk the work goes on in the same folder. On an object store the folder is always
        new, and refers to the finished parts of the earlier one: the run that wrote that one may
        only have been cut off, and a folder has one writer for ever.

        Args:
            key: Identifies the work. Without a key, the folder is always new.
            make_state: Makes the state for a new folder; an existing folder keeps its state.

        Raises:
            StoreError: The folder cannot be written.
        """
        run = self._found_or_new(key, make_state)
        self.folder, self.state = run.folder, run.state

    @property
    def earlier_folders(self) -> list[UPath]:
        """The folders of earlier runs of the same work, whose finished parts are referred to."""
        return [self._history / name for name in self.state.get(EARLIER, [])]

    def left_beside(self, key: str) -> UPath | None:
        """The folder that an earlier run of this table made with `folder_beside`, to read."""
        return next((run.folder for run in self.unfinished if run.state.get("key") == key), None)

    def folder_beside(self, key: str) -> UPath:
        """Another folder, for intermediate results of this draft; the key finds it again.

        The commit of the table removes it.

        Raises:
            StoreError: The folder cannot be written.
        """
        return self._found_or_new(key, dict).folder

    def _found_or_new(self, key: str, make_state: Callable[[], dict[str, Any]]) -> UnfinishedRun:
        same = [run for run in self.unfinished if key and run.state.get("key") == key]
        if same and self.claim is None:
            _remove_temporary_files(same[0].folder)
            return same[0]
        folder = self._new_folder()
        with explained(folder):
            same = [run for run in same if _is_resumed(run, folder.name)]
        if not same:
            return self._begun(folder, {"key": key, **make_state()})
        return self._begun(folder, {**same[0].state, EARLIER: [run.folder.name for run in same]})

    def _new_folder(self) -> UPath:
        moment = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S")
        return self._history / f"{moment}-{secrets.token_hex(4)}"

    @staticmethod
    def _begun(folder: UPath, state: dict[str, Any]) -> UnfinishedRun:
        with explained(folder):
            make_folder(folder)
            sync_folder(folder.parent)
            write_sealed(folder / STATE, state)
        return UnfinishedRun(folder, state)

    def finish(self, parts: Sequence[Part], provenance: Provenance) -> None:
        """Declare the draft complete.

        Args:
            parts: The files, in row order; all are written.
            provenance: Where the rows come from.
        """
        self.parts, self.provenance = tuple(parts), provenance
        self.is_finished = True

    def add_details(self, details: dict[str, Any]) -> None:
        """Add to the provenance of a finished draft."""
        more = {**self.provenance.details, **details}
        self.provenance = replace(self.provenance, details=more)

    def as_version(self) -> Version:
        """The version to commit, for reading it beforehand; the draft must be finished."""
        provenance = replace(self.provenance, version=content_version(self.parts))
        return Version(self.folder, provenance, created="", parts=self.parts)

    def close(self) -> None:
        """Release the write lock. The folder stays for the next run of the same work."""
        self.is_closed = True
        self._right.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None or not self.is_finished:
            self.close()


def _is_resumed(run: UnfinishedRun, by: str) -> bool:
    """Write into an earlier draft who refers to its parts, unless it is being removed."""
    content = sealed({**run.state, RESUMED_BY: by})
    try:
        replace_object(run.folder / STATE, content, run.seen)
    except ConflictError:
        return False
    return True


def _remove_temporary_files(folder: UPath) -> None:
    """Free what a killed run left half written; each has a name that is not used again."""
    for path in list(folder.glob(f"*{TEMPORARY_SUFFIX}")):
        path.unlink(missing_ok=True)
