"""The values of one column of a catalog by id, as text: for a measure, not for the items' texts."""

from pathlib import Path

import pyarrow as pa

from sid_assets.core.catalog.item_texts import CatalogSource, gather_rows
from sid_assets.core.catalog.template import Field, TextTemplate
from sid_assets.core.schema import PidType

MEMORY_MB = 1024
"""Memory limit for reading a column (MB): half for DuckDB, half for sorting."""


def column_values(
    source: CatalogSource, column: str, pid_type: PidType, *, scratch_dir: str | Path
) -> pa.RecordBatchReader:
    """The values of a column: rows of `schema.item_texts`, sorted by pid, with values for texts.

    Rows without an id or a value are left out, and so are ids with two different values.

    Args:
        source: The catalog; its template is not used.
        column: The column.
        pid_type: The type of the ids of `item_texts`.
        scratch_dir: An empty folder with room for the ids and values. The caller removes it once
            the reader is consumed.

    Raises:
        InputError: There is no such catalog or column, or a file is malformed.
    """
    template = TextTemplate(((Field(column),),))
    rows = gather_rows(source, template, scratch_dir=scratch_dir, memory_mb=MEMORY_MB // 2).rows
    rows.judge(pid_type)
    return rows.items(pid_type, Path(scratch_dir) / "runs", run_bytes=(MEMORY_MB << 20) // 8)
