import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.contracts.sids import check_reverse
from sid_assets.core.inputs.interactions import ITEM_COLUMNS
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.schema import PidType, pid2sid, sid2pid
from sid_assets.core.sids.sid2pid import json_chunks, occurrences, reverse

ITEMS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=40, unique_by=lambda i: i[0]
)
USES = st.lists(st.integers(0, 40), max_size=60)


def pid_of(number: int, kind: PidType) -> Any:
    return number if kind == "int" else f'p"{number}'


def table_of(items: list[tuple[int, int]], kind: PidType) -> pa.Table:
    rows = {
        "pid": [pid_of(pid, kind) for pid, _ in items],
        "sid": [[code, 7, 8191] for _, code in items],
    }
    return pa.table(rows, schema=pid2sid(kind))


def expected_json(items: list[tuple[int, int]], uses: list[int], kind: PidType, name: str) -> str:
    """The reverse index, computed with plain Python."""
    counts = Counter(uses)
    index: dict[str, list[dict[str, Any]]] = {}
    for code in sorted({code for _, code in items}):
        pids = [pid for pid, own in items if own == code]
        entries = sorted((-counts[pid], pid_of(pid, kind), pid) for pid in pids)
        index[str(code * 8192 * 8192 + 7 * 8192 + 8191)] = [
            {name: shown, "count": counts[pid], "count_after_downsample": counts[pid]}
            for _, shown, pid in entries
        ]
    return json.dumps(index, ensure_ascii=False)


@pytest.mark.parametrize("kind", ["int", "string"])
@settings(max_examples=20, deadline=None)
@given(items=ITEMS, uses=USES, batch=st.integers(1, 9))
def test_the_reverse_index(
    kind: PidType, items: list[tuple[int, int]], uses: list[int], batch: int
) -> None:
    interacted = [pa.array([pid_of(u, kind) for u in uses], table_of([], kind).schema.types[0])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sid_assets.core.sids.sid2pid.BATCH_ROWS", batch)
        rows = reverse(table_of(items, kind).to_reader(), interacted).read_all()

    assert rows.schema.equals(sid2pid(kind))
    written = b"".join(json_chunks(rows.to_batches(), "iid")).decode()
    assert written == expected_json(items, uses, kind, "iid")
    assert not check_reverse(rows.to_reader(batch), table_of(items, kind).to_reader())
    for row in rows.to_pylist():
        assert row["sid"] == "<|sid_begin|><s_a_{}><s_b_{}><s_c_{}><|sid_end|>".format(
            *row["codes"]
        )
        assert len(row["pids"]) == len(row["counts"])


def test_pids_of_interactions_of_every_split(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "split": [0, 1, 0],
            "hist_video_pid": [[1, 2], None, [None, 1]],
            "target_video_pid": [[3], [3], []],
            "hist_ad_pid": [["4", "04", "x"], None, None],
        }
    )
    pq.write_table(rows, tmp_path / "rows.parquet")
    found = occurrences(ParquetInput(str(tmp_path)), ITEM_COLUMNS, "int")
    assert sorted(pid for pids in found for pid in pids.to_pylist()) == [1, 1, 2, 3, 3, 4]


def test_many_items_stream() -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    codes = rng.integers(0, 40, (n, 3))
    sids = pa.ListArray.from_arrays(np.arange(0, 3 * n + 1, 3, dtype=np.int32), codes.reshape(-1))
    table = pa.table({"pid": np.arange(n), "sid": sids}, schema=pid2sid("int"))
    batches = list(reverse(table.to_reader()))
    assert len(batches) > 3
    found = pa.Table.from_batches(batches)
    assert np.array_equal(np.sort(found["pids"].combine_chunks().flatten()), np.arange(n))
    assert len(found) == len(np.unique(codes, axis=0))
