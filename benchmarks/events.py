"""Interactions from a log of events, compared with a plain pandas program that loops over users.

    python -m benchmarks.events [--events 10000000]

It simulates a log of ten million events of a million users: most have a few, the longest 20,000. It
makes the interactions of the whole log, and those of a log of a tenth of its size with this package
and with pandas, which take turns. Both read parquet and write parquet, in a process of their own;
the rows are compared. The last line is one JSON object: `seconds` and `peak_rss_mb` of the whole
log, and `speedup` over pandas on the tenth, of the medians.
"""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import in_own_process
from sid_assets.core.events.log import EventLog
from sid_assets.core.events.make import make_interactions
from sid_assets.core.events.rules import Rules

EVENTS = 10_000_000
TURNS = 3
EVENTS_PER_USER = 10
LONGEST = 20_000
ITEMS = 1_000_000
DAYS = 90
START = 1_700_000_000
LABELS = "like: rating >= 4; longview: watch_ms >= 10000"
MINUTE = 60_000_000
RULES = Rules()


def make_log(path: Path, events: int) -> None:
    """Write a log; its users are shuffled, and in sessions of some minutes."""
    rng = np.random.default_rng(0)
    users = max(1, events // EVENTS_PER_USER)
    weights = 1 / np.arange(1, users + 1) ** 0.8
    weights[0] = 0
    longest = min(LONGEST, events // 10)
    others = rng.choice(users, events - longest, p=weights / weights.sum())
    # The heaviest of a power law would have more than the longest user.
    crowded = np.flatnonzero(np.bincount(others, minlength=users) > longest)
    others[np.isin(others, crowded)] = rng.integers(1, users, np.isin(others, crowded).sum())
    user = rng.permutation(np.r_[np.zeros(longest, np.int64), others])
    session = rng.integers(0, DAYS * 3, events)
    table = pa.table(
        {
            "user_id": user,
            "item_id": (rng.random(events) ** 2 * ITEMS).astype(np.int64),
            "timestamp": START + session * 28_800 + rng.integers(0, 900, events),
            "rating": rng.integers(1, 6, events),
            "watch_ms": rng.integers(0, 30_000, events),
        }
    )
    pq.write_table(table, path)


def ours(log: str, target: str) -> None:
    """Make the interactions with this package."""
    with tempfile.TemporaryDirectory() as scratch:
        made = make_interactions(EventLog(log), RULES, LABELS, pid_type="int", scratch_dir=scratch)
        with pq.ParquetWriter(target, made.reader.schema) as writer:
            for batch in made.reader:
                writer.write_batch(batch)


def plain(log: str, target: str) -> None:
    """Make the interactions with pandas, user by user."""
    frame = pd.read_parquet(log)
    frame["us"] = frame["timestamp"] * 1_000_000
    frame["longview"] = (frame["watch_ms"] >= 10_000).astype(int)
    frame["like"] = (frame["rating"] >= 4).astype(int)
    later = max(1, round(RULES.test_share * len(frame)))
    t1 = frame["us"].nlargest(later).iloc[-1]
    frame["tie"] = [
        int.from_bytes(hashlib.md5(f"0\x1f{u}\x1f{i}".encode()).digest()[:8], "little")  # noqa: S324
        for u, i in zip(frame["user_id"], frame["item_id"], strict=True)
    ]
    frame["bits"] = frame["longview"] + 2 * frame["like"]
    frame = frame.sort_values(["user_id", "us", "tie", "item_id", "bits"])
    rows: list[dict[str, Any]] = []
    for user, events in frame.groupby("user_id", sort=True):
        if len(events) >= RULES.fewest_events:
            rows += _rows_of(user, events, t1)
    pd.DataFrame(rows).to_parquet(target)


def _rows_of(user: Any, events: pd.DataFrame, t1: int) -> list[dict[str, Any]]:
    us = events["us"].tolist()
    starts = [
        place
        for place in range(1, len(us))
        if us[place] - us[place - 1] > RULES.session_minutes * MINUTE
        or us[place - 1] < t1 <= us[place]
    ]
    ends = [*starts[1:], len(us)][: len(starts)]
    values = {name: events[name].tolist() for name in ("item_id", "longview", "like")}
    rows = []
    for start, end in list(zip(starts, ends, strict=True))[-RULES.rows_per_user :]:
        history = slice(max(0, start - RULES.most_history), start)
        targets = slice(start, min(end, start + RULES.most_targets))
        row = {"uid": user, "split": int(us[start] >= t1)}
        for side, chosen in (("hist", history), ("target", targets)):
            row[f"{side}_video_pid"] = values["item_id"][chosen]
            row[f"{side}_video_longview"] = values["longview"][chosen]
            row[f"{side}_video_like"] = values["like"][chosen]
        seen = zip(row["hist_video_pid"], row["hist_video_longview"], strict=True)
        row["hist_longview_video_list"] = [item for item, long in seen if long]
        rows.append(row)
    return rows


def same_rows(mine: str, theirs: str) -> bool:
    """Whether both made the same rows, in the same order."""
    plain_rows = pq.read_table(theirs)
    rows = pq.read_table(mine).select(plain_rows.column_names)
    return rows.equals(plain_rows.cast(rows.schema))


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        whole, tenth, mine, theirs = (
            f"{folder}/{name}.parquet" for name in ("whole", "tenth", "mine", "theirs")
        )
        in_own_process(make_log, Path(tenth), events // 10)
        by_us, by_pandas = [], []
        for _ in range(TURNS):
            by_us.append(in_own_process(ours, tenth, mine).seconds)
            by_pandas.append(in_own_process(plain, tenth, theirs).seconds)
            print(f"{events // 10:,} events: {by_us[-1]:.1f} s, pandas {by_pandas[-1]:.1f} s")
        equal = same_rows(mine, theirs)
        in_own_process(make_log, Path(whole), events)
        all_events = in_own_process(ours, whole, mine)
        print(
            json.dumps(
                {
                    "events": events,
                    "rows": pq.read_metadata(mine).num_rows,
                    "seconds": round(all_events.seconds, 1),
                    "peak_rss_mb": round(all_events.peak_rss_mb),
                    "speedup": round(median(by_pandas) / median(by_us), 1),
                    "rows_equal": equal,
                }
            )
        )


if __name__ == "__main__":
    main()
