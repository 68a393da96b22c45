"""The values of one column of a catalog by id, as text: for a measure, not for the items' texts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from duckdb import ColumnExpression, FunctionExpression

from sid_assets.core.catalog.columns import connect, reading, scan
from sid_assets.core.catalog.item_texts import CatalogSource
from sid_assets.core.catalog.rows import CatalogRows
from sid_assets.core.inputs.files import find_table_files
from sid_assets.core.schema import PidType

MEMORY_MB = 1024
"""Memory limit for reading a column (MB)."""


@contextmanager
def column_values(
    source: CatalogSource, column: str, pid_type: PidType, *, scratch_dir: str | Path
) -> Iterator[pa.RecordBatchReader]:
    """The values of a column: rows of `schema.item_texts`, sorted by pid, with values for texts.

    Rows without an id or a value are left out, and so are ids with two different values.

    Args:
        source: The catalog.
        column: The column.
        pid_type: The type of the ids of `item_texts`.
        scratch_dir: An empty folder with room for the ids and values; the caller removes it.

    Raises:
        InputError: There is no such catalog or column, or a file is malformed.
    """
    files = find_table_files(source.catalog)
    connection = connect(scratch_dir, MEMORY_MB // 2)
    try:
        rows = CatalogRows(connection)
        value = FunctionExpression("blank_to_null", ColumnExpression("f0")).alias("text")
        with reading(files):
            scanned = scan(connection, files, source.pid_column, [column])
            rows.add(columns.select("file", "pid", "stored", value) for columns in scanned)
        rows.judge(pid_type)
        yield rows.items(pid_type, Path(scratch_dir) / "runs", run_bytes=(MEMORY_MB << 20) // 8)
    finally:
        connection.close()
