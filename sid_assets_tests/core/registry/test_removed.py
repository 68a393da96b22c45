"""The SIDs of items that are gone: the last one of each, unless it was freed."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.registry.removed import removed_sids
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.sids.spelling import codes_of_fragments
from sid_assets_tests.core.registry.registry_rows import START, registry, row


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
