"""Rows of a registry, written by hand, and a registry that has them."""

import datetime as dt
from typing import Any

import pyarrow as pa

from sid_assets.core.schema import sid_registry
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def row(pid: Any, code: int, left: int | None = None, **other: Any) -> dict[str, Any]:
    """A row of the registry; `left`: the day on which the item left the SID."""
    when = None if left is None else START + dt.timedelta(days=left)
    made = {
        **{"generation": "now", "pid": pid, "sid": [code] * 3, "codes": [code] * 3},
        **{"text_hash": None, "made": "quantised", "extra_error": None, "published_at": START},
        **{"left_at": when, "left_why": when and "removed", "freed_at": None},
    }
    return made | other


def registry(tmp_path, rows: list[dict[str, Any]], pid_type: Any = "int") -> Version:
    """A registry with these rows, whose current generation is `now`."""
    store = Store(tmp_path)
    table = pa.Table.from_pylist(rows, sid_registry(pid_type))
    provenance = Provenance("sid_registry", generation="now")
    return store.commit(draft_rows(store, "sid_registry", table.to_reader(), provenance))
