"""Rows of `raw`, the table of events that are not validated yet, for errors."""

# ruff: noqa: S608 - only constants of this package, numbers and quoted text are inserted

from duckdb import DuckDBPyConnection

from sid_assets.core.errors import IDS_SHOWN


def first_rows(
    connection: DuckDBPyConnection, condition: str, shown: str, table: str = "raw"
) -> tuple[int, str, list[str]]:
    """How many rows fulfil a condition, which files they are in, and values of the first rows.

    Args:
        connection: A database with the table, whose rows are in the order of the files.
        condition: SQL.
        shown: The column whose values are returned, as text; nulls are left out.
        table: The table; it has a column `file`.
    """
    [(rows, file, files)] = connection.execute(
        f"SELECT count(*), min(file), count(DISTINCT file) FROM {table} WHERE {condition}"
    ).fetchall()
    if not rows:
        return 0, "", []
    first = connection.execute(
        f"SELECT CAST({shown} AS VARCHAR) FROM {table} "
        f"WHERE ({condition}) AND {shown} IS NOT NULL ORDER BY rowid LIMIT {IDS_SHOWN}"
    ).fetchall()
    if files > 1:
        file += f" and {files - 1:,} more {'file' if files == 2 else 'files'}"
    return rows, file, [value for (value,) in first]
