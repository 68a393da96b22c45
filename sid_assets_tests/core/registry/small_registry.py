"""Small registries in memory, and the rules of the registry again, item by item."""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from sid_assets.core import schema
from sid_assets.core.registry.counting import Counting
from sid_assets.core.registry.making import RefreshCounts
from sid_assets.core.registry.new_sids import Given
from sid_assets.core.registry.run import RegistryRefresh
from sid_assets.core.schema import Pid, PidType

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
GENERATION = "one"

Catalog = Mapping[Pid, tuple[str, tuple[int, int, int]]]
"""The text and the codes of each item."""


def hash_of(text: str) -> bytes:
    """A hash of a text, as long as those of the tables."""
    return hashlib.sha256(text.encode()).digest()[:16]


def items_of(catalog: Catalog, users: Mapping[Pid, int] | None = None) -> pa.Table:
    """The rows that a refresh reads of the items."""
    pids = sorted(catalog)
    kind = pa.string() if pids and isinstance(pids[0], str) else pa.int64()
    columns = {
        "pid": pa.array(pids, kind),
        "codes": pa.array([list(catalog[pid][1]) for pid in pids], schema.CODES),
        "text_hash": pa.array([hash_of(catalog[pid][0]) for pid in pids], schema.HASH),
    }
    if users is not None:
        columns["users"] = pa.array([users.get(pid) for pid in pids], pa.int64())
    return pa.table(columns)


def reader(table: pa.Table, batch_rows: int) -> pa.RecordBatchReader:
    """The rows of a table in small batches."""
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(batch_rows))


def _nothing(*_: object) -> Any:
    raise AssertionError("nothing is resolved, so that no vector is read")


def refreshed(
    registry: pa.Table | None,
    catalog: Catalog,
    number: int,
    *,
    keep: bool = False,
    batch_rows: int = 3,
) -> tuple[pa.Table, RefreshCounts]:
    """The registry after a refresh, and what it did. Nothing is resolved."""
    items = items_of(catalog)
    if registry is None:
        kind: PidType = "string" if items["pid"].type == pa.string() else "int"
        registry = schema.sid_registry(kind).empty_table()
    before: pa.Table = registry
    refresh = RegistryRefresh(
        lambda: reader(items, batch_rows),
        lambda: reader(before, max(1, batch_rows - 1)),
        GENERATION,
        START + dt.timedelta(days=number),
        keep,
    )
    counting = Counting()
    batches = list(refresh.refreshed(Given(_nothing, _nothing), counting))
    return pa.Table.from_batches(batches, before.schema), counting.counts(0)


@dataclass(frozen=True)
class Row:
    """A row of the registry."""

    sid: tuple[int, ...]
    codes: tuple[int, ...]
    text: bytes | None
    made: str
    published: int
    left: int | None = None
    why: str | None = None
    freed: int | None = None


@dataclass
class Model:
    """The registry as a dict of lists, with its rules as sentences of Python."""

    keep: bool = False
    rows: dict[Pid, list[Row]] = field(default_factory=dict)

    def refresh(self, catalog: Catalog, number: int) -> None:
        """Refresh item by item."""
        for pid in {*self.rows, *catalog}:
            rows = self.rows.setdefault(pid, [])
            live = next((row for row in rows if row.left is None), None)
            item = catalog.get(pid)
            if item is None:
                if live:
                    rows[rows.index(live)] = replace(live, left=number, why="removed")
                continue
            text, codes = hash_of(item[0]), item[1]
            has, same_text = self._row(rows, live, text, codes)
            if has is None:
                found = [row for row in rows if row.sid == codes]
                if not found:
                    found = [Row(codes, codes, text, "quantised", number)]
                    rows += found
                has = found[0]
            if live and live is not has:
                rows[rows.index(live)] = replace(live, left=number, why="text changed")
            rows[rows.index(has)] = self._owned(has, text, codes, same_text=same_text)

    def _row(
        self, rows: list[Row], live: Row | None, text: bytes, codes: tuple[int, ...]
    ) -> tuple[Row | None, bool]:
        left = [row for row in rows if row.left is not None and row.freed is None]
        left.sort(key=lambda row: -(row.left or 0))
        if live and live.text in (text, None):
            return live, live.text is not None
        if live and codes in (live.codes, live.sid):
            return live, False
        for row in left:
            if row.text == text:
                return row, True
        for row in left:
            if row.text is None:
                return row, False
        for row in left:
            if codes in (row.codes, row.sid):
                return row, False
        if self.keep and (live or left):
            return live or left[0], False
        return None, False

    @staticmethod
    def _owned(row: Row, text: bytes, codes: tuple[int, ...], *, same_text: bool) -> Row:
        row = replace(row, text=text, left=None, why=None, freed=None)
        if same_text:
            return row
        made = "quantised" if row.sid == codes else row.made if row.codes == codes else "kept"
        return replace(row, codes=codes, made=made)

    def free(self, pid: Pid, number: int) -> None:
        """Free the SIDs that an item has left, as a purge does."""
        rows = self.rows.get(pid, [])
        self.rows[pid] = [replace(row, freed=number) if row.left else row for row in rows]


def rows_of(registry: pa.Table) -> dict[Pid, list[Row]]:
    """The rows of a registry, by pid, as a model has them."""
    found: dict[Pid, list[Row]] = {}
    for row in registry.to_pylist():
        at = [_day(row[name]) for name in ("published_at", "left_at", "freed_at")]
        found.setdefault(row["pid"], []).append(
            Row(
                tuple(row["sid"]),
                tuple(row["codes"]),
                row["text_hash"],
                row["made"],
                at[0] or 0,
                at[1],
                row["left_why"],
                at[2],
            )
        )
    return found


def freed(registry: pa.Table, pid: Pid, number: int) -> pa.Table:
    """The registry after a purge of what an item left."""
    rows = registry.to_pylist()
    for row in rows:
        if row["pid"] == pid and row["left_at"]:
            row["freed_at"] = START + dt.timedelta(days=number)
    return pa.Table.from_pylist(rows, registry.schema)


def _day(at: dt.datetime | None) -> int | None:
    return (at - START).days if at else None


def live_sids(registry: pa.Table) -> dict[Pid, tuple[int, ...]]:
    """The SID that each item has."""
    live = registry.filter(registry["left_at"].is_null())
    sids = (tuple(sid) for sid in live["sid"].to_pylist())
    return dict(zip(live["pid"].to_pylist(), sids, strict=True))


def codes_of_text(text: str, codes: int = 2) -> tuple[int, int, int]:
    """Codes that depend on nothing but a text; few of them, so that they collide."""
    first, second, third = (byte % codes for byte in hash_of(text)[:3])
    return first, second, third


def drawn_registry(seed: int, items: int) -> pa.Table:
    """A registry after one refresh of that many items."""
    draw = np.random.default_rng(seed)
    texts = {pid: f"text {draw.integers(items)}" for pid in range(1, items + 1)}
    catalog = {pid: (text, codes_of_text(text, 8)) for pid, text in texts.items()}
    return refreshed(None, catalog, 0)[0]
