"""The SIDs of items that are gone: the last one of each, unless it was freed."""

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.registry.removed import removed_sids
from sid_assets.core.schema import sid_registry
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.sids.spelling import codes_of_fragments
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
    store = Store(tmp_path)
    table = pa.Table.from_pylist(rows, sid_registry(pid_type))
    provenance = Provenance("sid_registry", generation="now")
    return store.commit(draft_rows(store, "sid_registry", table.to_reader(), provenance))


def index(pids: list[Any], kind: pa.DataType) -> SidIndex:
    return SidIndex(pa.array(pids, kind), np.zeros((len(pids), 3), np.uint16))


def found(removed: SidIndex | None) -> dict[Any, int]:
    assert removed is not None
    sids = codes_of_fragments(removed.find(removed.pids).fragments)
    return dict(zip(removed.pids.to_pylist(), sids[:, 0].tolist(), strict=True))


@pytest.mark.parametrize(("pid_type", "name"), [("int", int), ("string", str)])
def test_the_last_sid_of_each_removed_item(tmp_path, pid_type, name):
    rows = [
        row(name(1), 10, left=1, left_why="text changed"),
        row(name(1), 11),
        row(name(2), 20, left=5),
        row(name(2), 21, left=3),
        row(name(3), 30),
        row(name(4), 40, left=2, freed_at=START),
        row(name(5), 50, left=2),
    ]
    earlier = [row(name(6), 60, left=1, generation="before")]
    version = registry(tmp_path, earlier + rows, pid_type)
    live = index([name(1), name(3)], version.schema().field("pid").type)
    removed = removed_sids(version, "now", live)
    assert found(removed) == {name(2): 20, name(5): 50}


def test_nothing_where_no_item_is_gone(tmp_path):
    version = registry(tmp_path, [row(1, 10), row(1, 9, left=1, left_why="text changed")])
    assert removed_sids(version, "now", index([1], pa.int64())) is None
