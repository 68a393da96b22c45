"""Small registries in memory."""

import datetime as dt
import hashlib
from collections.abc import Mapping
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

Codes = tuple[int, int, int]

Catalog = Mapping[Pid, tuple[str, Codes]]
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


def freed(registry: pa.Table, before: int, number: int) -> pa.Table:
    """The registry after a purge of the SIDs that items left before a day."""
    rows = registry.to_pylist()
    for row in rows:
        if row["left_at"] and day_of(row["left_at"]) < before and not row["freed_at"]:
            row["freed_at"] = START + dt.timedelta(days=number)
    return pa.Table.from_pylist(rows, registry.schema)


def day_of(at: dt.datetime) -> int:
    """The day of a time, counted from the start."""
    return (at - START).days


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
