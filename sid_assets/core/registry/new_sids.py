"""SIDs for the items that need one: their codes or, where collisions are resolved, a free SID."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa

from sid_assets.core.errors import IDS_SHOWN, InputError
from sid_assets.core.registry.apply import NewSids
from sid_assets.core.registry.decide import Decision, codes_of, column, known
from sid_assets.core.sids.spelling import pack

Vectors = Callable[[np.ndarray], Iterator[np.ndarray]]
"""Given ascending row numbers, float32 blocks of vectors in that order."""


@dataclass(frozen=True)
class Room:
    """How many items may have a SID, and what happens where there is no room.

    Attributes:
        most: Items that may have the same SID; 0: any number, and nothing is resolved.
        share: Whether items without room share the SID of their codes; else they are refused.
    """

    most: int = 0
    share: bool = False


class Given:
    """The new SIDs of all windows, given out in order.

    Attributes:
        without_room: Items that share a SID because there was no room.
    """

    def __init__(
        self,
        centroids: Callable[[], np.ndarray],
        vectors: Vectors,
        resolved: NewSids | None = None,
        without_room: int = 0,
    ) -> None:
        """Without `resolved`, the SIDs are the codes.

        Args:
            centroids: See `resolved_sids`; loaded if a text with a resolved SID has changed.
            vectors: See `resolved_sids`.
            resolved: The new SIDs of all windows.
            without_room: Items that share a SID because there was no room.
        """
        self.without_room = without_room
        self._centroids = cache(centroids)
        self._vectors = vectors
        self._resolved = resolved
        self._start = self._items = 0

    def next(self, decision: Decision) -> NewSids:
        """The SIDs of the items `decision.new` of the next window."""
        first, self._items = self._items, self._items + len(decision.row)
        reworded = self._extra_errors(decision, first)
        every = self._resolved or NewSids.of_codes(decision.codes[decision.new])
        rows = slice(self._start, self._start + len(decision.new))
        self._start = rows.stop if self._resolved else 0
        return NewSids(every.sids[rows], every.moved[rows], every.extra_error[rows], reworded)

    def _extra_errors(self, decision: Decision, first: int) -> np.ndarray:
        """What resolved SIDs cost the items `decision.reworded`, given the window's first item."""
        from sid_assets.core.registry.resolve import extra_errors

        items = decision.reworded
        if not len(items):
            return np.empty(0, np.float32)
        sids = codes_of(decision.rows["sid"])[decision.row[items]]
        vectors = iter(self._vectors(first + items))
        return extra_errors(decision.codes[items], sids, self._centroids(), vectors)


def resolved_sids(
    decisions: Callable[[], Iterable[Decision]],
    room: Room,
    centroids: Callable[[], np.ndarray],
    vectors: Vectors,
    files: tuple[object, object],
) -> Given:
    """Resolve the collisions of the new SIDs; SIDs that are published or reserved are occupied.

    Memory: 22 bytes for each new item and 8 for each SID that is occupied.

    Args:
        decisions: Gives all windows, whose items have a column `users`: their popularity.
        room: How many items may have a SID.
        centroids: Loads the tokenizer's centroids: float32 (3, K, 4096).
        vectors: Given numbers of items, all items counted from 0, their vectors.
        files: Where the items and the published SIDs are, for the message.

    Raises:
        InputError: There is no room for some items, and they may not share a SID.
    """
    from sid_assets.core.registry.resolve import Reserved, resolve

    codes, users, numbers, occupied = [], [], [], []
    own_rows, own_sids = [], []
    start = before = 0
    for decision in decisions():
        new = decision.new
        codes.append(decision.codes[new].astype(np.uint16))
        users.append(column(decision.items["users"]).fill_null(0).to_numpy()[new])
        numbers.append(start + new)
        start += len(decision.row)
        taken = ~known(decision.rows["freed_at"])
        sids = pack(codes_of(decision.rows["sid"]))
        occupied.append(sids[taken])
        own = np.flatnonzero(taken & np.isin(decision.item, new))
        own_rows.append(before + np.searchsorted(new, decision.item[own]))
        own_sids.append(sids[own])
        before += len(new)
    rows = _joined(numbers, np.int64)
    if not len(rows):
        return Given(centroids, vectors)
    found = resolve(
        np.concatenate(codes),
        _joined(users, np.int64),
        _joined(occupied, np.int64),
        room.most,
        centroids(),
        lambda places: vectors(rows[places]),
        Reserved(_joined(own_rows, np.int64), _joined(own_sids, np.int64)),
    )
    lacking = np.flatnonzero(found.without_room)
    if len(lacking) and not room.share:
        raise _no_room(decisions, rows[lacking], found.sids[lacking], room.most, files)
    every = NewSids(found.sids, found.moved, found.extra_error)
    return Given(centroids, vectors, every, len(lacking))


def _joined(arrays: list[np.ndarray], kind: type) -> np.ndarray:
    joined = np.concatenate([np.empty(0, kind), *arrays])
    arrays.clear()
    return joined


def _no_room(
    decisions: Callable[[], Iterable[Decision]],
    items: np.ndarray,
    sids: np.ndarray,
    most: int,
    files: tuple[object, object],
) -> InputError:
    """The error that names the prefixes whose SIDs are all taken.

    Args:
        decisions: Gives all windows.
        items: Numbers of the items without room, ascending: int64 (k,).
        sids: The SIDs of their codes: integers (k, 3).
        most: Items that may have the same SID.
        files: Where the items and the published SIDs are.
    """
    pids: list[object] = []
    start = 0
    for decision in decisions():
        inside = items[(items >= start) & (items < start + len(decision.row))] - start
        pids += column(decision.items["pid"]).take(pa.array(inside)).to_pylist()
        start += len(decision.row)
        if len(pids) >= IDS_SHOWN:
            break
    prefixes = np.unique(sids[:, :2].astype(np.int64), axis=0)
    shown = ", ".join(f"{first}-{second}" for first, second in prefixes[:IDS_SHOWN].tolist())
    first_pids = ", ".join(map(repr, pids[:IDS_SHOWN]))
    pairs = "pair" if len(prefixes) == 1 else "pairs"
    return InputError(
        f"SID_MAX_ITEMS_PER_SID={most}: {len(items):,} items of {files[0]} (first ids: "
        f"{first_pids}) find no SID, because all SIDs with their first two codes are taken "
        f"({len(prefixes):,} {pairs} of codes, first: {shown}). Nothing was published in "
        f"{files[1]}. Set SID_NO_ROOM=share to let these items share the SID of their codes; or "
        "set a larger SID_MAX_ITEMS_PER_SID; or free SIDs of items that are gone (sid-assets purge "
        "--sids-left-before); or start a new generation with a larger SID_CODEBOOK_SIZE."
    )
