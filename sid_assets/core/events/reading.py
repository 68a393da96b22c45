"""The events of a log in a table of DuckDB, validated."""

# ruff: noqa: S608 - only constants of this package, numbers and quoted text are inserted

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from duckdb import DuckDBPyConnection

from sid_assets.core.catalog.columns import CatalogScan, connect, reading
from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.events.labels import Condition, number_sql
from sid_assets.core.events.log import EventLog
from sid_assets.core.events.times import check_times, time_sql
from sid_assets.core.inputs.csv_quoting import QuotingSetting
from sid_assets.core.inputs.files import TableFiles, find_table_files
from sid_assets.core.inputs.ids import CANONICAL_INTEGER, FORCED_INTEGER, PidColumn, Stored, agree
from sid_assets.core.schema import PidType

MEMORY_MB = 1000

_SETTINGS = (
    "SID_EVENT_USER, SID_EVENT_ITEM, SID_EVENT_TIME and SID_EVENT_ORDER name columns, "
    "SID_EVENT_LABELS those of labels."
)

_ORDER = "DECIMAL(38, 6)"


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
) -> DuckDBPyConnection:
    """A database with the table `events`.

    Its columns are `file`; `row`, its number; `user`, text; `pid`; `us`, microseconds since 1970;
    `ord`, null without a column of sequence; and `bits`: bit k is the label of condition k.

    Args:
        log: The log.
        conditions: The conditions of labels.
        pid_type: Type of the catalog's ids.
        forced: Whether SID_PID_TYPE names the type.
        scratch_dir: Holds the database; the caller closes it and removes the folder.
        warnings: Gets the warnings of the reader.

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
    names = {field: f"f{number}" for number, field in enumerate(fields)}
    selection = _selection(log, conditions, names)
    connection.execute(
        "CREATE SEQUENCE numbers; CREATE TABLE raw "
        "(file VARCHAR, row BIGINT, pid VARCHAR, stored VARCHAR, user VARCHAR, time VARCHAR, "
        f"ord {_ORDER}, bits UTINYINT, bad_column VARCHAR, bad_value VARCHAR)"
    )
    for part in scan.parts():
        with reading(files, part.names):
            part.rows.project(selection).insert_into("raw")
    warnings += scan.warnings
    _check_values(connection, log)
    _check_ids(connection, log, pid_type, forced)
    microseconds = time_sql(connection, log.time_format, log.timezone, log.time)
    connection.execute(
        f"CREATE TABLE events AS SELECT file, row, user, {_pid_sql(pid_type, forced)} AS pid, "
        f"{microseconds} AS us, ord, bits, time FROM raw; DROP TABLE raw"
    )
    check_times(connection, log.time)
    connection.execute("ALTER TABLE events DROP time")
    return connection


def _selection(log: EventLog, conditions: Mapping[str, Condition], names: Mapping[str, str]) -> str:
    """What `raw` has of a part."""
    texts = {column: f"blank_to_null({name})" for column, name in names.items()}
    bits = [
        f"(CAST({condition.sql(texts)} AS UTINYINT) << {bit})"
        for bit, condition in enumerate(conditions.values())
    ]
    order = f"TRY_CAST({names[log.order]} AS {_ORDER})" if log.order else f"CAST(NULL AS {_ORDER})"
    numbers = dict.fromkeys(
        part.column
        for condition in conditions.values()
        for part in condition.comparisons
        if not isinstance(part.value, str)
    )
    bad = {column: (texts[column], f"{number_sql(texts[column])}") for column in numbers}
    faults = [
        f"WHEN {text} IS NOT NULL AND ({number}) IS NULL THEN {{{n}}}"
        for n, (text, number) in enumerate(bad.values())
    ]
    columns = [_quoted(column) for column in bad]
    values = [text for text, _ in bad.values()]
    if log.order:
        faults.append(f"WHEN {order} IS NULL THEN {{{len(columns)}}}")
        columns.append(_quoted(log.order))
        values.append(f"coalesce({names[log.order]}, 'null')")
    fault = "CASE " + " ".join(faults) + " END" if faults else "CAST(NULL AS VARCHAR)"
    return ", ".join(
        (
            "file",
            "nextval('numbers')",
            "blank_to_null(pid)",
            "stored",
            texts[log.user],
            texts[log.time],
            order,
            " | ".join(bits) or "0",
            _filled(fault, columns),
            _filled(fault, values),
        )
    )


def _filled(template: str, values: Sequence[str]) -> str:
    for number, value in enumerate(values):
        template = template.replace(f"THEN {{{number}}}", f"THEN {value}")
    return template


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _check_values(connection: DuckDBPyConnection, log: EventLog) -> None:
    """Raise InputError for nulls, and for values of labels or of the order that are no numbers."""
    for name, column in (("user", log.user), ("pid", log.item), ("time", log.time)):
        other = "pid" if name == "user" else "user"
        rows, file, first = connection.execute(
            f"SELECT count(*), min(file), min_by({other}, row, {IDS_SHOWN}) FROM raw "
            f"WHERE {name} IS NULL"
        ).fetchall()[0]
        if rows:
            of = "items" if name == "user" else "users"
            raise offending_rows(
                f"the value is null or blank; the ids below are the {of} of these rows",
                source=file,
                column=column,
                rows=rows,
                ids=first or (),
                remedy="Fill in these values, or remove these rows.",
            )
    faulty = connection.execute(
        f"SELECT bad_column, count(*), min(file), min_by(bad_value, row, {IDS_SHOWN}) FROM raw "
        "WHERE bad_column IS NOT NULL GROUP BY bad_column ORDER BY 1"
    ).fetchall()
    for column, rows, file, first in faulty:
        raise offending_rows(
            "values are no numbers, but a label or the order compares them with numbers",
            source=file,
            column=column,
            rows=rows,
            ids=first,
            remedy="Correct them, or write the value of the condition in single quotes.",
        )


def _check_ids(
    connection: DuckDBPyConnection, log: EventLog, pid_type: PidType, forced: bool
) -> None:
    """Raise InputError if ids of items cannot be ids of the catalog."""
    kinds = connection.execute(
        f"SELECT stored, count(*), min(file), min_by(pid, row, {IDS_SHOWN}) FROM raw "
        "GROUP BY stored ORDER BY stored"
    ).fetchall()
    of_catalog = PidColumn("the catalog", "pid", "int" if pid_type == "int" else "text", 0)
    for stored, rows, file, first in kinds:
        if stored in ("int", "text") and not forced:
            mine = PidColumn(file, log.item, cast(Stored, stored), rows, tuple(first))
            agree(of_catalog, mine)
    rows, file, first = connection.execute(
        f"SELECT count(*), min(file), min_by(pid, row, {IDS_SHOWN}) FROM raw "
        f"WHERE {_pid_sql(pid_type, forced)} IS NULL"
    ).fetchall()[0]
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
        return "pid"
    pattern = FORCED_INTEGER if forced else CANONICAL_INTEGER
    return (
        f"CASE WHEN regexp_matches(pid, '{pattern}') "
        "THEN TRY_CAST(regexp_replace(pid, '\\.0+$', '') AS BIGINT) END"
    )
