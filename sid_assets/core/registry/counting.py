"""What a refresh did, counted while its rows are written.

Memory: 8 bytes for each SID, and 8 more for each item where collisions are resolved.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, run_starts
from sid_assets.core.registry.apply import Applied
from sid_assets.core.registry.decide import NOBODY, Decision, codes_of, column, known
from sid_assets.core.registry.making import RefreshCounts
from sid_assets.core.sids.spelling import pack


@dataclass(frozen=True)
class Cost:
    """What resolving does to the items that have a SID.

    Attributes:
        items: Items whose SID was resolved.
        new: Those that got it by this refresh.
        mean_extra_error: How much larger their relative reconstruction error is, on average.
        shared_before: Codes of more than one item.
        shared: SIDs of more than one item.
    """

    items: int
    new: int
    mean_extra_error: float
    shared_before: int
    shared: int

    def sentence(self) -> str:
        """One line for the log."""
        return (
            f"{self.items:,} items have another third code than their codes, which were taken, "
            f"{self.new:,} of them since this refresh; this adds {self.mean_extra_error:.4f} to "
            "their relative reconstruction error on average; SIDs of more than one item: "
            f"{self.shared_before:,} before resolving -> {self.shared:,} after."
        )


class Counting:
    """Counts window after window."""

    def __init__(self, *, resolving: bool = False) -> None:
        """With `resolving`, it also counts what resolving does."""
        self._sums = dict.fromkeys(
            ("items", "new", "changed", "removed", "returned", "resolved"), 0
        )
        self._stayed: list[np.ndarray] = []
        self._new: list[np.ndarray] = []
        self._reserved: list[np.ndarray] = []
        self._resolving = resolving
        self._codes: list[np.ndarray] = []
        self._newly_resolved, self._extra_error = 0, 0.0

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
        if self._resolving:
            self._newly_resolved += int((resolved & owned & applied.new).sum())
            errors = column(rows["extra_error"]).filter(pa.array(resolved & owned))
            self._extra_error += pc.sum(errors.cast(pa.float64())).as_py() or 0.0
            self._codes.append(pack(codes_of(rows["codes"]))[owned])
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
        sizes = _sizes(np.concatenate([stayed, new]))
        return RefreshCounts(
            **self._sums,
            distinct_sids=len(sizes),
            shared_sids=int((sizes > 1).sum()),
            passed_on=0 if most else passed_on,
            over=int((sizes - most)[sizes > most].sum()) if most else 0,
            without_room=without_room,
        )

    def cost(self, counts: RefreshCounts) -> Cost | None:
        """What resolving does, given the counts; None if it does nothing, or was not counted."""
        if not (self._resolving and counts.resolved):
            return None
        return Cost(
            counts.resolved,
            self._newly_resolved,
            self._extra_error / counts.resolved,
            int((_sizes(_taken(self._codes)) > 1).sum()),
            counts.shared_sids,
        )


def _sizes(sids: np.ndarray) -> np.ndarray:
    """How many items have each of the different SIDs."""
    sids = np.sort(sids)
    starts = run_starts(sids) if len(sids) else np.empty(0, np.int64)
    return np.diff(starts, append=len(sids))


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
