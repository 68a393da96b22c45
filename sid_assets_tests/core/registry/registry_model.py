"""The registry as a dict of lists, with its rules as sentences of Python, item by item."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from sid_assets.core.schema import Pid
from sid_assets_tests.core.registry.small_registry import Catalog, Codes, day_of, hash_of


@dataclass(frozen=True)
class Row:
    """A row of the registry. Times are numbers: of the day, or of the refresh.

    `extra_error` is compared apart, since it is no exact number.
    """

    sid: Codes
    codes: Codes
    text: bytes | None
    made: str
    published: int
    left: int | None = None
    why: str | None = None
    freed: int | None = None
    extra_error: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Room:
    """How collisions are resolved.

    Attributes:
        most: Items that may have the same SID; 0: any number.
        users: The popularity of items.
        nearest: Gives all third codes for a text, the nearest first.
        extra_error: What it costs to give a text a SID.
    """

    most: int = 0
    users: Mapping[Pid, int] = field(default_factory=dict)
    nearest: Callable[[str], list[int]] = lambda _: []
    extra_error: Callable[[str, Codes], float] = lambda *_: 0.0


@dataclass
class Model:
    """All rows of a generation, by pid, in the order of their publication.

    Attributes:
        rows: The rows.
        without_room: The items that share a SID since the last refresh, because none was free.
    """

    rows: dict[Pid, list[Row]] = field(default_factory=dict)
    without_room: set[Pid] = field(default_factory=set)

    def refreshed(
        self, catalog: Catalog, number: int, *, keep: bool = False, room: Room | None = None
    ) -> "Model":
        """The registry after a refresh; this one stays as it is."""
        room = room or Room()
        after = Model({pid: [*rows] for pid, rows in self.rows.items()})
        without_sid = []
        for pid in {*after.rows, *catalog}:
            rows = after.rows.setdefault(pid, [])
            has = None
            if pid in catalog:
                text, codes = hash_of(catalog[pid][0]), catalog[pid][1]
                has = _place(rows, text, codes, keep=keep)
                if has is None:
                    without_sid.append(pid)
                else:
                    before, rows[has] = rows[has], _owned(rows[has], text, codes)
                    if rows[has].made == "resolved" and before.text != text:
                        error = room.extra_error(catalog[pid][0], before.sid)
                        rows[has] = replace(rows[has], extra_error=error)
            why = "text changed" if pid in catalog else "removed"
            for place, row in enumerate(rows):
                if place != has and row.left is None:
                    rows[place] = replace(row, left=number, why=why)
        given = after._given(without_sid, catalog, room)
        for pid, sid in given.items():
            text, codes = catalog[pid]
            moved = sid != codes
            made = "resolved" if moved else "quantised"
            row = Row(sid, codes, hash_of(text), made, number)
            if moved:
                row = replace(row, extra_error=room.extra_error(text, sid))
            after._publish(pid, row)
        return after

    def _given(self, pids: list[Pid], catalog: Catalog, room: Room) -> dict[Pid, Codes]:
        """The SIDs of items that need one."""
        codes = {pid: catalog[pid][1] for pid in pids}
        if not room.most:
            return codes
        taken = self.holders()
        pids = sorted(pids, key=lambda pid: (-room.users.get(pid, 0), pid))
        given: dict[Pid, Codes] = {}
        for pid in pids:
            if len(taken[codes[pid]]) < room.most:
                given[pid] = codes[pid]
                taken[codes[pid]].add(pid)
        for pid in pids:
            if pid in given:
                continue
            first, second, _ = codes[pid]
            behind = [(first, second, third) for third in room.nearest(catalog[pid][0])]
            free = [sid for sid in behind if len(taken[sid]) < room.most]
            given[pid] = free[0] if free else codes[pid]
            taken[given[pid]].add(pid)
            if not free:
                self.without_room.add(pid)
        return given

    def _publish(self, pid: Pid, new: Row) -> None:
        """An item and a SID have one row, which keeps its first time of publication."""
        rows = self.rows[pid]
        for place, row in enumerate(rows):
            if row.sid == new.sid:
                rows[place] = replace(new, published=row.published)
                return
        rows.append(new)

    def holders(self) -> defaultdict[Codes, set[Pid]]:
        """The items that have each SID, or that it is reserved for."""
        found: defaultdict[Codes, set[Pid]] = defaultdict(set)
        for pid, rows in self.rows.items():
            for row in rows:
                if row.freed is None:
                    found[row.sid].add(pid)
        return found

    def freed(self, before: int, number: int) -> "Model":
        """The registry after a purge of the SIDs that items left before a time."""
        return Model(
            {
                pid: [
                    replace(row, freed=number)
                    if row.left is not None and row.left < before and row.freed is None
                    else row
                    for row in rows
                ]
                for pid, rows in self.rows.items()
            }
        )

    def live(self) -> dict[Pid, Row]:
        """The row that each item has."""
        return {pid: row for pid, rows in self.rows.items() for row in rows if row.left is None}

    def counts(self, most: int = 0) -> dict[str, int]:
        """What can be counted of the SIDs that items have."""
        live = self.live().values()
        items = Counter(row.sid for row in live).values()
        return {
            "items": len(live),
            "resolved": sum(row.made == "resolved" for row in live),
            "distinct_sids": len(items),
            "shared_sids": sum(count > 1 for count in items),
            "over": sum(count - most for count in items if count > most) if most else 0,
            "without_room": len(self.without_room),
        }


def _place(rows: list[Row], text: bytes, codes: Codes, *, keep: bool) -> int | None:
    """Where the row is that an item has from now on; None if it needs a SID."""
    live = [place for place, row in enumerate(rows) if row.left is None]
    left = [place for place, row in enumerate(rows) if row.left is not None and row.freed is None]
    left.sort(key=lambda place: -(rows[place].left or 0))

    def same_codes(place: int) -> bool:
        return codes in (rows[place].codes, rows[place].sid)

    rules = [
        *(place for place in live if rows[place].text in (text, None)),
        *filter(same_codes, live),
        *(place for place in left if rows[place].text == text),
        *(place for place in left if rows[place].text is None),
        *filter(same_codes, left),
        *(live + left if keep else []),
    ]
    return next(iter(rules), None)


def _owned(row: Row, text: bytes, codes: Codes) -> Row:
    """The row of an item that keeps it, or that comes back to it."""
    row = replace(row, left=None, why=None)
    if row.text == text:
        return row
    made = "quantised" if row.sid == codes else row.made if row.codes == codes else "kept"
    error = row.extra_error if made == "resolved" else None
    return replace(row, text=text, codes=codes, made=made, extra_error=error)


def rows_of(
    registry: pa.Table, number_of: Callable[[dt.datetime], int] = day_of
) -> dict[Pid, list[Row]]:
    """The rows of a registry, by pid, as a model has them."""
    found: dict[Pid, list[Row]] = {}
    for row in registry.to_pylist():
        at = (row["published_at"], row["left_at"], row["freed_at"])
        published, left, freed = (time and number_of(time) for time in at)
        sid, codes = tuple(row["sid"]), tuple(row["codes"])
        found.setdefault(row["pid"], []).append(
            Row(
                *(sid, codes, row["text_hash"], row["made"]),
                *(published, left, row["left_why"], freed, row["extra_error"]),
            )
        )
    return found
