"""What became of the rows: counted by block, added up, and stored as JSON."""

import json
from collections import Counter

import numpy as np

from sid_assets.core.store.provenance import Provenance
from sid_assets.core.training.block import sifted
from sid_assets.core.training.counts import PidCount, RowCounts


def test_counts_of_two_blocks() -> None:
    kept, dropped = sifted({"a": np.array([True, False]), "b": np.array([False, False])})
    assert kept.tolist() == [False, False]
    assert dropped == {"a": 1, "b": 1}
    hist = {"hist": PidCount.of(np.array([True, False, True]))}
    first = RowCounts(rows=2, candidates=2, dropped=dropped, pids=hist)
    hist = {"hist": PidCount.of(np.array([False]))}
    second = RowCounts(rows=1, candidates=3, written=1, dropped=Counter(b=2), pids=hist)
    both = first + second
    assert both.rows == 3
    assert both.adds_up()
    assert both.dropped == {"a": 1, "b": 3}
    assert both.pids["hist"].share == 0.5
    assert both.lost() == both.dropped + both.dropped_rows


def test_counts_survive_a_round_trip_through_json() -> None:
    counts = RowCounts(
        rows=9,
        candidates=8,
        written=5,
        dropped_rows=Counter({"uid is null": 1}),
        dropped=Counter({"no pid has a SID": 2, "target is null": 1}),
        mask_lines=Counter(hist_video_like=4),
        pids={"hist_video_pid": PidCount(100, 95), "target_video_pid": PidCount()},
    )
    kept = Provenance.from_json(Provenance("t", details={"counts": counts.to_json()}).to_json())
    assert RowCounts.of(kept) == counts
    assert RowCounts.of(Provenance("t")) is None


def test_the_json_has_the_format_of_tables_on_disk() -> None:
    stored = (
        '{"rows": 3, "candidates": 2, "written": 0, "dropped_rows": {"no uid": 1}, '
        '"dropped": {"no history": 2}, "mask_lines": {}, '
        '"pids": {"hist_video_pid": {"pids": 100, "with_sid": 95, "removed": 2}}}'
    )
    assert json.dumps(RowCounts.from_json(json.loads(stored)).to_json()) == stored
    of_version_0_1 = json.loads(stored.replace(', "removed": 2', ""))
    assert RowCounts.from_json(of_version_0_1).pids["hist_video_pid"].with_sid == 95
