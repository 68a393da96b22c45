"""What a refresh did, counted while its rows are written: 8 bytes of memory for each SID."""

import numpy as np
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, run_starts
from sid_assets.core.registry.apply import Applied
from sid_assets.core.registry.decide import NOBODY, Decision, codes_of, column, known
from sid_assets.core.registry.making import RefreshCounts
from sid_assets.core.sids.spelling import pack


class Counting:
    """Counts window after window."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(
            ("items", "new", "changed", "removed", "returned", "resolved"), 0
        )
        self._stayed: list[np.ndarray] = []
        self._new: list[np.ndarray] = []
        self._reserved: list[np.ndarray] = []

    def add(self, decision: Decision, applied: Applied) -> None:
        """Count a window."""
        item, live = decision.item, decision.live
        had_rows = np.zeros(len(decision.row), bool)
        had_rows[item[item != NOBODY]] = True
        had_sid = np.zeros(len(decision.row), bool)
        had_sid[item[live & (item != NOBODY)]] = True
        sums = self._sums
        sums["items"] += len(decision.row)
        sums["new"] += int((~had_rows).sum())
        sums["returned"] += int((had_rows & ~had_sid).sum())
        sums["removed"] += int((live & (item == NOBODY)).sum())
        sums["changed"] += _changed_texts(decision)
        rows, owned = applied.rows, applied.owned
        resolved = as_bool(column(pc.equal(rows["made"], "resolved")))
        sums["resolved"] += int((resolved & owned).sum())
        sids = pack(codes_of(rows["sid"]))
        self._stayed.append(sids[owned & ~applied.new])
        self._new.append(sids[owned & applied.new])
        self._reserved.append(sids[~owned & ~known(rows["freed_at"])])

    def counts(self, most: int, without_room: int = 0) -> RefreshCounts:
        """The counts, once all windows are counted; then the memory is free again.

        Args:
            most: Items that may have the same SID; 0: any number.
            without_room: Items that share a SID because there was no room.
        """
        stayed, new, reserved = map(_taken, (self._stayed, self._new, self._reserved))
        passed_on = 0
        if len(reserved):
            reserved = np.setdiff1d(reserved, stayed)
            passed_on = int(np.isin(new, reserved).sum())
        sids = np.sort(np.concatenate([stayed, new]))
        starts = run_starts(sids) if len(sids) else np.empty(0, np.int64)
        sizes = np.diff(starts, append=len(sids))
        return RefreshCounts(
            **self._sums,
            distinct_sids=len(sizes),
            shared_sids=int((sizes > 1).sum()),
            passed_on=0 if most else passed_on,
            over=int((sizes - most)[sizes > most].sum()) if most else 0,
            without_room=without_room,
        )


def _changed_texts(decision: Decision) -> int:
    """Items with a SID whose text is another one than before."""
    rows, item = decision.rows, decision.item
    places = np.flatnonzero(decision.live & (item != NOBODY))
    if not len(places):
        return 0
    before = column(rows["text_hash"]).take(places)
    now = column(decision.items["text_hash"]).take(item[places])
    return pc.sum(pc.not_equal(before, now)).as_py() or 0


def _taken(arrays: list[np.ndarray]) -> np.ndarray:
    """All arrays as one; the list is emptied."""
    arrays.insert(0, np.empty(0, np.int64))
    joined = np.concatenate(arrays)
    arrays.clear()
    return joined
