"""The columns of parquet, CSV or JSON lines that a text needs, read with DuckDB as text.

A column is in a file, or in the names of its folders (`category=books`). `value_texts` says how
values become text.
"""

import gzip
import itertools
import json
import re
import shutil
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

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
from sid_assets.core.catalog.value_texts import NEWEST_RULES, TextRules, create_macros
from sid_assets.core.errors import InputError, did_you_mean
from sid_assets.core.inputs.csv_quoting import QuotingSetting, find_quoting
from sid_assets.core.inputs.csv_rows import Quoting, opened_lines, read_columns, read_header
from sid_assets.core.inputs.encodings import UUID_BYTES, is_bytes
from sid_assets.core.inputs.files import TableFiles
from sid_assets.core.inputs.ids import stored_as
from sid_assets.core.inputs.listing import Partition
from sid_assets.core.inputs.parquet import read_parquet_schemas
from sid_assets.core.store.places import is_local

_FILE = "__sid_assets_file"
"""The column in which DuckDB puts the file name; no catalog has a column of this name."""

JSON_ROWS_LOOKED_AT = 10_000
"""Rows whose keys give the columns of JSON lines; all rows are read if a column is missing."""

MESSAGE_LENGTH = 400
"""Characters shown of DuckDB's own message, which may quote a whole line of the file."""

FILES_SHOWN = 3

_SETTINGS = (
    "SID_PID_COLUMN names the column of ids, SID_TEXT_TEMPLATE the columns of the text, "
    "SID_QUALITY_COLUMN a column to measure."
)


@dataclass(frozen=True)
class Part:
    """Rows of a catalog that are read together.

    Attributes:
        names: Their files.
        rows: The columns are `file`; `pid`, the id as text; `stored`, how the file stores it
            (`int`, `text`, `untyped`, or `other` for a JSON value that is neither a number nor
            text); and the fields as `f0`, `f1`, ...
        integers: Those of `pid`, `f0`, ... that the files store as integers. `rows` has them as
            BIGINT too, as `whole_pid`, `whole_f0`, ...
    """

    names: tuple[str, ...]
    rows: DuckDBPyRelation
    integers: frozenset[str] = frozenset()


def connect(
    scratch_dir: str | Path, memory_mb: int, rules: TextRules = NEWEST_RULES
) -> DuckDBPyConnection:
    """A new DuckDB database in a file of a scratch folder, with the macros of `value_texts`.

    Args:
        scratch_dir: Holds the database and what does not fit in memory; the caller removes it.
        memory_mb: Memory limit of DuckDB (MB).
        rules: The rules by which values become text.
    """
    scratch = Path(scratch_dir)
    connection = open_database(scratch, memory_mb, scratch / "rows.duckdb")
    connection.execute("SET TimeZone = 'UTC'")
    create_macros(connection, rules)
    return connection


class CatalogScan:
    """A scan of the files of a catalog, which notes what its user should know.

    A field that only some files have is null in the others. Files without rows have no say.

    Attributes:
        warnings: Warnings, complete once all parts are read.
    """

    def __init__(
        self,
        connection: DuckDBPyConnection,
        files: TableFiles,
        pid_column: str,
        fields: Sequence[str],
        *,
        scratch_dir: str | Path,
        quoting: QuotingSetting = "auto",
        rules: TextRules = NEWEST_RULES,
        settings: str = _SETTINGS,
    ) -> None:
        """Prepare to read the files.

        Args:
            connection: A database of `connect`.
            files: The files.
            pid_column: The column of ids.
            fields: The columns of the text.
            scratch_dir: Has room for the largest of the files, unzipped.
            quoting: How CSV and TSV files are quoted.
            rules: The rules by which values become text; 1 takes all files for quoted.
            settings: A sentence about the settings that name columns, for errors.
        """
        self._settings = settings
        self.warnings: list[str] = []
        self._connection = connection
        self._files = files
        self._pid_column = pid_column
        self._fields = fields
        self._scratch = Path(scratch_dir)
        self._quoting: QuotingSetting = "quoted" if rules == 1 and quoting == "auto" else quoting
        self._lacking: dict[str, list[str]] = defaultdict(list)
        if not is_local(files.root):
            connection.register_filesystem(files.filesystem)

    def parts(self) -> Iterator[Part]:
        """All rows, part by part. Use each within `reading`, whose error names a damaged file.

        Raises:
            InputError: A file cannot be read or has no ids, or no file has a column.
        """
        scan = {"parquet": self._parquet, "json": self._json}.get(self._files.format, self._csv)
        yield from scan()
        self.warnings += [
            f"{_several(names)}: no column {column!r}. It is null there, since other files have it."
            for column, names in self._lacking.items()
        ]

    @property
    def _wanted(self) -> tuple[str, ...]:
        return (self._pid_column, *self._fields)

    def _parquet(self) -> Iterator[Part]:
        """One part for each group of files with the same columns, types and partition."""
        names = self._files.names
        schemas = dict(enumerate(read_parquet_schemas(self._files)))
        if len({tuple(schema) for schema in schemas.values()}) > 1:
            filled = self._filled()
            schemas = {n: schema for n, schema in schemas.items() if names[n] in filled}
        self._require({names[n]: schema.names for n, schema in schemas.items()})
        groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for position, schema in schemas.items():
            self._note_lacking(position, schema.names)
            types = (schema.field(c).type if c in schema.names else None for c in self._wanted)
            partition = self._files.partitions[position].values()
            groups[(*types, *partition)].append(position)
        for group in groups.values():
            schema, partition = schemas[group[0]], self._files.partitions[group[0]]
            of_group = [names[position] for position in group]

            pid, stored, as_bytes = _constant(partition.get(self._pid_column)), "untyped", False
            if self._pid_column in schema.names:
                kind = schema.field(self._pid_column).type
                stored = stored_as(kind, source=of_group[0], column=self._pid_column)
                pid = _pid_text(kind, _named(self._pid_column))
                # As strings, ids of 16 bytes would not be text.
                as_bytes = kind == pa.binary(UUID_BYTES)

            def text(
                column: str, schema: pa.Schema = schema, as_bytes: bool = as_bytes
            ) -> Expression:
                kind = schema.field(column).type
                return _text_of(kind, _decoded(column, kind) if as_bytes else _named(column))

            rows = self._connection.sql(
                "FROM read_parquet($files, filename = $file, binary_as_string = $text, "
                "hive_partitioning = false)",
                params={"files": _literal(of_group), "file": _FILE, "text": not as_bytes},
            )
            fields = self._texts(schema.names, partition, text)
            labels = {"pid": self._pid_column}
            labels |= {f"f{number}": field for number, field in enumerate(self._fields)}
            integers = {
                label: _named(column).cast("BIGINT")
                for label, column in labels.items()
                if column in schema.names and _fits_bigint(schema.field(column).type)
            }
            file = ColumnExpression(_FILE)
            yield _part(of_group, rows, file, pid, _constant(stored), fields, integers)

    def _filled(self) -> set[str]:
        """The parquet files that have rows; all, if none has."""
        found = self._connection.execute(
            "SELECT file_name FROM parquet_file_metadata($files) WHERE num_rows > 0",
            {"files": _literal(self._files.names)},
        ).fetchall()
        return {name for (name,) in found} or set(self._files.names)

    def _csv(self) -> Iterator[Part]:
        """One part for each batch of rows. All headers are checked before the first row is read."""
        found: list[Quoting] = [
            self._quoting_of(position) for position in range(len(self._files.names))
        ]
        headers = [
            read_header(self._files, position, quoting) for position, quoting in enumerate(found)
        ]
        names = self._files.names
        self._require({n: h for n, h in zip(names, headers, strict=True) if h})
        for position, (name, header) in enumerate(zip(names, headers, strict=True)):
            partition = self._files.partitions[position]
            there = [column for column in self._wanted if column in header]
            labels = {column: f"c{number}" for number, column in enumerate(there)}
            labels = labels or {"": "c0"}  # all columns are in the names of folders

            def text(column: str, labels: dict[str, str] = labels) -> Expression:
                return FunctionExpression("csv_text", ColumnExpression(labels[column]))

            batches = read_columns(
                self._files,
                position,
                [header.index(column) if column else 0 for column in labels],
                found[position],
                certain=self._quoting != "auto",
                warnings=self.warnings,
            )
            for number, columns in enumerate(batches):
                if not number:
                    self._note_lacking(position, header)
                pid = _constant(partition.get(self._pid_column))
                if self._pid_column in header:
                    pid = text(self._pid_column)
                rows = self._connection.from_arrow(pa.table(columns, [*labels.values()]))
                fields = self._texts(header, partition, text)
                yield _part([name], rows, _constant(name), pid, _constant("untyped"), fields)

    def _quoting_of(self, position: int) -> Quoting:
        if self._quoting != "auto":
            return self._quoting
        quoting, warning = find_quoting(self._files, position)
        if warning:
            self.warnings.append(warning)
        return quoting

    def _json(self) -> Iterator[Part]:
        """One part for each file. Values are read as JSON and typed one by one, so that no guess
        from the first rows fails.
        """
        keys_of: dict[str, list[str]] = {}
        for position, name in enumerate(self._files.names):
            partition = self._files.partitions[position]
            with _unzipped(self._files, position, self._scratch) as file:
                with reading(self._files, [name]):
                    keys = self._json_keys(file, partition)
                if not keys:
                    continue
                keys_of[name] = keys
                self._note_lacking(position, keys)
                there = [column for column in self._wanted if column in keys]
                rows = self._connection.sql(
                    "FROM read_json($file, columns = $columns, format = 'auto', records = true, "
                    "hive_partitioning = false)",
                    params={
                        "file": _literal([file]),
                        "columns": dict.fromkeys(there or keys[:1], "JSON"),
                    },
                )
                pid, stored = _constant(partition.get(self._pid_column)), _constant("untyped")
                if self._pid_column in keys:
                    column = _named(self._pid_column)
                    pid = FunctionExpression("json_id_text", column)
                    stored = FunctionExpression("json_stored", column)
                fields = self._texts(keys, partition, _json_text)
                yield _part([name], rows, _constant(name), pid, stored, fields)
        self._require(keys_of)

    def _json_keys(self, file: str, partition: Partition) -> list[str]:
        """The keys of the objects in a file; none if it has no objects."""
        params = {"file": _literal([file])}
        objects = "SELECT json FROM read_json_objects($file, format = 'auto')"
        keys = _keys(self._connection.sql(objects, params=params).limit(JSON_ROWS_LOOKED_AT))
        if keys and not set(self._wanted) <= {*keys, *partition}:
            keys = _keys(self._connection.sql(objects, params=params))
        return keys

    def _texts(
        self, there: Sequence[str], partition: Partition, text: Callable[[str], Expression]
    ) -> list[Expression]:
        """The fields, from the columns of a file or the names of its folders."""
        return [
            text(field) if field in there else _constant(partition.get(field))
            for field in self._fields
        ]

    def _require(self, columns: dict[str, list[str]]) -> None:
        """Raise InputError unless a file has each wanted column, and none has it twice.

        Args:
            columns: The columns of each file that may have rows.
        """
        if not columns:
            raise InputError(f"{_several(self._files.names)}: no rows and no columns.")
        partition = self._files.partition_columns
        for name, there in columns.items():
            _require_once(name, there, self._wanted)
        there = dict.fromkeys([*itertools.chain(*columns.values()), *partition])
        if missing := [column for column in self._wanted if column not in there]:
            raise _no_column(_several([*columns]), missing, [*there], self._settings)

    def _note_lacking(self, position: int, there: Sequence[str]) -> None:
        """Note which fields a file with rows lacks.

        Raises:
            InputError: It lacks the ids.
        """
        name, partition = self._files.names[position], self._files.partitions[position]
        lacking = [c for c in self._wanted if c not in there and c not in partition]
        if self._pid_column in lacking:
            raise _no_column(name, lacking, [*there, *partition], self._settings)
        for column in lacking:
            self._lacking[column].append(name)


@contextmanager
def reading(files: TableFiles, names: Sequence[str]) -> Iterator[None]:
    """Turn DuckDB's errors about the content of files into one that names the file and line.

    Args:
        files: The files of the catalog.
        names: Those that are read.

    Raises:
        InputError: A file is damaged, or a line of it is malformed.
    """
    try:
        yield
    except (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException) as error:
        message = str(error)
        named = [name for name in names if name in message] or (names if len(names) == 1 else [])
        if files.format == "json" and (found := _malformed_line(files, names[0])):
            raise InputError(f"{names[0]}: line {found[0]} is malformed: {found[1]}.") from error
        if isinstance(error, duckdb.IOException) and not any(name in message for name in names):
            raise
        what = re.split(r"\n\s*(?:Possible|Try setting|file = )", message)[0]
        what = " ".join(what.split()).removeprefix("Invalid Input Error: ")[:MESSAGE_LENGTH]
        raise InputError(
            f"{named[0] if named else files.root}: cannot be read as {files.format}: {what}"
        ) from error


def _malformed_line(files: TableFiles, name: str) -> tuple[int, str] | None:
    """The first line that is not an object, and why; None if this is not a file of JSON lines.

    DuckDB counts lines differently where some are blank, and numbers a line that ends too early
    one too high.

    Raises:
        InputError: The file is not UTF-8.
    """
    with opened_lines(files, files.names.index(name)) as lines:
        are_lines = not name.lower().endswith((".json", ".json.gz"))  # such a file may be one array
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                reason = getattr(error, "msg", "") or str(error)
                return (number, reason[0].lower() + reason[1:]) if are_lines else None
            except RecursionError:
                continue
            if not isinstance(value, dict):
                return (number, "not a JSON object") if are_lines else None
            are_lines = True
    return None


@contextmanager
def _unzipped(files: TableFiles, position: int, scratch: Path) -> Iterator[str]:
    """The name of a file that DuckDB can read; of an unzipped copy if its name ends in `.gz`.

    DuckDB 2.0 refuses the zeros that block writers leave behind the last byte.

    Raises:
        InputError: The file is damaged or truncated.
    """
    name, path = files.names[position], files.paths[position]
    if not name.lower().endswith(".gz"):
        yield name
        return
    copy = scratch / "unzipped.json"
    try:
        with (
            files.filesystem.open(path, "rb") as zipped,
            gzip.open(cast(BinaryIO, zipped)) as content,
            copy.open("wb") as target,
        ):
            shutil.copyfileobj(content, target)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{name}: cannot be unzipped ({error}). Copy or write it again."
        ) from error
    yield str(copy)
    copy.unlink()


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - FILES_SHOWN:,} more files" if len(names) > FILES_SHOWN else ""
    return ", ".join(names[:FILES_SHOWN]) + more


def _no_column(
    source: str, missing: Sequence[str], there: Sequence[str], settings: str
) -> InputError:
    return InputError(
        f"{source}: no column {', '.join(map(repr, missing))}. Its columns: {', '.join(there)}. "
        f"{did_you_mean(missing, there)}{settings}"
    )


def _require_once(source: str, there: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise InputError if a wanted column exists twice: DuckDB does not distinguish case."""
    for name in wanted:
        if sum(other.casefold() == name.casefold() for other in there) > 1:
            raise InputError(
                f"{source}: several columns are called {name!r} if case is ignored. Its columns: "
                f"{', '.join(there)}. Rename one."
            )


def _literal(names: Sequence[str]) -> list[str]:
    """File names, escaped for DuckDB, which would take `a[1].csv` for a pattern."""
    return [re.sub(r"([*?\[])", r"[\1]", name) for name in names]


def _constant(value: str | None) -> Expression:
    return ConstantExpression(value).cast("VARCHAR")


def _named(column: str) -> Expression:
    """A column of any name; a ColumnExpression of `*` would be all of them."""
    return SQLExpression('"' + column.replace('"', '""') + '"')


def _decoded(column: str, kind: pa.DataType) -> Expression:
    """A column that DuckDB reads as bytes if the file does not say that they are text."""
    if is_bytes(kind):
        return FunctionExpression("decode", _named(column))
    if is_list(kind) and is_bytes(kind.value_type):
        return FunctionExpression("decode_list", _named(column))
    return _named(column)


def _json_text(column: str) -> Expression:
    return FunctionExpression("json_text", _named(column))


def _keys(objects: DuckDBPyRelation) -> list[str]:
    keys = objects.select(SQLExpression("unnest(json_keys(json))")).distinct().fetchall()
    return sorted(key for (key,) in keys)


def _part(
    names: Sequence[str],
    rows: DuckDBPyRelation,
    file: Expression,
    pid: Expression,
    stored: Expression,
    texts: Iterable[Expression],
    integers: Mapping[str, Expression] | None = None,
) -> Part:
    labelled = [text.alias(f"f{position}") for position, text in enumerate(texts)]
    labelled += [whole.alias(f"whole_{label}") for label, whole in (integers or {}).items()]
    columns = (file.alias("file"), pid.alias("pid"), stored.alias("stored"), *labelled)
    return Part(tuple(names), rows.select(*columns), frozenset(integers or ()))


def _fits_bigint(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) and kind != pa.uint64()


def _pid_text(kind: pa.DataType, pid: Expression) -> Expression:
    if kind == pa.binary(UUID_BYTES):
        return pid.cast("UUID").cast("VARCHAR")
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
        return FunctionExpression("nested_text", column)
    return column.cast("VARCHAR")
