"""Expressions that DuckDB computes of Arrow columns: hashes, which Arrow itself does not have."""

from functools import cache

import duckdb
import pyarrow as pa


def computed(rows: pa.Table, expressions: str) -> pa.Table:
    """Columns computed of a table, row by row and in order.

    Args:
        rows: Shape (n,).
        expressions: SQL, as between SELECT and FROM: `.. AS a, .. AS b`. Each may use the names
            before it. Never of text that is not this package's own.
    """
    # A cursor is a connection of its own, so that threads may call this.
    relation = _connection().cursor().from_arrow(rows).project(expressions)
    return relation.to_arrow_table().combine_chunks()


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    # Those who have much to compute have threads of their own.
    return duckdb.connect(config={"threads": 1})
