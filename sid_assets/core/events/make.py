"""Interactions from a log of events, in bounded memory."""

# ruff: noqa: S608 - only constants of this package, numbers and quoted text are inserted

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from duckdb import DuckDBPyConnection

from sid_assets.core import schema
from sid_assets.core.errors import InputError, offending_rows
from sid_assets.core.events.labels import parse_labels
from sid_assets.core.events.log import EventLog
from sid_assets.core.events.raw import first_rows
from sid_assets.core.events.reading import read_events
from sid_assets.core.events.rules import Rules, Summary
from sid_assets.core.events.sessions import (
    MINUTE,
    OF_REMOVED,
    interactions_schema,
    rows_of,
    whole_users,
)
from sid_assets.core.events.ties import ties_ordered
from sid_assets.core.events.times import moment
from sid_assets.core.inputs.ids import PidColumn
from sid_assets.core.schema import PidType

BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Made:
    """Interactions.

    Attributes:
        reader: The rows, sorted by user and time; `interactions_schema` has their columns.
        summary: What became of the events; complete once all rows are read.
    """

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
    removed: pa.RecordBatchReader | None = None,
    uid_map: pa.RecordBatchReader | None = None,
    forced: bool = False,
    catalog: PidColumn | None = None,
) -> Made:
    """Rows of interactions: a row a session that has a history.

    A session ends where the gap to the next event is longer than the rules say, and at T1. Its
    targets are its first events; its history is what the user did before it.

    Args:
        log: The log.
        rules: How rows are made.
        labels: Conditions of labels, such as `like: rating >= 4; longview: watch_ms >= 10000`.
        pid_type: Type of the catalog's ids.
        scratch_dir: Has room for the log; the caller removes it once all rows are read.
        known: Column `pid`: the items of the catalog. Events with others are dropped, and counted.
            None keeps all.
        removed: Column `pid`: items that may be in histories, but are no targets unless they are in
            `known`, too.
        uid_map: Columns `pid` (a user, as text) and `number`, which become `uid`. If None, users
            that are all integers keep them, and others are numbered in the order of their text.
        forced: Whether SID_PID_TYPE names the type of ids.
        catalog: How the catalog stores its ids, for a message.

    Raises:
        InputError: A setting is wrong, a column is missing, or values are null or invalid.
    """
    conditions = parse_labels(labels)
    summary = Summary()
    connection = read_events(
        log,
        conditions,
        pid_type=pid_type,
        forced=forced,
        scratch_dir=scratch_dir,
        warnings=summary.warnings,
        catalog=catalog,
    )
    t1 = _describe(connection, log, rules, summary)
    _number_users(connection, log, uid_map)
    _drop_unknown(connection, "kept", known, removed, summary)
    _keep_core(connection, rules, t1, summary)
    _drop_short(connection, rules, summary)
    columns = interactions_schema(pid_type, [*conditions])

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for events in whole_users(_sorted(connection)):
                ordered = ties_ordered(events, rules.seed)
                rows = rows_of(ordered, rules, t1, columns, [*conditions], summary)
                if rows.num_rows:
                    yield rows
        finally:
            connection.close()

    return Made(pa.RecordBatchReader.from_batches(columns, batches()), summary)


def require_training_rows(log: EventLog, rules: Rules, summary: Summary) -> None:
    """Refuse a log of which nothing can be learned, once all of its rows are read.

    Raises:
        InputError: It has no row of split 0; the message says why, and what to do.
    """
    if not summary.rows[0]:
        why = _why_none(rules, summary)
        raise InputError(f"{log.path}: no row of split 0 to train on: {why}")


def _why_none(rules: Rules, summary: Summary) -> str:
    """Why a log gives no row of split 0, and what to do."""
    if not summary.known_share:
        return (
            f"none of its {summary.events:,} events has an item of the catalog. SID_EVENT_ITEM "
            "names the column with the catalog's ids."
        )
    if summary.t1 is not None and summary.first >= summary.t1:
        return (
            "its first event lies after the time split, from which on rows are split 1. Take a "
            "log that begins earlier, or set a later SID_EVENT_SPLIT_AT."
        )
    if rules.split == "leave_last" and rules.rows_per_user == 1:
        return (
            "SID_EVENT_ROWS_PER_USER=1 keeps the last row of a user, and with "
            "SID_EVENT_SPLIT=leave_last that one is split 1."
        )
    if summary.sessions_without_history:
        return (
            f"{summary.sessions_without_history:,} sessions have no earlier one before the time "
            "split, so there is no history to learn from. A session ends where "
            f"{rules.session_minutes} minutes pass without an event. SID_EVENT_SESSION_MINUTES=0 "
            "makes a session of each time."
        )
    dropped = ", ".join(f"{count:,}: {why}" for why, count in summary.dropped.items() if count)
    return f"its {summary.events:,} events were dropped ({dropped})."


def text_users(
    log: EventLog, scratch_dir: str | Path, *, integers: bool = False
) -> pa.RecordBatchReader | None:
    """Column `pid`: each user once, for `number_pids`; None if all users are integers.

    Args:
        log: The log.
        scratch_dir: Has room for the log; the caller removes it once all rows are read.
        integers: Whether integers count as text, because users have numbers already.

    Raises:
        InputError: As `make_interactions`, about everything but the ids of items.
    """
    connection = _read(log, "string", scratch_dir, forced=True)
    keep_integers = _users_are_integers(connection) and not integers
    if keep_integers or not connection.table("events").shape[0]:
        connection.close()
        return None
    fields = pa.schema([pa.field("pid", pa.string())])
    query = "SELECT DISTINCT CAST(user AS VARCHAR) AS pid FROM events"
    return _read_all(connection, query, fields)


def counted_users(
    log: EventLog,
    rules: Rules,
    *,
    pid_type: PidType,
    scratch_dir: str | Path,
    known: pa.RecordBatchReader | None = None,
    removed: pa.RecordBatchReader | None = None,
    forced: bool = False,
) -> pa.RecordBatchReader:
    """Rows of `item_counts`: the users of each item in split 0, sorted by pid.

    These are the events before T1; with `leave_last`, those before the last session of the user.
    Every user and every item that is known counts, those of no row too.

    Args:
        log: The log.
        rules: How rows are made.
        pid_type: Type of the catalog's ids.
        scratch_dir: Has room for the log; the caller removes it once all rows are read.
        known: Column `pid`: the items of the catalog; others do not count. None counts all.
        removed: Column `pid`: items that count, too, but are no targets.
        forced: Whether SID_PID_TYPE names the type of ids.

    Raises:
        InputError: As `make_interactions`.
    """
    connection = _read(log, pid_type, scratch_dir, forced=forced)
    summary = Summary()
    t1 = _describe(connection, log, rules, summary)
    _drop_unknown(connection, "events", known, removed, summary)
    before = f"SELECT user, pid FROM events WHERE us < {t1}"
    if t1 is None:
        before = f"""
            WITH ends AS (
                SELECT *, coalesce(lead(us) OVER (PARTITION BY user ORDER BY us) - us
                    > {rules.session_minutes * MINUTE}, false)::INTEGER AS ends_session FROM events
            ), numbered AS (  -- 0 is the last session of the user
                SELECT *, sum(ends_session) OVER (PARTITION BY user ORDER BY us DESC) AS session
                FROM ends
            ), tested AS (
                SELECT *, min(session) FILTER (bits < {OF_REMOVED}) OVER (PARTITION BY user) AS last
                FROM numbered
            )
            SELECT user, pid FROM tested WHERE session > last
        """
    query = f"SELECT pid, count(DISTINCT user) AS users FROM ({before}) GROUP BY pid ORDER BY pid"
    return _read_all(connection, query, schema.item_counts(pid_type))


def _read(
    log: EventLog, pid_type: PidType, scratch_dir: str | Path, *, forced: bool
) -> DuckDBPyConnection:
    return read_events(
        log, {}, pid_type=pid_type, forced=forced, scratch_dir=scratch_dir, warnings=[]
    )


def _read_all(
    connection: DuckDBPyConnection, query: str, fields: pa.Schema
) -> pa.RecordBatchReader:
    """The rows of a query; the database is closed after the last."""

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for batch in connection.sql(query).to_arrow_reader(BATCH_ROWS):
                yield batch.cast(fields)
        finally:
            connection.close()

    return pa.RecordBatchReader.from_batches(fields, batches())


def _describe(
    connection: DuckDBPyConnection, log: EventLog, rules: Rules, summary: Summary
) -> int | None:
    """Fill in what is known of the log, and return T1; None with `leave_last`.

    Raises:
        InputError: The log has no events, or T1 is no time.
    """
    summary.events, summary.users, summary.first, summary.last = connection.execute(
        "SELECT count(*), count(DISTINCT user), min(us), max(us) FROM events"
    ).fetchall()[0]
    if not summary.events:
        raise InputError(f"{log.path}: no events. SID_EVENTS names a log of events.")
    if rules.split == "leave_last":
        return None
    if rules.split_at:
        summary.t1 = moment(rules.split_at, log.timezone, "SID_EVENT_SPLIT_AT")
    else:
        later = max(1, round(rules.test_share * summary.events))
        [(summary.t1,)] = connection.execute(
            "SELECT us FROM events ORDER BY us DESC LIMIT 1 OFFSET $skipped", {"skipped": later - 1}
        ).fetchall()
    return summary.t1


def _number_users(
    connection: DuckDBPyConnection, log: EventLog, uid_map: pa.RecordBatchReader | None
) -> None:
    """The table `kept`: the events with `uid`.

    Raises:
        InputError: The map lacks users.
    """
    if uid_map is None and _users_are_integers(connection):
        connection.execute("ALTER TABLE events RENAME TO kept")
        connection.execute("ALTER TABLE kept RENAME user TO uid")
        return
    if uid_map is None:
        connection.execute(
            "CREATE TABLE users AS SELECT user, row_number() OVER (ORDER BY user) AS number "
            "FROM (SELECT DISTINCT user FROM events)"
        )
    else:
        connection.register("given", uid_map)
        connection.execute("CREATE TABLE users AS SELECT pid AS user, number FROM given")
        connection.unregister("given")
        rows, file, first = first_rows(
            connection, "CAST(user AS VARCHAR) NOT IN (SELECT user FROM users)", "user", "events"
        )
        if rows:
            raise offending_rows(
                "users have no number in uid_map",
                source=file,
                column=log.user,
                rows=rows,
                ids=first,
                remedy="The log has changed since uid_map was made. Make it again.",
            )
    connection.execute(
        "CREATE TABLE kept AS SELECT u.number AS uid, u.user, e.pid, e.us, e.ord, e.bits "
        "FROM events e JOIN users u ON u.user = CAST(e.user AS VARCHAR); DROP TABLE events"
    )


def _users_are_integers(connection: DuckDBPyConnection) -> bool:
    events = connection.table("events")
    return events.types[events.columns.index("user")] == "BIGINT"


def _drop_unknown(
    connection: DuckDBPyConnection,
    table: str,
    known: pa.RecordBatchReader | None,
    removed: pa.RecordBatchReader | None,
    summary: Summary,
) -> None:
    """Drop events with unknown items, and mark those with removed items in `bits`."""
    if known is None:
        return
    _register(connection, "known", known)
    if removed is not None:
        _register(connection, "had_sids", removed)
        connection.execute("CREATE TABLE removed AS FROM had_sids EXCEPT FROM known")
        [(summary.of_removed,)] = connection.execute(
            f"UPDATE {table} SET bits = bits | {OF_REMOVED} WHERE pid IN (FROM removed)"
        ).fetchall()
        connection.execute("INSERT INTO known FROM removed")
    gone = _delete(connection, "pid NOT IN (FROM known)", table)
    summary.dropped["unknown item"] = gone
    summary.known_share = 1 - (gone + summary.of_removed) / summary.events


def _register(connection: DuckDBPyConnection, name: str, pids: pa.RecordBatchReader) -> None:
    """A table of the distinct ids of a reader."""
    connection.register("given", pids)
    connection.execute(f"CREATE TABLE {name} AS SELECT DISTINCT pid FROM given")
    connection.unregister("given")


def _keep_core(
    connection: DuckDBPyConnection, rules: Rules, t1: int | None, summary: Summary
) -> None:
    """Drop items and users with few events before T1, until all have enough."""
    before = "" if t1 is None else f"WHERE us < {t1}"
    while rules.core > 0:
        gone = 0
        for column in ("pid", "uid"):
            enough = (
                f"SELECT {column} FROM kept {before} GROUP BY 1 HAVING count(*) >= {rules.core}"
            )
            gone += _delete(connection, f"{column} NOT IN ({enough})")
        summary.dropped["not in the core"] += gone
        if not gone:
            return


def _drop_short(connection: DuckDBPyConnection, rules: Rules, summary: Summary) -> None:
    short = f"SELECT uid FROM kept GROUP BY uid HAVING count(*) < {rules.fewest_events}"
    summary.dropped["user with too few events"] = _delete(connection, f"uid IN ({short})")


def _delete(connection: DuckDBPyConnection, condition: str, table: str = "kept") -> int:
    [(rows,)] = connection.execute(f"DELETE FROM {table} WHERE {condition}").fetchall()
    return rows


def _sorted(connection: DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    """The events by user, time and `ord`; `user` is the user as text where `uid` is not."""
    user = "user" if "user" in connection.table("kept").columns else "NULL AS user"
    query = f"SELECT uid, {user}, us, ord, pid, bits FROM kept ORDER BY uid, us, ord"
    yield from connection.sql(query).to_arrow_reader(BATCH_ROWS)
