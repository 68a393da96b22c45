r"""Columns of parquet, CSV or JSON lines of any type, converted to text with DuckDB.

How values become text:

- Text stays as it is. CSV is text throughout, so `007` stays `007`.
- Integers, decimals, booleans (`true`), dates and times appear as DuckDB prints them, times in UTC.
- Floats appear as the shortest number that reads back the same. Whole floats have no `.0`, since
  pandas turns an integer column with gaps into floats. NaN is null, as in pandas.
- Lists: their elements, joined with `, `; null and blank elements are skipped.
- Structs, maps and nested lists appear as JSON.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
from duckdb import (
    ColumnExpression,
    ConstantExpression,
    DuckDBPyConnection,
    DuckDBPyRelation,
    Expression,
    FunctionExpression,
    SQLExpression,
)

from sid_assets.core.arrow.columns import is_list
from sid_assets.core.arrow.duck import open_database
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.csv_rows import read_columns, read_header
from sid_assets.core.inputs.files import TableFiles
from sid_assets.core.inputs.ids import stored_as
from sid_assets.core.inputs.parquet import read_parquet_schemas
from sid_assets.core.store.places import is_local

_FILE = "__sid_assets_file"
"""The column in which DuckDB puts the file name; no catalog has a column of this name."""

JSON_ROWS_LOOKED_AT = 10_000
"""Rows whose keys give the columns of JSON lines; all rows are read if a column is missing."""

MESSAGE_LENGTH = 400
"""Characters shown of DuckDB's own message, which may quote a whole line of the file."""

_MACROS = r"""
-- White space is what Python's str.isspace calls so.
CREATE MACRO blank_to_null(t) AS
    CASE WHEN regexp_matches(t, '[^\s\x0b\x1c-\x1f\x{85}\p{Z}]') THEN t END;
CREATE MACRO list_text(texts) AS
    array_to_string(list_filter(texts, lambda t: blank_to_null(t) IS NOT NULL), ', ');
CREATE MACRO nested_list_text(nested) AS
    list_text(list_transform(nested, lambda x: CAST(to_json(x) AS VARCHAR)));

CREATE MACRO float_text(x) AS
    CASE WHEN NOT isnan(x) THEN regexp_replace(CAST(x AS VARCHAR), '\.0$', '') END;
CREATE MACRO float_list_text(floats) AS
    list_text(list_transform(floats, lambda x: float_text(x)));
-- Above 2**53 neighbouring integers share a float, so such an id keeps the '.0' that gives it away.
CREATE MACRO float_id_text(x) AS
    CASE WHEN abs(x) <= 9007199254740992 OR isnan(x) THEN float_text(x)
         ELSE CAST(x AS VARCHAR) END;
CREATE MACRO decimal_id_text(x) AS regexp_replace(CAST(x AS VARCHAR), '\.0+$', '');

CREATE MACRO json_value_text(j) AS
    CASE json_type(j) WHEN 'DOUBLE' THEN nullif(regexp_replace(j ->> '$', '\.0$', ''), 'NaN')
                      ELSE j ->> '$' END;
CREATE MACRO json_text(j) AS
    CASE json_type(j)
        WHEN 'ARRAY' THEN list_text(list_transform(CAST(j AS JSON[]), lambda e: json_value_text(e)))
        ELSE json_value_text(j) END;
CREATE MACRO json_stored(j) AS
    CASE json_type(j) WHEN 'VARCHAR' THEN 'text'
                      WHEN 'BIGINT' THEN 'int' WHEN 'UBIGINT' THEN 'int' WHEN 'DOUBLE' THEN 'int'
                      ELSE 'other' END;
"""


def connect(scratch_dir: str | Path, memory_mb: int) -> DuckDBPyConnection:
    """A new DuckDB database in a file of a scratch folder, with the macros of this module.

    Args:
        scratch_dir: Holds the database and what does not fit in memory; the caller removes it.
        memory_mb: Memory limit of DuckDB (MB).
    """
    scratch = Path(scratch_dir)
    connection = open_database(scratch, memory_mb, scratch / "rows.duckdb")
    connection.execute("SET TimeZone = 'UTC'")
    return connection.execute(_MACROS)


def scan(
    connection: DuckDBPyConnection, files: TableFiles, pid_column: str, fields: Sequence[str]
) -> Iterator[DuckDBPyRelation]:
    """The rows of all files as text, in one or several relations, one after the other.

    The columns are `file`; `pid`, the id as text; `stored`, how the file stores it (`int`, `text`,
    `untyped`, or `other` for a JSON value that is neither a number nor text); and the fields as
    `f0`, `f1`, ... Use the relations within `reading(files)`, whose error names a damaged file.

    Raises:
        InputError: A file cannot be read, or lacks a column.
    """
    if not is_local(files.root):
        connection.register_filesystem(files.filesystem)
    scan_format = {"parquet": _scan_parquet, "json": _scan_json}.get(files.format, _scan_csv)
    return scan_format(connection, files, pid_column, fields)


@contextmanager
def reading(files: TableFiles) -> Iterator[None]:
    """Turn DuckDB's errors about the content of a file into one that names the file and line.

    Raises:
        InputError: A file is damaged, or a line of it is malformed.
    """
    try:
        yield
    except (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException) as error:
        message = str(error)
        named = [name for name in files.names if name in message]
        if isinstance(error, duckdb.IOException) and not named:
            raise
        what = re.split(r"\n\s*(?:Possible|Try setting|file = )", message)[0]
        what = " ".join(what.split()).removeprefix("Invalid Input Error: ")[:MESSAGE_LENGTH]
        raise InputError(
            f"{named[0] if named else files.root}: cannot be read as {files.format}: {what}"
        ) from error


def _scan_parquet(
    connection: DuckDBPyConnection, files: TableFiles, pid_column: str, fields: Sequence[str]
) -> Iterator[DuckDBPyRelation]:
    """One relation for each group of files that store the columns as the same types."""
    wanted = (pid_column, *fields)
    groups: dict[tuple[pa.DataType, ...], list[str]] = defaultdict(list)
    for name, schema in zip(files.names, read_parquet_schemas(files), strict=True):
        _require(name, schema.names, wanted)
        groups[tuple(schema.field(column).type for column in wanted)].append(name)
    for (pid_kind, *field_kinds), names in groups.items():
        stored = stored_as(pid_kind, source=names[0], column=pid_column)
        rows = connection.sql(
            "FROM read_parquet($files, filename = $file, binary_as_string = true, "
            "hive_partitioning = false)",
            params={"files": _literal(names), "file": _FILE},
        )
        yield _select(
            rows,
            ColumnExpression(_FILE),
            _pid_text(pid_kind, ColumnExpression(pid_column)),
            ConstantExpression(stored),
            map(_text_of, field_kinds, map(ColumnExpression, fields)),
        )


def _scan_csv(
    connection: DuckDBPyConnection, files: TableFiles, pid_column: str, fields: Sequence[str]
) -> Iterator[DuckDBPyRelation]:
    """All headers are checked before the first row is read."""
    wanted = (pid_column, *fields)
    headers = [read_header(files, position) for position in range(len(files.names))]
    for name, header in zip(files.names, headers, strict=True):
        _require(name, header, wanted)
    labels = [f"c{position}" for position in range(len(wanted))]
    for position, header in enumerate(headers):
        file = ConstantExpression(files.names[position])
        for columns in read_columns(files, position, [header.index(name) for name in wanted]):
            rows = connection.from_arrow(pa.table(columns, labels))
            pid, *texts = map(ColumnExpression, labels)
            yield _select(rows, file, pid, ConstantExpression("untyped"), texts)


def _scan_json(
    connection: DuckDBPyConnection, files: TableFiles, pid_column: str, fields: Sequence[str]
) -> Iterator[DuckDBPyRelation]:
    """Values are read as JSON and typed one by one, so that no guess from the first rows fails."""
    wanted = (pid_column, *fields)
    params = {"files": _literal(files.names)}
    keys = _json_keys(connection.sql(_JSON_OBJECTS, params=params).limit(JSON_ROWS_LOOKED_AT))
    if not set(wanted) <= set(keys):
        keys = _json_keys(connection.sql(_JSON_OBJECTS, params=params))
    _require(str(files.root), keys, wanted)
    rows = connection.sql(
        "FROM read_json($files, filename = $file, columns = $columns, format = 'auto', "
        "records = true, hive_partitioning = false)",
        params=params | {"file": _FILE, "columns": dict.fromkeys(wanted, "JSON")},
    )
    yield _select(
        rows,
        ColumnExpression(_FILE),
        FunctionExpression("json_text", ColumnExpression(pid_column)),
        FunctionExpression("json_stored", ColumnExpression(pid_column)),
        (FunctionExpression("json_text", ColumnExpression(name)) for name in fields),
    )


_JSON_OBJECTS = "SELECT json FROM read_json_objects($files, format = 'auto')"


def _json_keys(objects: DuckDBPyRelation) -> list[str]:
    keys = objects.select(SQLExpression("unnest(json_keys(json))")).distinct().fetchall()
    return sorted(key for (key,) in keys)


def _require(source: str, there: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise InputError unless each wanted column exists exactly once."""
    if not there:
        raise InputError(f"{source}: no rows and no columns.")
    shown = ", ".join(there)
    if missing := [name for name in wanted if name not in there]:
        raise InputError(
            f"{source}: no column {', '.join(map(repr, missing))}. Its columns: {shown}. "
            "SID_PID_COLUMN names the column of ids, SID_TEXT_TEMPLATE the columns of the text, "
            "SID_QUALITY_COLUMN a column to measure."
        )
    for name in wanted:
        # DuckDB does not distinguish names that differ only in case.
        if sum(other.casefold() == name.casefold() for other in there) > 1:
            raise InputError(
                f"{source}: several columns are called {name!r} if case is ignored. Its columns: "
                f"{shown}. Rename one."
            )


def _literal(names: Sequence[str]) -> list[str]:
    """File names, escaped for DuckDB, which would take `a[1].csv` for a pattern."""
    return [re.sub(r"([*?\[])", r"[\1]", name) for name in names]


def _select(
    rows: DuckDBPyRelation,
    file: Expression,
    pid: Expression,
    stored: Expression,
    texts: Iterable[Expression],
) -> DuckDBPyRelation:
    return rows.select(
        file.alias("file"),
        pid.alias("pid"),
        stored.alias("stored"),
        *(text.alias(f"f{position}") for position, text in enumerate(texts)),
    )


def _pid_text(kind: pa.DataType, pid: Expression) -> Expression:
    if pa.types.is_floating(kind):
        return FunctionExpression("float_id_text", pid)
    if pa.types.is_decimal(kind):
        return FunctionExpression("decimal_id_text", pid)
    return pid.cast("VARCHAR")


def _text_of(kind: pa.DataType, column: Expression) -> Expression:
    """A parquet column of an Arrow type as text."""
    if pa.types.is_floating(kind):
        return FunctionExpression("float_text", column)
    if is_list(kind):
        if pa.types.is_floating(kind.value_type):
            return FunctionExpression("float_list_text", column)
        if pa.types.is_nested(kind.value_type):
            return FunctionExpression("nested_list_text", column)
        return FunctionExpression("list_text", column.cast("VARCHAR[]"))
    if pa.types.is_nested(kind):
        return FunctionExpression("to_json", column).cast("VARCHAR")
    return column.cast("VARCHAR")
