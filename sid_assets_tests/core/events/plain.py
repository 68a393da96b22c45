"""The rows of a log by a plain loop in Python, to compare with."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sid_assets.core.events.labels import Condition
from sid_assets.core.events.rules import Rules

MINUTE = 60_000_000


@dataclass(frozen=True)
class Event:
    """An event; `us` are microseconds since 1970."""

    user: str
    pid: Any
    us: int
    values: Mapping[str, str | None]


def plain_rows(
    events: Sequence[Event],
    rules: Rules,
    conditions: Mapping[str, Condition],
    known: set[Any] | None = None,
    t1: int | None = None,
) -> list[dict[str, Any]]:
    """The rows, sorted by user and time. Users are integers."""
    if rules.split == "leave_last":
        t1 = None
    elif t1 is None:
        t1 = sorted(event.us for event in events)[-max(1, round(rules.test_share * len(events)))]
    kept = [event for event in events if known is None or event.pid in known]
    kept = in_core(kept, rules.core, t1)
    by_user: dict[int, list[Event]] = defaultdict(list)
    for event in kept:
        by_user[int(event.user)].append(event)
    rows = []
    for uid in sorted(by_user):
        if len(by_user[uid]) >= rules.fewest_events:
            rows += rows_of_user(uid, by_user[uid], rules, conditions, t1)
    return rows


def in_core(events: list[Event], core: int, t1: int | None) -> list[Event]:
    """The events of items and users with enough events before T1."""
    while core:
        size = len(events)
        for of in (lambda event: event.pid, lambda event: event.user):
            times = Counter(of(event) for event in events if t1 is None or event.us < t1)
            events = [event for event in events if times[of(event)] >= core]
        if len(events) == size:
            break
    return events


def rows_of_user(
    uid: int, events: list[Event], rules: Rules, conditions: Mapping[str, Condition], t1: int | None
) -> list[dict[str, Any]]:
    """The rows of one user."""

    def bits(event: Event) -> int:
        held = (condition.holds(event.values) for condition in conditions.values())
        return sum(1 << place for place, holds in enumerate(held) if holds)

    def place(event: Event) -> tuple[Any, ...]:
        text = f"{rules.seed}\x1f{event.user}\x1f{event.pid}"
        tie = int.from_bytes(hashlib.md5(text.encode()).digest()[:8], "little")  # noqa: S324
        return (event.us, float(event.values.get("seq") or 0), tie, event.pid, bits(event))

    events = sorted(events, key=place)
    sessions: list[list[int]] = []
    for position, event in enumerate(events):
        before = events[position - 1].us
        crosses = t1 is not None and before < t1 <= event.us
        if not position or event.us - before > rules.session_minutes * MINUTE or crosses:
            sessions.append([])
        sessions[-1].append(position)
    rows = []
    for number, session in enumerate(sessions[1:], 1):
        history = events[max(0, session[0] - rules.most_history) : session[0]]
        targets = [events[position] for position in session[: rules.most_targets]]
        last = number == len(sessions) - 1
        row: dict[str, Any] = {
            "uid": uid,
            "split": int(last if t1 is None else targets[0].us >= t1),
            "hist_video_pid": [event.pid for event in history],
            "target_video_pid": [event.pid for event in targets],
        }
        for label, condition in conditions.items():
            for side, chosen in (("hist", history), ("target", targets)):
                row[f"{side}_video_{label}"] = [int(condition.holds(e.values)) for e in chosen]
        if "longview" in conditions:
            row["hist_longview_video_list"] = [
                event.pid for event in history if conditions["longview"].holds(event.values)
            ]
        rows.append(row)
    return rows[-rules.rows_per_user :]
