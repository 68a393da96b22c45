import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core import schema
from sid_assets.core.sids.items import ItemIndex
from sid_assets.core.sids.sid2pid import reverse

CATALOG = st.lists(st.tuples(*[st.integers(0, 2) | st.just(8191)] * 3), max_size=30)


def index_of(sids: list[tuple[int, ...]], used: list[int]) -> ItemIndex:
    """The items 0, 1, 2, ... with these SIDs."""
    items = pa.table({"pid": range(len(sids)), "sid": sids}, schema=schema.pid2sid("int"))
    return ItemIndex(reverse(items.to_reader(), [pa.array(used, pa.int64())]))


@settings(deadline=None)
@given(CATALOG, st.lists(st.integers(0, 29)), st.lists(st.tuples(*[st.integers(0, 3)] * 3)))
def test_items_of_sids(
    sids: list[tuple[int, ...]], used: list[int], others: list[tuple[int, ...]]
) -> None:
    wanted = [*sids, *others]
    valid = np.append(np.ones(len(wanted), bool), False)
    found = index_of(sids, used).of_sids(np.array(wanted, np.int64).reshape(-1, 3), valid)
    assert found.to_pylist() == [
        *(
            sorted(
                (pid for pid, other in enumerate(sids) if other == sid),
                key=lambda pid: (-used.count(pid), pid),
            )
            for sid in wanted
        ),
        None,
    ]


@settings(deadline=None)
@given(CATALOG, st.lists(st.integers(0, 29)), st.integers(1, 3))
def test_neighbours(sids: list[tuple[int, ...]], used: list[int], depth: int) -> None:
    def order(own: tuple[int, ...], pid: int) -> tuple:
        shared = next((n for n in range(3) if sids[pid][n] != own[n]), 3)
        return (-shared, -used.count(pid), sids[pid], pid)

    asked = pa.array([*range(len(sids)), 99])
    valid = np.append(np.ones(len(sids), bool), False)
    codes = np.array(sids, np.int64).reshape(-1, 3)
    found = index_of(sids, used).neighbours(asked, codes, valid, depth)
    assert found.to_pylist() == [
        *(
            sorted(
                (p for p, o in enumerate(sids) if p != pid and o[:depth] == own[:depth]),
                key=lambda p: order(own, p),
            )
            for pid, own in enumerate(sids)
        ),
        None,
    ]


def test_text_pids() -> None:
    items = pa.table({"pid": ["a", "b"], "sid": [[1, 2, 3]] * 2}, schema=schema.pid2sid("string"))
    index = ItemIndex(reverse(items.to_reader(), [pa.array(["b"])]))
    codes, valid = np.array([[1, 2, 3]]), np.array([False, True])
    assert index.of_sids(codes, valid).to_pylist() == [None, ["b", "a"]]
    assert index.neighbours(pa.array(["z", "a"]), codes, valid, 3).to_pylist() == [None, ["b"]]
