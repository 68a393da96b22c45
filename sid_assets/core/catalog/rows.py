"""The rows of a catalog while it is read: which are good, and what is wrong with the others.

They are in a table of a DuckDB database on disk, since repeated ids are known only once all rows
are read. Python never holds more than a few rows.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from duckdb import DuckDBPyConnection, DuckDBPyRelation, SQLExpression

from sid_assets.core import schema
from sid_assets.core.arrow.duck import quiet
from sid_assets.core.arrow.external_sort import BATCH_ROWS, sort_batches
from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.inputs.ids import (
    CANONICAL_INTEGER,
    FORCED_INTEGER,
    PidColumn,
    PidTypeSetting,
    Stored,
    agree,
)
from sid_assets.core.schema import PidType

FILES_SHOWN = 3

NO_PID = "the id is null or blank"
NO_ID_VALUE = "the id is neither a number nor text"
NOT_WHOLE = "the id is not a whole number"
FLOAT = "the id is written as a float, which may have lost digits"
NOT_INTEGER = "the id is not an integer of 64 bits"
NO_TEXT = "the text is empty"
TWO_TEXTS = "the same id has different texts"

_REMEDIES = {
    NO_PID: "Give each item an id.",
    NO_ID_VALUE: "Write ids as integers or text.",
    NOT_WHOLE: "Write ids as integers or text; floats are exact only up to 2**53.",
    FLOAT: "Write ids as integers, or set SID_PID_TYPE=string if they are meant so.",
    NOT_INTEGER: "Set SID_PID_TYPE=string, or correct them.",
    NO_TEXT: "Fill one of these columns, or name others in SID_TEXT_TEMPLATE.",
    TWO_TEXTS: "Keep one row for each item.",
}

_WHOLE = re.compile(r"-?[0-9]+\Z")

_TABLE = """
CREATE TABLE rows (
    file VARCHAR, pid VARCHAR, stored VARCHAR, null_words VARCHAR,
    text VARCHAR USING COMPRESSION zstd, text_hash BLOB
);
"""

_FAULT_OF_ID = rf"""
CREATE MACRO written_float(pid) AS
    regexp_matches(pid, '^-?[0-9](?:\.[0-9]+)?[eE]\+[0-9]+$')
    OR regexp_matches(pid, '^-?[0-9]+\.0+$') AND is_inexact_float(pid);
CREATE MACRO fault_of_id(pid, stored) AS
    CASE WHEN blank_to_null(pid) IS NULL THEN '{NO_PID}'
         WHEN stored = 'other' THEN '{NO_ID_VALUE}'
         WHEN stored = 'int' AND NOT regexp_matches(pid, '^-?[0-9]+$') THEN '{NOT_WHOLE}'
         WHEN stored = 'untyped' AND NOT taken_for_text() AND written_float(pid)
             THEN '{FLOAT}' END;
CREATE MACRO is_canonical(pid) AS
    regexp_matches(pid, '{CANONICAL_INTEGER}') AND TRY_CAST(pid AS BIGINT) IS NOT NULL;
"""

STRAY_SHARE = 0.01
"""Up to this share of ids that are not integers, among ids that are, may be mistakes."""

_TEXT_HASH = "unhex(left(sha256(text), 32)) AS text_hash"
"""The same hash as `hashes.text_hash`."""

_ITEM_ID: dict[PidType, str] = {
    "int": rf"""
CREATE MACRO item_id(pid) AS
    CASE WHEN regexp_matches(pid, '{FORCED_INTEGER}')
         THEN TRY_CAST(regexp_replace(pid, '\.0+$', '') AS BIGINT) END;
""",
    "string": "CREATE MACRO item_id(pid) AS pid;",
}

# Texts are compared by hash: a few bytes per id, however long its texts are.
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
"""  # noqa: S608 - only constants of this module are inserted


@dataclass(frozen=True)
class CatalogCounts:
    """What became of the rows of a catalog.

    Attributes:
        read: Rows of the catalog.
        items: Rows of `item_texts`.
        collapsed: Rows skipped because another row has the same id and text.
        rejected: Rows rejected, by reason.
    """

    read: int
    items: int
    collapsed: int
    rejected: dict[str, int] = field(default_factory=dict)

    def metadata(self) -> dict[str, Any]:
        """The counts as a flat dictionary, for a run's metadata."""
        return {
            "rows_read": self.read,
            "rows_collapsed": self.collapsed,
            "rows_rejected": sum(self.rejected.values()),
            **{f"rejected: {reason}": rows for reason, rows in self.rejected.items()},
        }


class CatalogRows:
    """The rows of one catalog: `add` them all, then `judge` them, then query the results."""

    def __init__(self, connection: DuckDBPyConnection):
        """Start without rows, in a new database of `columns.connect`."""
        self._database = connection
        connection.execute(_TABLE)

    @contextmanager
    def adding(self) -> Iterator[None]:
        """One transaction for all calls of `add`, which makes them quick."""
        self._database.begin()
        yield
        self._database.commit()

    def add(self, rows: DuckDBPyRelation) -> None:
        """Add rows with the columns of `columns.Part`, `null_words` and `text`.

        `null_words` is null for nearly all rows. It has the values that may stand for null, as
        `position=word`, joined with commas.
        """
        columns = ("file", "pid", "stored", "null_words", "text")
        rows.select(*columns, SQLExpression(_TEXT_HASH)).insert_into("rows")

    def pid_column(self, source: str, column: str, setting: PidTypeSetting) -> PidColumn:
        """How the catalog stores its ids.

        Raises:
            InputError: Some rows have integers and some text, and the setting does not state which
                is meant.
        """
        found = self._fetch(
            "SELECT stored, arg_min(file, rowid), count(*), arg_min(pid, rowid, $shown) FROM rows "
            "WHERE pid IS NOT NULL AND stored <> 'other' GROUP BY stored ORDER BY count(*) DESC",
            shown=IDS_SHOWN,
        )
        sides = [
            PidColumn(file, column, stored, count, tuple(_as_stored(ids, stored)))
            for stored, file, count, ids in found
        ]
        for one, other in itertools.combinations(sides, 2):
            agree(one, other, setting)
        if not sides:
            return PidColumn(source, column, "untyped", 0)
        return dataclasses.replace(sides[0], source=source)

    def judge(self, setting: PidTypeSetting) -> PidType:
        """Decide the type of the ids, and so which rows are good; return the type."""
        self._database.execute(
            f"CREATE MACRO taken_for_text() AS {str(setting == 'string').lower()};" + _FAULT_OF_ID
        )
        pid_type: PidType = setting if setting != "auto" else self._pid_type()
        self._database.execute(_ITEM_ID[pid_type])
        self._database.execute(_JUDGED)
        return pid_type

    def _pid_type(self) -> PidType:
        """`int` if every id is a 64-bit integer as a program prints it."""
        ids, others, _ = self._not_integers()
        return "int" if ids and not others else "string"

    def other_pid_type(self, pid_type: PidType, pids: PidColumn) -> InputError:
        """The error for ids that `auto` reads as another type than those of the published SIDs.

        Args:
            pid_type: The type that `auto` gives.
            pids: How the catalog stores its ids.
        """
        if pid_type == "int":
            return InputError(
                f"{pids.source}: column {pids.column!r}: all ids are integers, so "
                "SID_PID_TYPE=auto reads them as integers, but the published ids are text. To "
                "keep vectors and SIDs, set SID_PID_TYPE=string. To make all ids integers, set "
                "SID_PID_TYPE=int and another SID_DATA_DIR, in which every item gets a new SID."
            )
        _, rows, first = self._not_integers()
        return offending_rows(
            "these ids are not 64-bit integers without leading zeros, so SID_PID_TYPE=auto reads "
            "all ids as text, but the published ids are integers",
            source=pids.source,
            column=pids.column,
            rows=rows,
            ids=first,
            remedy="To keep vectors and SIDs, correct these ids, or set SID_PID_TYPE=int with "
            "on_bad_rows: drop (config of item_texts), which rejects what is not an integer. To "
            "make all ids text, set SID_PID_TYPE=string and another SID_DATA_DIR, in which every "
            "item gets a new SID.",
        )

    def stray_ids(self, pids: PidColumn) -> str:
        """The warning about a few ids that are the reason why all are text; "" if they are many."""
        ids, others, first = self._not_integers()
        if not 0 < others <= STRAY_SHARE * ids:
            return ""
        return (
            f"{pids.source}: column {pids.column!r}: all ids are read as text, because {others:,} "
            f"of {ids:,} are not 64-bit integers without leading zeros. First ids: "
            f"{', '.join(map(repr, first))}. If these are mistakes, correct them; else set "
            "SID_PID_TYPE=string, so that the type does not depend on a few rows."
        )

    def _not_integers(self) -> tuple[int, int, list[str]]:
        """How many ids there are, how many are not integers as a program prints them, the first."""
        [(ids, others, first)] = self._fetch(
            "SELECT count(*), count(*) FILTER (NOT is_canonical(pid)), "
            "arg_min(pid, rowid, $shown) FILTER (NOT is_canonical(pid)) "
            "FROM rows WHERE fault_of_id(pid, stored) IS NULL",
            shown=IDS_SHOWN,
        )
        return ids, others, first or []

    def counts(self) -> CatalogCounts:
        """What became of the rows."""
        [(read,)] = self._fetch("SELECT count(*) FROM rows")
        [(collapsed,)] = self._fetch(
            "SELECT coalesce(sum(times - 1), 0)::BIGINT FROM repeated WHERE NOT differ"
        )
        rejected = dict(
            self._fetch("SELECT reason, count(*) FROM rejected GROUP BY reason ORDER BY min(row)")
        )
        return CatalogCounts(read, read - collapsed - sum(rejected.values()), collapsed, rejected)

    def rejection(self, reason: str, pids: PidColumn, fields: Sequence[str]) -> InputError:
        """The error for the rows that are rejected for one reason.

        Args:
            reason: One of the reasons in `counts`.
            pids: How the catalog stores its ids.
            fields: The columns of the text.
        """
        [(rows, files)] = self._fetch(
            "SELECT sum(rows)::BIGINT, list(file ORDER BY first) FROM ("
            "SELECT file, count(*) AS rows, min(row) AS first FROM rejected "
            "WHERE reason = $reason GROUP BY file)",
            reason=reason,
        )
        ids = self._fetch(
            "SELECT pid FROM rejected WHERE reason = $reason AND pid IS NOT NULL "
            "GROUP BY pid ORDER BY min(row) LIMIT $shown",
            reason=reason,
            shown=IDS_SHOWN,
        )
        more = f" and {len(files) - FILES_SHOWN} more files" if len(files) > FILES_SHOWN else ""
        return offending_rows(
            reason,
            source=", ".join(files[:FILES_SHOWN]) + more,
            column=", ".join(fields) if reason == NO_TEXT else pids.column,
            rows=rows,
            ids=_as_stored((pid for (pid,) in ids), pids.stored),
            remedy=_REMEDIES[reason],
        )

    def null_words(self) -> dict[int, dict[str, int]]:
        """How often each word that may stand for null occurs, by position of the column."""
        found = self._fetch(
            "SELECT split_part(word, '=', 1)::INT, split_part(word, '=', 2), count(*) FROM ("
            "SELECT unnest(string_split(null_words, ',')) AS word FROM rows "
            "WHERE null_words IS NOT NULL) GROUP BY ALL ORDER BY ALL"
        )
        words: dict[int, dict[str, int]] = {}
        for position, word, count in found:
            words.setdefault(position, {})[word] = count
        return words

    def has_item(self, pid: int) -> bool:
        """Whether an item has this id; ids must be integers."""
        return bool(self._fetch("SELECT 1 FROM kept WHERE pid = $pid LIMIT 1", pid=pid))

    def items(self, pid_type: PidType, folder: Path, run_bytes: int) -> pa.RecordBatchReader:
        """The good rows, one per id and sorted by id: `schema.item_texts`.

        Args:
            pid_type: The type of the ids.
            folder: Folder for the runs of the sort.
            run_bytes: Size of a run.
        """
        columns = schema.item_texts(pid_type)
        rows = self._batches("FROM kept", columns)
        return pa.RecordBatchReader.from_batches(
            columns, sort_batches(rows, "pid", folder, run_bytes)
        )

    def rejected(self) -> pa.RecordBatchReader:
        """The rejected rows: `schema.ITEM_TEXTS_REJECTED`."""
        columns = schema.ITEM_TEXTS_REJECTED
        rows = self._batches("SELECT pid, text, reason, file FROM rejected", columns)
        return pa.RecordBatchReader.from_batches(columns, rows)

    def _fetch(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return self._database.execute(query, parameters).fetchall()

    def _batches(self, query: str, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows of a query, never all in memory.

        This uses a relation, since `execute` would hold the whole result, and its own cursor, since
        a connection ends one query when it begins another.
        """
        cursor = quiet(self._database.cursor())
        for batch in cursor.sql(query).to_arrow_reader(BATCH_ROWS):
            yield batch.cast(columns)


def _as_stored(ids: Iterable[str], stored: Stored) -> Iterator[Any]:
    """Ids as a message shows them: integers without quotes."""
    return (int(pid) if stored == "int" and _WHOLE.match(pid) else pid for pid in ids)
