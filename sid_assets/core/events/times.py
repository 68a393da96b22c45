"""Times of events as microseconds: numbers of a unit, ISO text, or a format of strptime."""

# ruff: noqa: S608 - only constants of this package, numbers and quoted text are inserted

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb
from duckdb import DuckDBPyConnection

from sid_assets.core.errors import InputError, offending_rows
from sid_assets.core.events.raw import first_rows

UNITS = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 0.001}
"""Microseconds of a unit."""

CALENDAR = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""The years 1 to 9999, in microseconds since 1970: what a timestamp may be."""

_NUMBER = "abs(TRY_CAST(time AS DOUBLE))"

_FORM = (
    f"CASE WHEN {_NUMBER} < 1e11 THEN 's' WHEN {_NUMBER} < 1e14 THEN 'ms' "
    f"WHEN {_NUMBER} < 1e17 THEN 'us' WHEN {_NUMBER} IS NULL THEN 'iso' ELSE 'ns' END"
)
"""The unit of a number of 1973 (in the next unit) to 5138 (in this one), by its magnitude."""

_REMEDY = (
    "Correct these rows, or name the form of the times in SID_EVENT_TIME_FORMAT: s, ms, us, ns or "
    "a format such as %Y%m%d."
)


def zone(name: str) -> ZoneInfo:
    """A time zone.

    Raises:
        InputError: It is unknown.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(
            f"SID_EVENT_TIMEZONE={name}: no such time zone. Write one such as Europe/Berlin or UTC."
        ) from error


def moment(text: str, timezone: str, setting: str) -> int:
    """A time that a setting names, as microseconds.

    Raises:
        InputError: It is not ISO text.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{setting}={text}: no time. Write one such as 2024-05-01 or 2024-05-01T12:00."
        ) from error
    if found.tzinfo is None:
        found = found.replace(tzinfo=zone(timezone))
    since = found - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def time_sql(connection: DuckDBPyConnection, form: str, timezone: str, column: str) -> str:
    """SQL of the microseconds of the column `time` of the table `raw`; null if it is no time.

    Args:
        connection: A database with the table `raw`; its times are text or BIGINT.
        form: See `EventLog.time_format`.
        timezone: Of times without an offset.
        column: What the log calls the times.

    Raises:
        InputError: Times are of several units, or numbers and text.
    """
    zone(timezone)
    connection.execute(f"SET TimeZone = '{timezone}'")
    if not form:
        form = _found_form(connection, column)
    if form in UNITS:
        kinds = connection.table("raw")
        return _of_unit(form, is_text=kinds.types[kinds.columns.index("time")] == "VARCHAR")
    if form == "iso":
        return "epoch_us(TRY_CAST(time AS TIMESTAMPTZ))"
    pattern = form.replace("'", "''")
    try:
        connection.execute(f"SELECT try_strptime('', '{pattern}')")
    except duckdb.Error as error:
        raise InputError(
            f"SID_EVENT_TIME_FORMAT={form}: no format of times ({error}). Write s, ms, us, ns, or "
            "a format of strptime such as %Y%m%d or %d.%m.%Y %H:%M:%S."
        ) from error
    local = f"try_strptime(CAST(time AS VARCHAR), '{pattern}')"
    return f"epoch_us(CAST({local} AS TIMESTAMPTZ))"


def _of_unit(unit: str, *, is_text: bool) -> str:
    whole = "TRY_CAST(time AS BIGINT)"
    most = int(2**63 // UNITS[unit]) - 1
    exact = (
        f"{whole} // 1000"
        if unit == "ns"
        else f"CASE WHEN {whole} BETWEEN -{most} AND {most} THEN {whole} * {UNITS[unit]} END"
    )
    if not is_text:
        return exact
    rounded = f"TRY_CAST(round(TRY_CAST(time AS DOUBLE) * {UNITS[unit]}) AS BIGINT)"
    # A fraction or an exponent is a float; casting it to an integer would round it.
    return f"CASE WHEN regexp_matches(time, '^[+-]?[0-9]+$') THEN {exact} ELSE {rounded} END"


def _found_form(connection: DuckDBPyConnection, column: str) -> str:
    """The form of all times that have one.

    Raises:
        InputError: There are several.
    """
    found = connection.execute(
        f"SELECT {_FORM} AS form, count(*) AS rows FROM raw GROUP BY form ORDER BY rows DESC, form"
    ).fetchall()
    if len(found) > 1:
        names = {"iso": "text"}
        (most, most_rows), (form, _), *_ = found
        rows, file, first = first_rows(connection, f"{_FORM} = '{form}'", "time")
        units = f"{most_rows:,} in {names.get(most, most)}"
        raise offending_rows(
            f"times are of several forms: {units}, and these in {names.get(form, form)}",
            source=file,
            column=column,
            rows=rows,
            ids=first,
            remedy=_REMEDY,
        )
    return found[0][0] if found else "iso"


def check_times(connection: DuckDBPyConnection, microseconds: str, column: str) -> None:
    """Raise InputError if a row of `events` has no time, or one that no calendar has.

    Args:
        connection: A database with the tables `raw` and `events`.
        microseconds: The SQL of `time_sql`.
        column: What the log calls the times.
    """
    for problem, condition in (
        ("times are no times", "({0}) IS NULL"),
        ("times lie outside of the years 1 to 9999", "({0}) NOT BETWEEN {1} AND {2}"),
    ):
        [(rows,)] = connection.execute(
            f"SELECT count(*) FROM events WHERE {condition.format('us', *CALENDAR)}"
        ).fetchall()
        if rows:
            bad = condition.format(microseconds, *CALENDAR)
            rows, file, first = first_rows(connection, bad, "time")
            raise offending_rows(
                problem, source=file, column=column, rows=rows, ids=first, remedy=_REMEDY
            )
