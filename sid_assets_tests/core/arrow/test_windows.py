"""Two sorted streams side by side: every pid is in one pair, with all its rows of both."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.arrow.windows import windows

PIDS = st.lists(st.integers(0, 12), max_size=20).map(sorted)


INT = pa.int64()


def stream(pids, batch_rows, kind=INT) -> pa.RecordBatchReader:
    numbers = list(range(len(pids)))
    table = pa.table({"pid": pa.array(pids, kind), "row": pa.array(numbers, pa.int64())})
    empty = table.slice(0, 0).to_batches() or [pa.record_batch(table.slice(0, 0).to_pydict())]
    batches = [*empty, *table.to_batches(batch_rows)] if pids else []
    return pa.RecordBatchReader.from_batches(table.schema, [b.cast(table.schema) for b in batches])


@given(PIDS, PIDS, st.integers(1, 5), st.integers(1, 5))
def test_every_row_is_in_one_pair_with_all_rows_of_its_pid(left, right, rows_left, rows_right):
    pairs = list(windows(stream(left, rows_left), stream(right, rows_right)))
    for side, pids in ((0, left), (1, right)):
        tables = [pair[side] for pair in pairs]
        assert [pid for table in tables for pid in table["pid"].to_pylist()] == pids
        assert [n for table in tables for n in table["row"].to_pylist()] == list(range(len(pids)))
    seen = [{*one["pid"].to_pylist(), *other["pid"].to_pylist()} for one, other in pairs]
    assert sum(map(len, seen)) == len({*left, *right})


def test_ids_of_text_are_ordered_as_arrow_orders_them():
    pids = sorted(["Z", "a", "é", "中", "🎬", "10", "9"])
    pairs = list(windows(stream(pids, 2, pa.string()), stream(pids[::2], 1, pa.string())))
    assert [pid for one, _ in pairs for pid in one["pid"].to_pylist()] == pids
    for one, other in pairs:
        assert set(other["pid"].to_pylist()) <= set(one["pid"].to_pylist())


def test_a_window_has_no_more_rows_than_a_few_batches():
    left, right = stream(range(1000), 10), stream([0, *range(900, 1000)], 10)
    assert max(max(one.num_rows, other.num_rows) for one, other in windows(left, right)) <= 20
