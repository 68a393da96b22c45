"""The events of a log in a table of DuckDB, validated."""

# ruff: noqa: S608 - only constants of this package, numbers and quoted text are inserted

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from duckdb import DuckDBPyConnection

from sid_assets.core.catalog.columns import CatalogScan, connect, reading
from sid_assets.core.errors import InputError, offending_rows
from sid_assets.core.events.labels import Condition, number_sql
from sid_assets.core.events.log import EventLog
from sid_assets.core.events.raw import first_rows
from sid_assets.core.events.times import check_times, time_sql
from sid_assets.core.inputs.csv_quoting import QuotingSetting
from sid_assets.core.inputs.files import TableFiles, find_table_files
from sid_assets.core.inputs.ids import FORCED_INTEGER, PidColumn, Stored, agree
from sid_assets.core.schema import PidType

MEMORY_MB = 1000

_SETTINGS = (
    "SID_EVENT_USER, SID_EVENT_ITEM, SID_EVENT_TIME and SID_EVENT_ORDER name columns, "
    "SID_EVENT_LABELS those of labels."
)

_ORDER = "DECIMAL(38, 6)"

# As CANONICAL_INTEGER, and within 64 bits: it is printed as it is written.
_IS_INTEGER = "coalesce(CAST(TRY_CAST({} AS BIGINT) AS VARCHAR) = CAST({} AS VARCHAR), false)"


def find_log(log: EventLog) -> TableFiles:
    """The files of a log.

    Raises:
        InputError: See `find_table_files`.
    """
    files = find_table_files(log.path, otherwise="csv")
    header = tuple(name.strip() for name in log.header.split(",") if name.strip())
    if (header or log.delimiter) and files.format not in ("csv", "tsv"):
        raise InputError(
            f"{log.path}: SID_EVENT_DELIMITER and SID_EVENT_HEADER are for text files, but this is "
            f"{files.format}. Unset them."
        )
    return dataclasses.replace(files, header=header, delimiter=log.delimiter)


def read_events(
    log: EventLog,
    conditions: Mapping[str, Condition],
    *,
    pid_type: PidType,
    forced: bool,
    scratch_dir: str | Path,
    warnings: list[str],
    catalog: PidColumn | None = None,
) -> DuckDBPyConnection:
    """A database with the table `events`.

    Its columns are `file`; `user`, BIGINT if all users are integers, else text; `pid`; `us`,
    microseconds since 1970; `ord`, null without a column of sequence; and `bits`: bit k is the
    label of condition k.

    Args:
        log: The log.
        conditions: The conditions of labels.
        pid_type: Type of the catalog's ids.
        forced: Whether SID_PID_TYPE names the type.
        scratch_dir: Holds the database; the caller closes it and removes the folder.
        warnings: Gets the warnings of the reader.
        catalog: How the catalog stores its ids, for the message where those of the log differ.

    Raises:
        InputError: A file cannot be read, a column is missing, or values are null or invalid.
    """
    files = find_log(log)
    connection = connect(scratch_dir, MEMORY_MB)
    used = [part.column for condition in conditions.values() for part in condition.comparisons]
    columns = [log.user, log.time, *([log.order] if log.order else []), *used]
    fields = [*dict.fromkeys(columns)]
    scan = CatalogScan(
        connection,
        files,
        log.item,
        fields,
        scratch_dir=scratch_dir,
        quoting=cast(QuotingSetting, log.quoting),
        settings=_SETTINGS,
    )
    parts, whole = scan.parts(), frozenset[str]()
    if files.format == "parquet":  # its parts are relations, which read nothing yet
        parts = [*parts]
        whole = frozenset.intersection(*(part.integers for part in parts))
    columns = {field: _Column.of(f"f{n}", whole) for n, field in enumerate(fields)}
    item, user, time = _Column.of("pid", whole), columns[log.user], columns[log.time]
    connection.execute(
        f"CREATE TABLE raw (file VARCHAR, stored VARCHAR, pid {item.type}, user {user.type}, "
        f"time {time.type}, ord {_ORDER}, bits UTINYINT, bad_column VARCHAR, bad_value VARCHAR)"
    )
    prepared = _prepared(log, item, columns, list(dict.fromkeys(used)))
    selection = _selection(log, conditions, list(dict.fromkeys(used)))
    for part in parts:
        with reading(files, part.names):
            part.rows.project(prepared).project(selection).insert_into("raw")
    warnings += scan.warnings
    _check_values(connection, log)
    _check_ids(connection, log, pid_type, forced, catalog)
    microseconds = time_sql(connection, log.time_format, log.timezone, log.time)
    [(integers,)] = connection.execute(
        f"SELECT bool_and({_IS_INTEGER.format('user', 'user')}) FROM raw"
    ).fetchall()
    users = "CAST(user AS BIGINT)" if integers else "user"
    connection.execute(
        f"CREATE TABLE events AS SELECT file, {users} AS user, {_pid_sql(pid_type, forced)} AS pid,"
        f" {microseconds} AS us, ord, bits FROM raw"
    )
    check_times(connection, microseconds, log.time)
    connection.execute("DROP TABLE raw")
    return connection


@dataclass(frozen=True)
class _Column:
    """A column of a part in SQL: as it is stored here, as text, and as a DOUBLE."""

    type: str
    stored: str
    text: str
    number: str

    @classmethod
    def of(cls, label: str, whole: frozenset[str]) -> "_Column":
        if label in whole:
            name = f"whole_{label}"
            return cls("BIGINT", name, f"CAST({name} AS VARCHAR)", f"CAST({name} AS DOUBLE)")
        text = f"blank_to_null({label})"
        return cls("VARCHAR", text, text, number_sql(text))


def _prepared(
    log: EventLog, item: _Column, columns: Mapping[str, _Column], used: Sequence[str]
) -> str:
    """What `_selection` needs of a part; `used` are the columns of labels."""
    order = order_text = "NULL"
    if log.order:
        order_text = columns[log.order].text
        order = f"TRY_CAST({columns[log.order].stored} AS {_ORDER})"
    return ", ".join(
        (
            "file",
            "stored",
            f"{item.stored} AS pid",
            f"{columns[log.user].stored} AS user",
            f"{columns[log.time].stored} AS time",
            f"CAST({order} AS {_ORDER}) AS ord",
            f"{order_text} AS order_text",
            *(f"{columns[column].text} AS t{n}" for n, column in enumerate(used)),
            *(f"{columns[column].number} AS n{n}" for n, column in enumerate(used)),
        )
    )


def _selection(log: EventLog, conditions: Mapping[str, Condition], used: Sequence[str]) -> str:
    """What `raw` has of a part that is `_prepared`."""
    texts = {column: f"t{n}" for n, column in enumerate(used)}
    numbers = {column: f"n{n}" for n, column in enumerate(used)}
    bits = [
        f"(CAST({condition.sql(texts, numbers)} AS UTINYINT) << {bit})"
        for bit, condition in enumerate(conditions.values())
    ]
    compared = dict.fromkeys(
        part.column
        for condition in conditions.values()
        for part in condition.comparisons
        if not isinstance(part.value, str)
    )
    faults = [
        (f"{texts[column]} IS NOT NULL AND {numbers[column]} IS NULL", column, texts[column])
        for column in compared
    ]
    if log.order:
        faults.append(("ord IS NULL", log.order, "coalesce(order_text, 'null')"))
    columns = "".join(f" WHEN {fault} THEN {_quoted(column)}" for fault, column, _ in faults)
    values = "".join(f" WHEN {fault} THEN {value}" for fault, _, value in faults)
    return ", ".join(
        (
            "file, stored, pid, user, time, ord",
            " | ".join(bits) or "0",
            f"CASE{columns} END" if faults else "NULL",
            f"CASE{values} END" if faults else "NULL",
        )
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _check_values(connection: DuckDBPyConnection, log: EventLog) -> None:
    """Raise InputError for nulls, and for values of labels or of the order that are no numbers."""
    for name, column in (("user", log.user), ("pid", log.item), ("time", log.time)):
        rows, file, first = first_rows(
            connection, f"{name} IS NULL", "pid" if name == "user" else "user"
        )
        if rows:
            of = "items" if name == "user" else "users"
            raise offending_rows(
                f"the value is null or blank; the ids below are the {of} of these rows",
                source=file,
                column=column,
                rows=rows,
                ids=first,
                remedy="Fill in these values, or remove these rows. Where a file has no such "
                "column at all, all of its rows are told here.",
            )
    faulty = connection.execute(
        "SELECT DISTINCT bad_column FROM raw WHERE bad_column IS NOT NULL ORDER BY 1"
    ).fetchall()
    for (column,) in faulty:
        rows, file, first = first_rows(connection, f"bad_column = {_quoted(column)}", "bad_value")
        raise offending_rows(
            "values are no numbers, but a label or the order compares them with numbers",
            source=file,
            column=column,
            rows=rows,
            ids=first,
            remedy="Correct them."
            if column == log.order
            else "Correct them, or write the value of the condition in single quotes.",
        )


def _check_ids(
    connection: DuckDBPyConnection,
    log: EventLog,
    pid_type: PidType,
    forced: bool,
    catalog: PidColumn | None,
) -> None:
    """Raise InputError if ids of items cannot be ids of the catalog."""
    of_type = PidColumn("the catalog", "pid", "int" if pid_type == "int" else "text", 0)
    of_catalog = catalog if catalog and catalog.stored == of_type.stored else of_type
    kinds = connection.execute("SELECT DISTINCT stored FROM raw ORDER BY 1").fetchall()
    for (stored,) in kinds:
        if stored in ("int", "text") and not forced and stored != of_catalog.stored:
            rows, file, first = first_rows(connection, f"stored = '{stored}'", "pid")
            agree(of_catalog, PidColumn(file, log.item, cast(Stored, stored), rows, tuple(first)))
    rows, file, first = first_rows(connection, f"{_pid_sql(pid_type, forced)} IS NULL", "pid")
    if rows:
        raise offending_rows(
            "ids are not 64-bit integers, as those of the catalog are",
            source=file,
            column=log.item,
            rows=rows,
            ids=first,
            remedy="Correct them, or name the column that has the catalog's ids in SID_EVENT_ITEM.",
        )


def _pid_sql(pid_type: PidType, forced: bool) -> str:
    if pid_type == "string":
        return "CAST(pid AS VARCHAR)"
    if not forced:
        return f"CASE WHEN {_IS_INTEGER.format('pid', 'pid')} THEN TRY_CAST(pid AS BIGINT) END"
    text = "CAST(pid AS VARCHAR)"
    return (
        f"CASE WHEN regexp_matches({text}, '{FORCED_INTEGER}') "
        f"THEN TRY_CAST(regexp_replace({text}, '\\.0+$', '') AS BIGINT) END"
    )
