"""Drafts: what is written of a table and not yet committed.

A draft is a folder beside the versions of its table, the right to be the only one who writes the
table, and, once it is finished, the parts and where they come from. The folder survives a run that
is killed: the next run of the same work continues in it.
"""

import datetime as dt
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

from upath import UPath

from sid_assets.core.store.parts import Part
from sid_assets.core.store.places import explained, sync_folder, write_json
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.versions import Version, content_version

STATE = "_staging.json"
"""In the folder of a draft: the key of its work, and what its run stores to continue from."""


@dataclass(frozen=True)
class UnfinishedRun:
    """What a run that ended before its commit left of its draft, to read or to continue.

    Attributes:
        folder: Where its parts are.
        state: What the run stored to continue from (JSON); `key` names the work.
    """

    folder: UPath
    state: dict[str, Any]


class Draft:
    """A version in the making, and the right to be the only one who makes it.

    `begin` gives it a folder; `finish` says that its parts are written; `Store.commit` makes it the
    version that readers see. Its commit closes it, and so does a `with` block that raises or does
    not finish it; then others may write the table. A finished draft is still open after its block,
    so that it can be handed to whoever commits it:

        with store.draft("codes") as draft:
            draft.begin(key)
            draft.finish(write(draft.folder), provenance)
        return draft

    Attributes:
        table: The table, by its asset key ("goods/codes").
        unfinished: What earlier runs left of this table, latest first.
        folder: Where its parts go, once it has begun.
        state: What a run stores to continue from after a crash (JSON), once it has begun.
        parts: Its files in the order of their rows, once it is finished.
        provenance: Where its rows come from, once it is finished.
        is_finished: Whether its parts are written.
        is_closed: Whether the right to write the table has been given up.
    """

    folder: UPath
    state: dict[str, Any]
    parts: tuple[Part, ...]
    provenance: Provenance

    def __init__(
        self, table: str, history: UPath, unfinished: Sequence[UnfinishedRun], right: ExitStack
    ) -> None:
        """Nothing is written yet. `Store.draft` makes one.

        Args:
            table: The table, by its asset key.
            history: The folder of all versions of the table.
            unfinished: What earlier runs left there, latest first.
            right: The right to write the table, given up when this is closed.
        """
        self.table = table
        self.unfinished = tuple(unfinished)
        self.is_finished = False
        self.is_closed = False
        self._history = history
        self._right = right

    def begin(self, key: str = "", make_state: Callable[[], dict[str, Any]] = dict) -> None:
        """Continue in the folder that an unfinished run left for the same work, or make a new one.

        Args:
            key: Names the work. Without a key the folder is new.
            make_state: Makes the state that is stored in a new folder, and found in an old one.

        Raises:
            StoreError: The place cannot be written.
        """
        run = self._found_or_new(key, make_state)
        self.folder, self.state = run.folder, run.state

    def folder_beside(self, key: str) -> UPath:
        """Another folder, found again by its key, for intermediate results of this draft.

        The commit of the table removes it.

        Raises:
            StoreError: The place cannot be written.
        """
        return self._found_or_new(key, dict).folder

    def _found_or_new(self, key: str, make_state: Callable[[], dict[str, Any]]) -> UnfinishedRun:
        for run in self.unfinished if key else ():
            if run.state.get("key") == key:
                return run
        moment = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S")
        folder = self._history / f"{moment}-{secrets.token_hex(4)}"
        state = {"key": key, **make_state()}
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
            write_json(folder / STATE, state)
        return UnfinishedRun(folder, state)

    def finish(self, parts: Sequence[Part], provenance: Provenance) -> None:
        """Declare the draft complete.

        Args:
            parts: The files, in the order of their rows; all are written.
            provenance: Where the rows come from.
        """
        self.parts, self.provenance = tuple(parts), provenance
        self.is_finished = True

    def add_details(self, details: dict[str, Any]) -> None:
        """Add to the provenance of a finished draft."""
        more = {**self.provenance.details, **details}
        self.provenance = replace(self.provenance, details=more)

    def as_version(self) -> Version:
        """What will be committed, to read before the commit; the draft must be finished."""
        provenance = replace(self.provenance, version=content_version(self.parts))
        return Version(self.folder, provenance, created="", parts=self.parts)

    def close(self) -> None:
        """Let others write this table. The folder stays for the next run of the same work."""
        self.is_closed = True
        self._right.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None or not self.is_finished:
            self.close()
