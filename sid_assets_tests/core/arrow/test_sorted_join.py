import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.arrow.sorted_join import joined


def table(pids, kind=None, **columns):
    return pa.table({"pid": pa.array(pids, kind), **columns})


def rows_joined(left, right, column="n", rows=(3, 4)):
    stream = joined(
        left.to_batches(max_chunksize=rows[0]),
        right.to_batches(max_chunksize=rows[1]),
        pa.schema([right.schema.field(column)]),
    )
    return [row for batch in stream for row in batch.to_pylist()]


@given(
    left=st.sets(st.integers(0, 40)),
    right=st.sets(st.integers(0, 40)),
    rows=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_every_left_row_gets_the_right_row_of_its_pid(left, right, rows):
    left_table = table(sorted(left), pa.int64())
    right_table = table(sorted(right), pa.int64(), n=pa.array([pid * 10 for pid in sorted(right)]))
    expected = [{"pid": pid, "n": pid * 10 if pid in right else None} for pid in sorted(left)]
    assert rows_joined(left_table, right_table.cast(SCHEMA), rows=rows) == expected


SCHEMA = pa.schema([("pid", pa.int64()), ("n", pa.int64())])


@given(
    left=st.sets(st.text(max_size=3)),
    right=st.sets(st.text(max_size=3)),
)
def test_text_pids_in_the_order_of_their_bytes(left, right):
    by_bytes = lambda pids: sorted(pids, key=str.encode)  # noqa: E731 (shorter than a function)
    left_table = table(by_bytes(left), pa.string())
    numbers = pa.array([len(pid.encode()) for pid in by_bytes(right)], pa.int64())
    right_table = table(by_bytes(right), pa.string(), n=numbers)
    expected = [
        {"pid": pid, "n": len(pid.encode()) if pid in right else None} for pid in by_bytes(left)
    ]
    assert rows_joined(left_table, right_table) == expected


def test_reads_no_further_than_necessary():
    def endless():
        pid = 0
        while True:
            assert pid < 100, "read far past the last pid of the left table"
            yield pa.record_batch({"pid": [pid], "n": [pid]})
            pid += 1

    left = table([5, 10]).to_batches()
    (batch,) = joined(left, endless(), pa.schema([("n", pa.int64())]))
    assert batch["n"].to_pylist() == [5, 10]


def test_skips_empty_batches_on_both_sides():
    empty = table([], pa.int64(), n=pa.array([], pa.int64()))
    full = table([1, 2], n=[1, 2])
    left = [*empty.select(["pid"]).to_batches(), *full.select(["pid"]).to_batches()]
    right = [pa.RecordBatch.from_pylist([], SCHEMA), *full.to_batches()]
    (batch,) = joined(left, right, pa.schema([("n", pa.int64())]))
    assert batch["n"].to_pylist() == [1, 2]


def test_pids_of_two_types_are_refused():
    with pytest.raises(TypeError, match="string, int64"):
        rows_joined(table(["1"]), table([1], n=[1]))
