"""DuckDB: databases that go on on disk past their memory limit, and expressions of Arrow columns.

The expressions are hashes, which Arrow itself does not have.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
from duckdb import DuckDBPyConnection

MEMORY_MB = 1000
"""What a database may use where nothing else is said (MB)."""

MB_PER_THREAD = 128
"""Memory for each of DuckDB's threads; with less, a query over wide rows may run out of it."""


@contextmanager
def spilling_database(memory_mb: int = MEMORY_MB) -> Iterator[DuckDBPyConnection]:
    """A database in memory, and past its limit in a temporary folder; it is gone afterwards."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_database(Path(folder), memory_mb) as database,
    ):
        yield database


def open_database(folder: Path, memory_mb: int, file: Path | None = None) -> DuckDBPyConnection:
    """A new database that goes on on disk past its memory limit.

    Args:
        folder: Where it puts what does not fit in memory; the caller removes it.
        memory_mb: What it may use (MB).
        file: Where its tables are; by default they are in memory as far as they fit.
    """
    database = duckdb.connect(
        file or ":memory:",
        config={
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": str(folder / "spill"),
            "storage_compatibility_version": "latest",
            "autoinstall_known_extensions": False,
        },
    )
    [(threads,)] = database.execute("SELECT current_setting('threads')").fetchall()
    affordable = max(1, min(threads, memory_mb // MB_PER_THREAD))
    database.execute("SET threads = $threads", {"threads": affordable})
    return quiet(database)


def quiet(connection: DuckDBPyConnection) -> DuckDBPyConnection:
    """The connection without DuckDB's progress bar. Each cursor begins with one again."""
    return connection.execute("SET enable_progress_bar = false")


def computed(rows: pa.Table, *selections: str) -> pa.Table:
    """Columns computed of a table, row by row and in order.

    Args:
        rows: Shape (n,).
        selections: SQL, as between SELECT and FROM, of the columns that the selection before it
            gives. Never of text that is not this package's own.
    """
    # A cursor is a connection of its own, so that threads may call this.
    relation = _expressions().cursor().from_arrow(rows)
    for selection in selections:
        relation = relation.project(selection)
    return relation.to_arrow_table().combine_chunks()


@cache
def _expressions() -> DuckDBPyConnection:
    # Those who have much to compute have threads of their own.
    return duckdb.connect(config={"threads": 1})
