"""The rules by which a log of events becomes interactions, and what became of the events."""

from dataclasses import dataclass, field
from typing import Literal

Split = Literal["time", "leave_last"]
"""How rows are split: by a time that is the same for all users, or by each user's last row."""

DROPPED = ("unknown item", "not in the core", "user with too few events")
"""Why an event is in no row, in the order in which events are dropped."""


@dataclass(frozen=True)
class Rules:
    """How sessions, histories, targets and splits are made of events.

    Attributes:
        split: `time`: rows whose targets lie before T1 are split 0, the others split 1.
            `leave_last`: the last row of each user is split 1.
        split_at: T1 as ISO text, without an offset in the time zone of the log. Empty: the time
            that leaves at least `test_share` of the events of the log at or after it.
        test_share: The share of the events from T1 on, above 0 and below 1.
        session_minutes: A longer gap between two events of a user starts a new session. 0 makes a
            session of each timestamp. Where times are days, each day is a session.
        most_targets: A row's targets are the first events of its session, at most this many.
        most_history: A row's history is the last events before its session, at most this many.
        rows_per_user: The newest rows of a user that are kept.
        fewest_events: Users with fewer events are dropped.
        core: Only items and users with this many events before T1 are kept, counted again until
            none is dropped; 0 keeps all. With `leave_last` all events count.
        seed: Of the hash that orders the events of a user at one time.
    """

    split: Split = "time"
    split_at: str = ""
    test_share: float = 0.1
    session_minutes: int = 30
    most_targets: int = 10
    most_history: int = 512
    rows_per_user: int = 20
    fewest_events: int = 2
    core: int = 0
    seed: int = 0


@dataclass
class Summary:
    """What a log holds and what became of it. Complete once all rows are read.

    Attributes:
        events: Events in the log.
        users: Users in the log.
        first: Time of the first event (microseconds since 1970, UTC).
        last: Time of the last event.
        t1: Where the time split is (microseconds since 1970, UTC); None with `leave_last`.
        known_share: Share of the events whose item is in the catalog.
        of_removed: Events whose item is no longer in the catalog, but had a SID.
        dropped: Events dropped, by reason (`DROPPED`).
        sessions_without_history: Sessions that are no row, because nothing precedes them.
        sessions_too_old: Sessions beyond the newest rows of their user.
        rows: Rows of split 0 and of split 1.
        history_lengths: Rows by the length of their history; index 0 is unused.
    """

    events: int = 0
    users: int = 0
    first: int = 0
    last: int = 0
    t1: int | None = None
    known_share: float = 1.0
    of_removed: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DROPPED, 0))
    sessions_without_history: int = 0
    sessions_too_old: int = 0
    rows: list[int] = field(default_factory=lambda: [0, 0])
    history_lengths: list[int] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
