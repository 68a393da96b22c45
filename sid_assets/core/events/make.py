"""Interactions from a log of events, in bounded memory."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from sid_assets.core.events.log import EventLog
from sid_assets.core.events.rules import Rules, Summary
from sid_assets.core.schema import PidType


@dataclass(frozen=True)
class Made:
    """Interactions. `reader` gives the rows; then `summary` is complete."""

    reader: pa.RecordBatchReader
    summary: Summary


def make_interactions(
    log: EventLog,
    rules: Rules,
    labels: str,
    *,
    pid_type: PidType,
    scratch_dir: str | Path,
    known: pa.RecordBatchReader | None = None,
    uid_map: pa.RecordBatchReader | None = None,
    forced: bool = False,
) -> Made:
    """Rows of interactions: `uid`, `split`, `time`, lists of videos and their labels.

    Args:
        log: The log.
        rules: How rows are made.
        labels: Conditions of labels, such as `like: rating >= 4; longview: watch_ms >= 10000`.
        pid_type: Type of the catalog's ids.
        scratch_dir: Has room for the log; the caller removes it once all rows are read.
        known: Column `pid`: the items of the catalog. Events with others are dropped.
        uid_map: Columns `pid` (a user, as text) and `number`; None if users are integers.
        forced: Whether SID_PID_TYPE names the type of ids.
    """
    raise NotImplementedError


def text_users(log: EventLog, scratch_dir: str | Path) -> pa.RecordBatchReader | None:
    """Column `pid`: each user once, for `number_pids`; None if all users are integers."""
    raise NotImplementedError


def counted_users(
    log: EventLog, rules: Rules, *, pid_type: PidType, scratch_dir: str | Path, forced: bool = False
) -> pa.RecordBatchReader:
    """Rows of `item_counts`: the users of each item in split 0, sorted by pid."""
    raise NotImplementedError
