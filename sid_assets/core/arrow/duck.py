"""DuckDB: databases that spill to disk above their memory limit, and expressions on Arrow columns.

The expressions compute hashes, which Arrow itself lacks.
"""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
from duckdb import DuckDBPyConnection
from upath import UPath

from sid_assets.core.store.places import FOR_TMPDIR, explained, temporary_folder

MEMORY_MB = 1000
"""Default memory limit of a database (MB)."""

MB_PER_THREAD = 128
"""Memory per DuckDB thread; with less, a query over wide rows may run out of memory."""


@contextmanager
def spilling_database(memory_mb: int = MEMORY_MB) -> Iterator[DuckDBPyConnection]:
    """A temporary database in memory that spills to a temporary folder above its limit.

    Raises:
        StoreError: The disk of the temporary folder is full.
    """
    with (
        temporary_folder() as folder,
        open_database(Path(folder), memory_mb) as database,
        # Inside, because the database removes its files when it is closed.
        explained(UPath(folder), FOR_TMPDIR, only_full=True),
    ):
        yield database


def open_database(folder: Path, memory_mb: int, file: Path | None = None) -> DuckDBPyConnection:
    """A new database that spills to disk above its memory limit.

    Args:
        folder: Receives what does not fit in memory; the caller removes it.
        memory_mb: Memory limit (MB).
        file: Holds its tables; by default they are in memory and spill if they do not fit.
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
    """The connection without DuckDB's progress bar. Each new cursor shows it again."""
    return connection.execute("SET enable_progress_bar = false")


def computed(rows: pa.Table, *selections: str) -> pa.Table:
    """Columns computed from a table, row by row and in order.

    Args:
        rows: Shape (n,).
        selections: SQL, as between SELECT and FROM, on the columns of the previous selection.
            It must never contain text from outside this package.
    """
    # A cursor is a connection of its own, so that threads may call this.
    relation = _expressions().cursor().from_arrow(rows)
    for selection in selections:
        relation = relation.project(selection)
    return relation.to_arrow_table().combine_chunks()


@cache
def _expressions() -> DuckDBPyConnection:
    # Callers with much to compute have their own threads.
    return duckdb.connect(config={"threads": 1})


@atexit.register
def _unload() -> None:
    """Free DuckDB's objects before the interpreter ends.

    In a process with torch, the functions of Dagster's assets outlive the interpreter, with all
    that they refer to. DuckDB 2.0 would print 45 lines about its objects among them.
    """
    _expressions.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] in ("duckdb", "_duckdb")]:
        vars(sys.modules.pop(name)).clear()
    gc.collect()
    # The rest lives until the end: Python would search it for garbage several times, for seconds.
    gc.freeze()
