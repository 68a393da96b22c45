"""Expressions that DuckDB computes of Arrow columns: hashes, which Arrow itself does not have."""

from functools import cache

import duckdb
import pyarrow as pa


def computed(rows: pa.Table, *selections: str) -> pa.Table:
    """Columns computed of a table, row by row and in order.

    Args:
        rows: Shape (n,).
        selections: SQL, as between SELECT and FROM, of the columns that the selection before it
            gives. Never of text that is not this package's own.
    """
    # A cursor is a connection of its own, so that threads may call this.
    relation = _connection().cursor().from_arrow(rows)
    for selection in selections:
        relation = relation.project(selection)
    return relation.to_arrow_table().combine_chunks()


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    # Those who have much to compute have threads of their own.
    return duckdb.connect(config={"threads": 1})
