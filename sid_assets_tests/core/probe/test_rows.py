"""Rows that the probe trains and scores on, against a plain program."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.probe.rows import (
    MOST_HISTORY,
    count_repeated_targets,
    pairs_of,
    read_rows,
)
from sid_assets_tests.core.probe.random_rows import lists_of, rows_of

PIDS = pa.array([10, 20, 30, 40])
LISTS = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=8)


def write(path: Path, rows: list[dict]) -> ParquetInput:
    columns = pa.schema(
        [
            ("uid", pa.int64()),
            ("split", pa.int64()),
            ("hist_video_pid", pa.list_(pa.int64())),
            ("target_video_pid", pa.list_(pa.int64())),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, columns), path)
    return ParquetInput(str(path))


def row(uid, split, history, targets):
    return {
        "uid": uid,
        "split": split,
        "hist_video_pid": history,
        "target_video_pid": targets,
    }


def content(rows) -> list[tuple[list[int], list[int]]]:
    return sorted(
        (rows.histories[at].tolist(), rows.targets[at].tolist()) for at in range(len(rows))
    )


def test_rows_of_each_split_with_positions_instead_of_ids(tmp_path):
    given_rows = [
        row(1, 0, [10, 20], [30]),
        row(1, 1, [10, 20, 30], [40, 99]),  # 99 is no item
        row(2, 0, [99, 40], [10]),
        row(2, 0, [99], [10]),  # without a history
        row(3, 1, [10], [99]),  # without a target
        row(4, 7, [10], [20]),  # of no split
    ]
    trained, scored = read_rows(write(tmp_path / "i.parquet", given_rows), PIDS, "int")
    assert content(trained) == [([0, 1], [2]), ([3], [0])]
    assert content(scored) == [([0, 1, 2], [3])]
    assert (trained.left_out, trained.of_all) == (1, 2)
    assert (scored.left_out, scored.of_all) == (1, 1)


def test_rows_without_a_user_have_one_each(tmp_path):
    rows = [row(None, 0, [10], [20]), row(None, 0, [10], [20]), row(5, 0, [10], [20])]
    trained, _ = read_rows(write(tmp_path / "i.parquet", rows), PIDS, "int")
    assert len(set(trained.users.tolist())) == 3


def test_the_end_of_a_long_history_is_kept(tmp_path):
    rows = [row(1, 0, [10] * MOST_HISTORY + [20], [30])]
    trained, _ = read_rows(write(tmp_path / "i.parquet", rows), PIDS, "int")
    assert trained.histories[0].tolist() == [0] * (MOST_HISTORY - 1) + [1]


def test_whole_users_are_chosen_by_hash_wherever_their_rows_are(tmp_path):
    rows = [row(user, 1, [10], [20 if user % 2 else 30]) for user in range(500)]
    forward = write(tmp_path / "forward.parquet", rows)
    backward = write(tmp_path / "backward.parquet", rows[::-1])
    chosen = [read_rows(part, PIDS, "int", most_scored=20)[1] for part in (forward, backward)]
    assert chosen[0].users.tolist() == chosen[1].users.tolist()
    assert len(chosen[0]) == 20
    assert chosen[0].of_all == 500
    _, everything = read_rows(forward, PIDS, "int")
    assert chosen[0].users.tolist() == everything.users[:20].tolist()


def test_text_ids(tmp_path):
    rows = pa.table(
        {
            "uid": ["a", "b"],
            "split": [0, 1],
            "hist_video_pid": [["x"], ["y", "z"]],
            "target_video_pid": [["y"], ["x"]],
        }
    )
    pq.write_table(rows, tmp_path / "i.parquet")
    source = ParquetInput(str(tmp_path / "i.parquet"))
    trained, scored = read_rows(source, pa.array(["x", "y"]), "string")
    assert content(trained) == [([0], [1])]
    assert content(scored) == [([1], [0])]


def test_a_missing_column_is_named(tmp_path):
    pq.write_table(pa.table({"uid": [1], "split": [0]}), tmp_path / "i.parquet")
    with pytest.raises(InputError, match=r"i\.parquet.*hist_video_pid.*target_video_pid"):
        read_rows(ParquetInput(str(tmp_path / "i.parquet")), PIDS, "int")


@given(LISTS, st.integers(0, 4), st.data())
def test_lists(lists, count, data):
    made = lists_of(lists)
    chosen = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=9))
    taken = made.take(np.array(chosen, int))
    assert [taken[at].tolist() for at in range(len(chosen))] == [lists[at] for at in chosen]
    last = made.last(count)
    wanted = [items[len(items) - count :] if count < len(items) else items for items in lists]
    assert [last[at].tolist() for at in range(len(lists))] == wanted
    assert made.rows().tolist() == [at for at, items in enumerate(lists) for _ in items]


def test_targets_that_the_user_had_before_are_counted():
    trained = rows_of([(1, [0, 1], [2]), (2, [3], [0])])
    scored = rows_of(
        [(1, [0], [2, 3]), (1, [0], [3]), (2, [0], [2]), (2, [1], [3, 0]), (9, [0], [2])]
    )
    assert count_repeated_targets(trained, scored) == 2


def test_a_leak_that_was_put_in_is_told():
    scored = rows_of([(user, [0], [user % 7]) for user in range(50)])
    clean = rows_of([(user, [8], [9]) for user in range(50)])
    leaking = rows_of([(user, [8], [user % 7 if user < 30 else 9]) for user in range(50)])
    assert count_repeated_targets(clean, scored) == 0
    assert count_repeated_targets(leaking, scored) == 30


def test_pairs_are_those_of_histories_and_targets():
    rows = rows_of([(1, [0, 1], [2]), (2, [3], [0])])
    found = sorted(
        (int(user), int(item))
        for users, items in pairs_of(rows)
        for user, item in zip(users, items, strict=True)
    )
    assert found == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 3)]
