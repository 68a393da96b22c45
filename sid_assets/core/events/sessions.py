"""Rows of interactions from events that are sorted by user and time, block by block."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sid_assets.core.events.rules import Rules, Summary
from sid_assets.core.schema import PID_TYPES, TIME, PidType

MINUTE = 60_000_000

OF_REMOVED = 128
"""The bit of an event whose item is no longer in the catalog: it is history, but no target."""

Ints = np.ndarray[Any, np.dtype[np.int64]]


def interactions_schema(pid_type: PidType, labels: Sequence[str]) -> pa.Schema:
    """The columns of the rows.

    `history_until` is the time of the last event of the history, `targets_from` that of the first
    target.
    """
    pids, mask = pa.list_(PID_TYPES[pid_type]), pa.list_(pa.int8())
    fields = {"uid": pa.int64(), "split": pa.int64(), "history_until": TIME, "targets_from": TIME}
    fields |= {"hist_video_pid": pids, "target_video_pid": pids}
    fields |= {f"{side}_video_{label}": mask for label in labels for side in ("hist", "target")}
    if "longview" in labels:
        fields["hist_longview_video_list"] = pids
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields.items()])


def whole_users(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Blocks of events that end where a user does.

    Args:
        batches: The column `uid`, sorted, and others.
    """
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        uids = batch["uid"].to_numpy()
        if not len(uids):
            continue
        if waiting and waiting[-1]["uid"][-1].as_py() != uids[0]:
            yield pa.Table.from_batches(waiting)
            waiting = []
        start = int(np.searchsorted(uids, uids[-1]))
        if start:
            yield pa.Table.from_batches([*waiting, batch.slice(0, start)])
            waiting = []
        waiting.append(batch.slice(start))
    if waiting:
        yield pa.Table.from_batches(waiting)


def rows_of(
    events: pa.Table,
    rules: Rules,
    t1: int | None,
    schema: pa.Schema,
    labels: Sequence[str],
    summary: Summary,
) -> pa.RecordBatch:
    """The rows of some users.

    Args:
        events: All events of these users: `uid`, `us`, `pid`, `bits`, sorted by user and time.
        rules: The rules.
        t1: Where the time split is; None with `leave_last`.
        schema: Of `interactions_schema`.
        labels: The labels, in the order of their bits.
        summary: Counts the rows.
    """
    events = events.combine_chunks()
    uid, us = events["uid"].to_numpy(), events["us"].to_numpy()
    first = np.r_[True, uid[1:] != uid[:-1]]
    begins = first | np.r_[True, np.diff(us) > rules.session_minutes * MINUTE]
    if t1 is not None:
        begins |= np.r_[True, (us[:-1] < t1) & (us[1:] >= t1)]
    start = np.flatnonzero(begins)
    end = np.r_[start[1:], len(uid)]
    of_user = np.maximum.accumulate(np.where(first, np.arange(len(uid)), 0))[start]
    user = np.cumsum(first)[start]

    bits = events["bits"].to_numpy()
    current = np.flatnonzero(bits < OF_REMOVED)
    low, high = (np.searchsorted(current, bound) for bound in (start, end))
    followed, wanted = start > of_user, high > low
    so_far = np.cumsum(wanted)
    newer = so_far[np.searchsorted(user, user, side="right") - 1] - so_far
    kept = followed & wanted & (newer < rules.rows_per_user)
    split = (newer == 0 if t1 is None else us[start] >= t1).astype(np.int64)[kept]
    summary.sessions_without_history += int(np.sum(wanted & ~followed))
    summary.sessions_too_old += int(np.sum(followed & wanted & ~kept))
    start, of_user, low, high = start[kept], of_user[kept], low[kept], high[kept]
    from_ = np.maximum(of_user, start - rules.most_history)
    histories = _ranges(from_, start)
    index, bounds = _ranges(low, np.minimum(high, low + rules.most_targets))
    targets = current[index], bounds
    _count(summary, split, start - from_)

    columns: dict[str, pa.Array] = {
        "uid": pa.array(uid[start]),
        "split": pa.array(split),
        "history_until": pa.array(us[start - 1]).cast(pa.timestamp("us")).cast(TIME),
        "targets_from": pa.array(us[current[low]]).cast(pa.timestamp("us")).cast(TIME),
    }
    pids = events["pid"].combine_chunks()
    for side, (index, bounds) in (("hist", histories), ("target", targets)):
        columns[f"{side}_video_pid"] = _lists(bounds, pids.take(pa.array(index)))
        for bit, label in enumerate(labels):
            mask = (bits[index] >> bit & 1).astype(np.int8)
            columns[f"{side}_video_{label}"] = _lists(bounds, pa.array(mask))
            if side == "hist" and label == "longview":
                chosen = mask.astype(bool)
                counted = np.r_[0, np.cumsum(chosen)][bounds]
                of_label = pids.take(pa.array(index[chosen]))
                columns["hist_longview_video_list"] = _lists(counted, of_label)
    arrays = [columns[field.name].cast(field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _count(summary: Summary, split: Ints, lengths: Ints) -> None:
    summary.rows[1] += int(split.sum())
    summary.rows[0] += int(len(split) - split.sum())
    counted = np.bincount(lengths, minlength=len(summary.history_lengths))
    counted[: len(summary.history_lengths)] += np.array(summary.history_lengths, np.int64)
    summary.history_lengths = counted.tolist()


def _ranges(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """All positions of ranges, shape (n,), and where those of each begin, shape (m + 1,)."""
    bounds = np.r_[0, np.cumsum(high - low)]
    return np.arange(bounds[-1]) + np.repeat(low - bounds[:-1], high - low), bounds


def _lists(bounds: Ints, values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), values)
