"""The rows of a catalog become the texts of its items.

The rows are read once, into a DuckDB table in a scratch folder, since whether they are good shows
only when all are seen. They leave it sorted by id. Memory does not grow with their number: what
does not fit under DuckDB's limit is on disk.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from duckdb import (
    CaseExpression,
    CoalesceOperator,
    ColumnExpression,
    ConstantExpression,
    DuckDBPyConnection,
    Expression,
    FunctionExpression,
    SQLExpression,
)

from sid_assets.core import schema
from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.pids import (
    CANONICAL_INTEGER,
    FORCED_INTEGER,
    PidColumn,
    PidTypeSetting,
    Stored,
    agree,
)
from sid_assets.core.schema import PidType
from sid_assets.core.table_files import TableFiles, find_table_files
from sid_assets.core.text_columns import connect, reading, scan
from sid_assets.core.text_template import Field, Line, TextTemplate, parse_template

MEMORY_LIMIT = "2GB"
"""What DuckDB may use where nothing else is said; enough for any number of rows."""

BATCH_ROWS = 8192
FILES_SHOWN = 3

REJECTED = pa.schema([(name, pa.string()) for name in ("pid", "text", "reason", "file")])
"""Rows that were dropped, as the catalog has them, in its order."""

_WHOLE = re.compile(r"-?[0-9]+\Z")

OnBadRows = Literal["fail", "drop"]

NO_PID = "the id is null or blank"
NO_ID_VALUE = "the id is neither a number nor text"
NOT_WHOLE = "the id is not a whole number"
NOT_INTEGER = "the id is not an integer of 64 bits"
NO_TEXT = "the text is empty"
TWO_TEXTS = "the same id has different texts"

_REMEDIES = {
    NO_PID: "Give each item an id.",
    NO_ID_VALUE: "Write ids as integers or text.",
    NOT_WHOLE: "Write ids as integers or text; floats are exact only up to 2**53.",
    NOT_INTEGER: "Set SID_PID_TYPE=string, or correct them.",
    NO_TEXT: "Fill one of these columns, or name others in SID_TEXT_TEMPLATE.",
    TWO_TEXTS: "Keep one row for each item.",
}
_REMEDY_DROP = "Or set on_bad_rows: drop (config of item_texts) to go on without them."


@dataclass(frozen=True)
class CatalogSource:
    """Where a catalog is and how to read it.

    Attributes:
        catalog: A file, folder or glob of parquet, CSV or JSON lines; a path or fsspec URL.
        template: The text of an item; see `text_template`.
        pid_column: The column of ids.
        pid_type: What ids are; see `pids`.
        on_bad_rows: Whether rows without an id or a text, and ids with several texts, stop the
            reading or are rejected.
    """

    catalog: str
    template: str
    pid_column: str = "pid"
    pid_type: PidTypeSetting = "auto"
    on_bad_rows: OnBadRows = "fail"


@dataclass(frozen=True)
class Counts:
    """What became of the rows of a catalog.

    Attributes:
        read: Rows of the catalog.
        items: Rows of `item_texts`.
        collapsed: Rows left away because another has the same id and text.
        rejected: Rows rejected, by reason.
    """

    read: int
    items: int
    collapsed: int
    rejected: dict[str, int] = field(default_factory=dict)

    def metadata(self) -> dict[str, Any]:
        """The counts, flat and in words, for a run's metadata."""
        return {
            "rows_read": self.read,
            "rows_collapsed": self.collapsed,
            "rows_rejected": sum(self.rejected.values()),
            **{f"rejected: {reason}": rows for reason, rows in self.rejected.items()},
        }


@dataclass(frozen=True)
class ItemTexts:
    """The texts of a catalog's items. The readers read from the scratch folder.

    Attributes:
        reader: Rows of `schema.item_texts`, sorted by pid (strings by their UTF-8 bytes).
        rejected: Rows of `REJECTED`; None where none were rejected.
        pid_type: What ids are.
        pid_column: How the catalog stores them, to compare interactions with.
        counts: What became of the rows.
        warnings: What the user should hear of.
        fingerprint: Of the files that were read.
    """

    reader: pa.RecordBatchReader
    rejected: pa.RecordBatchReader | None
    pid_type: PidType
    pid_column: PidColumn
    counts: Counts
    warnings: tuple[str, ...]
    fingerprint: str


def read_item_texts(
    source: CatalogSource, *, scratch_dir: str | Path, memory_limit: str = MEMORY_LIMIT
) -> ItemTexts:
    """Read a catalog.

    Args:
        source: The catalog.
        scratch_dir: An empty folder with room for the catalog's texts, twice. The caller removes
            it when the readers are used up.
        memory_limit: What DuckDB may use.

    Raises:
        InputError: There is no such catalog, a file or the template is malformed, a column is not
            there, there are no rows, or rows are bad and `on_bad_rows` is `fail`.
    """
    template = parse_template(source.template)
    files = find_table_files(source.catalog)
    rows = connect(scratch_dir, memory_limit)
    _load(rows, files, source.pid_column, template)
    if find_table_files(source.catalog) != files:
        raise InputError(f"{files.root}: changed while it was read. Run again when it is complete.")

    pid_column = _pid_column(rows, files, source)
    pid_type = _pid_type(rows) if source.pid_type == "auto" else source.pid_type
    rows.execute(_INT_ID if pid_type == "int" else _STRING_ID)
    rows.execute(_JUDGED)
    counts = _count(rows)
    if not counts.read:
        raise InputError(f"{files.root}: no rows.")
    rejections = [
        _rejection(rows, reason, pid_column, template, source) for reason in counts.rejected
    ]
    if rejections and source.on_bad_rows == "fail":
        raise InputError("\n".join([*map(str, rejections), _REMEDY_DROP]))
    if not counts.items:
        raise InputError("\n".join([*map(str, rejections), f"{files.root}: no rows are left."]))
    return ItemTexts(
        reader=_stream(rows, "FROM kept ORDER BY pid", schema.item_texts(pid_type)),
        rejected=_stream(rows, _REJECTED_ROWS, REJECTED) if rejections else None,
        pid_type=pid_type,
        pid_column=pid_column,
        counts=counts,
        warnings=(*map(str, rejections), *_warnings(rows, files, counts, pid_type)),
        fingerprint=files.fingerprint,
    )


_TABLE = """
CREATE TABLE rows (
    file VARCHAR, pid VARCHAR, stored VARCHAR, text VARCHAR USING COMPRESSION zstd, text_hash BLOB
)
"""

_TEXT_HASH = "unhex(left(sha256(text), 32))"
"""What `hashing.text_hash` is, in DuckDB, which is faster by far."""

_INT_ID = rf"""
CREATE MACRO item_id(pid) AS
    CASE WHEN regexp_matches(pid, '{FORCED_INTEGER}')
         THEN TRY_CAST(regexp_replace(pid, '\.0+$', '') AS BIGINT) END
"""
_STRING_ID = "CREATE MACRO item_id(pid) AS pid"

_FAULTY_ID = f"""
CREATE MACRO fault_of_id(pid, stored) AS
    CASE WHEN blank_to_null(pid) IS NULL THEN '{NO_PID}'
         WHEN stored = 'other' THEN '{NO_ID_VALUE}'
         WHEN stored = 'int' AND NOT regexp_matches(pid, '^-?[0-9]+$') THEN '{NOT_WHOLE}' END
"""

# Texts are compared by hash: a few bytes for each id, however long its texts are.
_JUDGED = f"""
CREATE VIEW judged AS
    SELECT rowid AS row, file, pid, item_id(pid) AS id, text, text_hash,
        CASE WHEN fault_of_id(pid, stored) IS NOT NULL THEN fault_of_id(pid, stored)
             WHEN item_id(pid) IS NULL THEN '{NOT_INTEGER}'
             WHEN text IS NULL THEN '{NO_TEXT}' END AS fault
    FROM rows;

CREATE TABLE repeated AS
    SELECT id, count(*) AS times, min(row) AS first_row,
        min(hash(text_hash)) <> max(hash(text_hash)) AS differ
    FROM judged
    WHERE fault IS NULL AND id IN (
        SELECT id FROM judged WHERE fault IS NULL GROUP BY id HAVING count(*) > 1
    )
    GROUP BY id;

CREATE VIEW rejected AS
    SELECT row, pid, text, coalesce(fault, '{TWO_TEXTS}') AS reason, file
    FROM judged LEFT JOIN repeated USING (id)
    WHERE fault IS NOT NULL OR differ;

CREATE VIEW kept AS
    SELECT id AS pid, text, text_hash
    FROM judged LEFT JOIN repeated USING (id)
    WHERE fault IS NULL AND (first_row IS NULL OR (NOT differ AND row = first_row));
"""  # noqa: S608 - nothing but constants of this module goes in

_REJECTED_ROWS = "SELECT pid, text, reason, file FROM rejected ORDER BY row"


def _load(
    rows: DuckDBPyConnection, files: TableFiles, pid_column: str, template: TextTemplate
) -> None:
    """Read the catalog into the table `rows`; a text is null where it would be empty."""
    rows.execute(_TABLE)
    rows.execute(_FAULTY_ID)
    columns = [f"f{position}" for position in range(len(template.fields))]
    values = dict(zip(template.fields, map(ColumnExpression, columns), strict=True))
    as_they_are = ("file", "pid", "stored")
    with reading(files):
        rows.begin()
        for scanned in scan(rows, files, pid_column, template.fields):
            filled = scanned.select(*as_they_are, *(_filled(c).alias(c) for c in columns))
            texts = filled.select(*as_they_are, _text(template, values).alias("text"))
            texts.select(*as_they_are, "text", SQLExpression(_TEXT_HASH)).insert_into("rows")
        rows.commit()


def _filled(column: str) -> Expression:
    return FunctionExpression("blank_to_null", ColumnExpression(column))


def _text(template: TextTemplate, values: dict[str, Expression]) -> Expression:
    """The text as DuckDB makes it of values that are null where they are blank.

    A line is null where one of its fields is, since `||` is; `concat_ws` leaves null lines out.
    """
    lines = [_line(line, values) for line in template.lines]
    with_fields = [
        made
        for made, line in zip(lines, template.lines, strict=True)
        if any(isinstance(part, Field) for part in line)
    ]
    text = FunctionExpression("concat_ws", ConstantExpression("\n"), *lines)
    return CaseExpression(CoalesceOperator(*with_fields).isnotnull(), text)


def _line(line: Line, values: dict[str, Expression]) -> Expression:
    parts = [values[p.name] if isinstance(p, Field) else ConstantExpression(p) for p in line]
    start = ConstantExpression("")
    return functools.reduce(lambda one, next: FunctionExpression("||", one, next), parts, start)


def _pid_column(rows: DuckDBPyConnection, files: TableFiles, source: CatalogSource) -> PidColumn:
    """How the catalog stores its ids.

    Raises:
        InputError: Some are stored as integers and some as text, and nothing says which is meant.
    """
    found = rows.execute(
        "SELECT stored, arg_min(file, rowid), count(*), arg_min(pid, rowid, $shown) FROM rows "
        "WHERE pid IS NOT NULL AND stored <> 'other' GROUP BY stored ORDER BY count(*) DESC",
        {"shown": IDS_SHOWN},
    ).fetchall()
    sides = [
        PidColumn(file, source.pid_column, stored, count, _as_stored(ids, stored))
        for stored, file, count, ids in found
    ]
    for one, other in itertools.combinations(sides, 2):
        agree(one, other, source.pid_type)
    if not sides:
        return PidColumn(str(files.root), source.pid_column, "untyped", 0)
    return dataclasses.replace(sides[0], source=str(files.root))


def _pid_type(rows: DuckDBPyConnection) -> PidType:
    """`int` where every id is an integer of 64 bits as a program prints it."""
    (integers,) = rows.execute(
        "SELECT bool_and(regexp_matches(pid, $canonical) AND TRY_CAST(pid AS BIGINT) IS NOT NULL) "
        "FROM rows WHERE fault_of_id(pid, stored) IS NULL",
        {"canonical": CANONICAL_INTEGER},
    ).fetchall()[0]
    return "int" if integers else "string"


def _count(rows: DuckDBPyConnection) -> Counts:
    (read,) = rows.execute("SELECT count(*) FROM rows").fetchall()[0]
    (collapsed,) = rows.execute(
        "SELECT coalesce(sum(times - 1), 0)::BIGINT FROM repeated WHERE NOT differ"
    ).fetchall()[0]
    rejected = dict(
        rows.execute(
            "SELECT reason, count(*) FROM rejected GROUP BY reason ORDER BY min(row)"
        ).fetchall()
    )
    return Counts(read, read - collapsed - sum(rejected.values()), collapsed, rejected)


def _rejection(
    rows: DuckDBPyConnection,
    reason: str,
    pids: PidColumn,
    template: TextTemplate,
    source: CatalogSource,
) -> InputError:
    """The error for the rows that were rejected for one reason."""
    count, files = rows.execute(
        "SELECT sum(rows)::BIGINT, list(file ORDER BY first) FROM ("
        "SELECT file, count(*) AS rows, min(row) AS first FROM rejected WHERE reason = $reason "
        "GROUP BY file)",
        {"reason": reason},
    ).fetchall()[0]
    ids = rows.execute(
        "SELECT pid FROM rejected WHERE reason = $reason AND pid IS NOT NULL "
        "GROUP BY pid ORDER BY min(row) LIMIT $shown",
        {"reason": reason, "shown": IDS_SHOWN},
    ).fetchall()
    more = f" and {len(files) - FILES_SHOWN} more files" if len(files) > FILES_SHOWN else ""
    return offending_rows(
        reason,
        source=", ".join(files[:FILES_SHOWN]) + more,
        column=", ".join(template.fields) if reason == NO_TEXT else source.pid_column,
        rows=count,
        ids=_as_stored([pid for (pid,) in ids], pids.stored),
        remedy=_REMEDIES[reason],
    )


def _warnings(
    rows: DuckDBPyConnection, files: TableFiles, counts: Counts, pid_type: PidType
) -> Iterator[str]:
    if counts.collapsed:
        yield (
            f"{files.root}: identical rows collapsed ({counts.collapsed:,} left away): another row "
            "has the same id and the same text."
        )
    if pid_type == "int" and rows.execute("SELECT 1 FROM kept WHERE pid = 0 LIMIT 1").fetchall():
        yield (
            f"{files.root}: an item has the id 0, which OneRec's evaluation takes for 'not found'. "
            "Give it another id."
        )


def _as_stored(ids: Iterable[str], stored: Stored) -> tuple[Any, ...]:
    """Ids as a message shows them: integers without quotes."""
    return tuple(int(pid) if stored == "int" and _WHOLE.match(pid) else pid for pid in ids)


def _stream(rows: DuckDBPyConnection, query: str, schema: pa.Schema) -> pa.RecordBatchReader:
    """The rows of a query, in batches, never all in memory.

    A relation, not `execute`, which would hold the whole result. It has a cursor to itself, since
    a connection ends one query when it begins another.
    """

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows.cursor().sql(query).to_arrow_reader(BATCH_ROWS):
            yield batch.cast(schema)

    return pa.RecordBatchReader.from_batches(schema, batches())
