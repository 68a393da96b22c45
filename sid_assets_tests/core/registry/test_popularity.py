"""Users of items, against a plain loop over the interactions."""

from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.registry.popularity import no_users, users_of_items
from sid_assets.core.schema import item_counts

LISTS = ("hist_video_pid", "target_video_pid")
PIDS = st.lists(st.integers(1, 6) | st.none(), max_size=4) | st.none()


def counted(path, columns: dict[str, Any], pid_type: Any = "int") -> dict[Any, int]:
    pq.write_table(pa.table(columns), path)
    lists = [name for name in LISTS if name in columns]
    with users_of_items(ParquetInput(str(path)), lists, pid_type) as rows:
        table = rows.read_all()
    assert table.schema == item_counts(pid_type)
    pids = table["pid"].to_pylist()
    assert pids == sorted(pids)
    return dict(zip(pids, table["users"].to_pylist(), strict=True))


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([0, 1]), PIDS, PIDS), max_size=12
    )
)
def test_each_user_and_item_counts_once_and_only_in_split_0(tmp_path_factory, rows):
    users = defaultdict(set)
    for uid, split, history, targets in rows:
        for pid in [*(history or []), *(targets or [])]:
            if split == 0 and pid is not None:
                users[pid].add(uid)
    lists = pa.list_(pa.int64())
    columns = {
        "uid": pa.array([row[0] for row in rows], pa.int64()),
        "split": pa.array([row[1] for row in rows], pa.int64()),
        "hist_video_pid": pa.array([row[2] for row in rows], lists),
        "target_video_pid": pa.array([row[3] for row in rows], lists),
    }
    path = tmp_path_factory.mktemp("interactions") / "rows.parquet"
    assert counted(path, columns) == {pid: len(of) for pid, of in users.items()}


def test_users_and_items_may_be_text(tmp_path):
    columns = {"uid": ["a", "a", "b"], "hist_video_pid": [["x", "x"], ["y"], ["x"]]}
    assert counted(tmp_path / "rows.parquet", columns, "string") == {"x": 2, "y": 1}


def test_without_uid_every_row_is_a_user(tmp_path):
    columns = {"hist_video_pid": [[1, 1], [1], [2]]}
    assert counted(tmp_path / "rows.parquet", columns) == {1: 2, 2: 1}


@pytest.mark.parametrize(
    "uids", [["a", None, None], [None, 7, None], [1.0, float("nan"), None], [None, None, None]]
)
def test_a_row_without_a_user_counts_for_nobody(tmp_path, uids):
    users = [uid for uid in uids if uid is not None and uid == uid]
    columns = {"uid": uids, "hist_video_pid": [[1], [1], [1]]}
    found = counted(tmp_path / "rows.parquet", columns)
    assert found == ({1: len(users)} if users else {})


@pytest.mark.parametrize("pid_type", ["int", "string"])
def test_without_interactions_the_table_is_empty(pid_type):
    assert no_users(pid_type).read_all().equals(item_counts(pid_type).empty_table())
