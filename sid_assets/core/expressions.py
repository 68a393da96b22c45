"""Expressions that DuckDB computes of Arrow columns: hashes, which Arrow itself does not have."""

from functools import cache

import duckdb
import pyarrow as pa


def computed(rows: pa.Table, *expressions: str) -> pa.Array:
    """A column computed of a table, row by row and in order.

    Args:
        rows: Shape (n,).
        expressions: SQL of the table's columns; each after the first one is of the column `x`
            that the one before it gave. Never of text that is not this package's own.

    Returns:
        Shape (n,).
    """
    # A cursor is a connection of its own, so that threads may call this, and costs microseconds.
    relation = _connection().cursor().from_arrow(rows)
    for expression in expressions:
        relation = relation.project(f"{expression} AS x")
    return relation.to_arrow_table()["x"].combine_chunks()


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()
