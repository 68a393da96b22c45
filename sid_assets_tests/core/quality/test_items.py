"""The numbers of all items: read in one pass, joined by pid, and grouped by SID."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.errors import InputError
from sid_assets.core.quality.items import NO_VALUE, USE_COLUMNS, group_by_sid, read_items
from sid_assets.core.sids.spelling import pack
from sid_assets_tests.core.quality.small_tables import batches, codes_table, texts_table

K = 4


def test_use_and_values_are_joined_by_pid():
    codes = codes_table([(0, 1, 2), (3, 3, 3), (0, 1, 2), (1, 1, 1)], pids=["a", "b", "c", "d"])
    schema = pa.schema([pa.field("pid", pa.string()), *USE_COLUMNS])
    use = pa.table({"pid": ["0", "b", "d"], "trained": [9, 2, 0], "targets": [9, 0, 5]}, schema)
    values = texts_table(["x", "y", "x"], pids=["a", "c", "d"])
    items = read_items(
        batches(codes, 2), K, batches(use, 1), batches(values.select(["pid", "text_hash"]), 2)
    )
    assert (
        items.sids.tolist() == pack(np.array([[0, 1, 2], [3, 3, 3], [0, 1, 2], [1, 1, 1]])).tolist()
    )
    assert items.errors.tolist() == [0.125] * 4
    assert items.trained is not None
    assert items.trained.tolist() == [0, 2, 0, 0]
    assert items.targets is not None
    assert items.targets.tolist() == [0, 0, 0, 5]
    assert items.values is not None
    first, without, other, same = items.values.tolist()
    assert without == NO_VALUE
    assert first == same
    assert len({first, other, NO_VALUE}) == 3


def test_without_use_and_values_there_are_none():
    items = read_items(batches(codes_table([(0, 1, 2)])), K)
    assert (items.trained, items.targets, items.values) == (None, None, None)


def test_no_items_are_refused():
    with pytest.raises(InputError, match="no items"):
        read_items([], K)


def test_codes_outside_the_codebooks_are_refused():
    with pytest.raises(InputError, match=rf"0 to {K - 1}"):
        read_items(batches(codes_table([(0, 0, K)])), K)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_groups_hold_the_items_of_each_sid_in_the_order_of_pids(sids):
    groups = group_by_sid(np.array(sids, np.int64))
    assert groups.sids.tolist() == sorted(set(sids))
    for sid, start, size in zip(groups.sids, groups.starts, groups.sizes, strict=True):
        expected = [row for row, other in enumerate(sids) if other == sid]
        assert groups.order[start : start + size].tolist() == expected
