"""The contract of `interactions` accepts a good table, and finds each kind of damage."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sid_assets.core.contracts.findings import Findings
from sid_assets.core.contracts.interactions import check_interactions
from sid_assets.core.events.making import EventsMaking
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.write import draft_rows

SCHEMA = pa.schema(
    [
        ("uid", pa.int64()),
        ("split", pa.int64()),
        ("history_until", pa.timestamp("us", "UTC")),
        ("targets_from", pa.timestamp("us", "UTC")),
        ("hist_video_pid", pa.list_(pa.int64())),
        ("target_video_pid", pa.list_(pa.int64())),
    ]
)
T1 = 5_000_000
KNOWN = pa.array(range(1, 50), pa.int64())

GOOD: list[dict[str, Any]] = [
    {"uid": 1, "split": 0, "time": 1, "hist_video_pid": [1], "target_video_pid": [2, 3]},
    {"uid": 1, "split": 0, "time": 2, "hist_video_pid": [1, 2, 3], "target_video_pid": [3]},
    {"uid": 1, "split": 1, "time": 5, "hist_video_pid": [1, 2, 3, 3], "target_video_pid": [1]},
    {"uid": 2, "split": 0, "time": 4, "hist_video_pid": [9], "target_video_pid": [8]},
    {"uid": 3, "split": 1, "time": 8, "hist_video_pid": [7, 7], "target_video_pid": [7]},
]
LEFT_LAST = [0, 0, 1, 1, 1]


def found(
    folder: Path, rows: list[dict[str, Any]], t1: int | None = T1, most_history: int = 6
) -> Findings:
    timed = [
        {
            "history_until": datetime.fromtimestamp(row.get("until", row["time"] - 1), UTC),
            "targets_from": datetime.fromtimestamp(row["time"], UTC),
            **row,
        }
        for row in rows
    ]
    table = pa.Table.from_pylist(timed, SCHEMA)
    store = Store(folder)
    making = EventsMaking("leave_last" if t1 is None else "time", t1, most_history)
    provenance = Provenance("interactions", details=making.details())
    draft = draft_rows(store, "interactions", table.to_reader(), provenance)
    return check_interactions(store.commit(draft), [KNOWN.slice(0, 20), KNOWN.slice(20), KNOWN])


def failed(findings: Findings) -> dict[str, dict[str, Any]]:
    return {name: one.metadata for name, one in findings.items() if not one.passed}


def changed(position: int, **values: Any) -> list[dict[str, Any]]:
    return [{**row, **(values if n == position else {})} for n, row in enumerate(GOOD)]


def test_a_good_table_passes(tmp_path: Path) -> None:
    assert failed(found(tmp_path, GOOD)) == {}


def test_events_of_items_that_left_may_lie_between_targets(tmp_path: Path) -> None:
    rows = changed(1, hist_video_pid=[1, 40, 2, 41, 3])
    rows[2]["hist_video_pid"] = [1, 40, 2, 41, 3, 3]
    assert failed(found(tmp_path, rows)) == {}


@pytest.mark.parametrize(
    "history", [[1, 3, 2], [1, 40, 3, 2], [1, 40, 2], [40, 1, 2, 3], [1, 3, 40, 41]]
)
def test_targets_in_another_order_or_lost_are_found(tmp_path: Path, history: list[int]) -> None:
    broken = failed(found(tmp_path, [GOOD[0], changed(1, hist_video_pid=history)[1]]))
    assert broken["targets_after_history"] == {"rows_offending": 1, "first_ids": "1"}


def test_the_last_row_of_each_user_is_left_out(tmp_path: Path) -> None:
    rows = [{**row, "split": split} for row, split in zip(GOOD, LEFT_LAST, strict=True)]
    assert failed(found(tmp_path, rows, t1=None)) == {}


@pytest.mark.parametrize("position", range(5))
def test_any_other_split_than_the_last_row_is_found(tmp_path: Path, position: int) -> None:
    splits = [split ^ (n == position) for n, split in enumerate(LEFT_LAST)]
    rows = [{**row, "split": split} for row, split in zip(GOOD, splits, strict=True)]
    assert failed(found(tmp_path, rows, t1=None))["splits"]["rows_offending"] == 1


@pytest.mark.parametrize("position", range(5))
def test_any_other_split_than_that_of_the_time_is_found(tmp_path: Path, position: int) -> None:
    rows = changed(position, split=1 - GOOD[position]["split"])
    broken = failed(found(tmp_path, rows))
    assert broken == {"splits": {"rows_offending": 1, "first_ids": str(rows[position]["uid"])}}


@pytest.mark.parametrize(
    ("position", "values", "check"),
    [
        (1, {"time": 1}, "order"),
        (1, {"time": 0}, "order"),
        (3, {"uid": 0}, "order"),
        (1, {"until": 2}, "targets_after_history"),
        (0, {"until": 3}, "targets_after_history"),
        (1, {"hist_video_pid": [1, 2]}, "targets_after_history"),
        (1, {"hist_video_pid": [2, 2, 3]}, "targets_after_history"),
        (1, {"hist_video_pid": [1, 3, 2]}, "targets_after_history"),
        (2, {"hist_video_pid": [1, 2, 3, 1]}, "targets_after_history"),
        (0, {"target_video_pid": [2, 4]}, "targets_after_history"),
        (3, {"target_video_pid": [50]}, "ids"),
        (3, {"hist_video_pid": [9, None]}, "ids"),
    ],
)
def test_damage_is_found(tmp_path: Path, position: int, values: dict[str, Any], check: str) -> None:
    assert failed(found(tmp_path, changed(position, **values))).keys() == {check}


def test_a_history_that_is_cut_is_not_compared(tmp_path: Path) -> None:
    rows = changed(2, hist_video_pid=[2, 3, 3])
    assert failed(found(tmp_path, rows, most_history=3)) == {}
    assert failed(found(tmp_path, rows, most_history=4)).keys() == {"targets_after_history"}


def test_a_table_without_rows_for_training_is_found(tmp_path: Path) -> None:
    assert failed(found(tmp_path, GOOD[4:])).keys() == {"rows"}
    assert failed(found(tmp_path, [])).keys() == {"rows"}


def test_rows_of_a_user_are_compared_across_batches(tmp_path: Path) -> None:
    rows, history = [], [1]
    for n in range(3000):
        rows.append({**GOOD[0], "uid": n // 3, "time": n % 3, "hist_video_pid": history})
        history = [*history, 2, 3] if n % 3 < 2 else [1]
    assert failed(found(tmp_path, rows, most_history=99)) == {}
    for n in (1023, 1024, 1025):
        broken = [{**row, "hist_video_pid": [3]} if k == n else row for k, row in enumerate(rows)]
        assert failed(found(tmp_path, broken, most_history=99)).keys() == {"targets_after_history"}
