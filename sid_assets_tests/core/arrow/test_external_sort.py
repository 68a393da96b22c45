"""Sorted runs and their merge give the same result as sorting in memory."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.arrow.external_sort import BATCH_ROWS, HEAD_BYTES, sort_batches

int_keys = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=60, unique=True)
string_keys = st.lists(st.text(max_size=4), max_size=60, unique=True)


@settings(deadline=None)
@given(
    keys=int_keys | string_keys,
    batch_rows=st.integers(1, 20),
    run_bytes=st.integers(1, 2000),
)
def test_rows_come_sorted(keys: list[Any], batch_rows: int, run_bytes: int) -> None:
    kind = pa.string() if any(isinstance(key, str) for key in keys) else pa.int64()
    table = pa.table({"value": pa.array(range(len(keys))), "key": pa.array(keys, kind)})
    with TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        batches = table.to_batches(batch_rows)
        rows = [
            (row["key"], row["value"])
            for batch in sort_batches(batches, "key", runs, run_bytes)
            for row in batch.to_pylist()
        ]
        assert list(runs.iterdir()) == []
    by_bytes = sorted(keys, key=lambda key: key.encode() if isinstance(key, str) else key)
    assert rows == [(key, keys.index(key)) for key in by_bytes]


@pytest.mark.parametrize("width", [10, HEAD_BYTES + 1])
def test_batches_are_small(tmp_path: Path, width: int) -> None:
    rows = 20_000 if width == 10 else 12
    table = pa.table({"key": list(range(rows, 0, -1)), "text": ["x" * width] * rows})
    batches = sort_batches(table.to_batches(), "key", tmp_path / "runs", 1 << 20)
    sizes = [batch.num_rows for batch in batches]
    assert sum(sizes) == rows
    assert max(sizes) <= (BATCH_ROWS if width == 10 else 4)
