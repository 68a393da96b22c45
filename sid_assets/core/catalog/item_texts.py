"""From the rows of a catalog to the texts of its items.

The rows are read once, into a table in a scratch folder, and are then read from it sorted by id.
Memory does not grow with their number: what exceeds DuckDB's limit is on disk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
from duckdb import ColumnExpression, DuckDBPyRelation, FunctionExpression

from sid_assets.core.catalog.columns import connect, reading, scan
from sid_assets.core.catalog.rows import CatalogCounts, CatalogRows
from sid_assets.core.catalog.template import TextTemplate, parse_template
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.files import find_table_files
from sid_assets.core.inputs.ids import PidColumn, PidTypeSetting
from sid_assets.core.schema import PidType

MEMORY_MB = 2048
"""Default memory limit for reading a catalog (MB); enough for any number of rows."""


@dataclass(frozen=True)
class CatalogSource:
    """Where a catalog is and how to read it.

    Attributes:
        catalog: A file, folder or glob of parquet, CSV or JSON lines; a path or fsspec URL.
        template: Template of an item's text; see `template`.
        pid_column: The column of ids.
        pid_type: The type of the ids; see `inputs.ids`.
        on_bad_rows: Whether rows without an id or a text, and ids with several texts, are an error
            or are rejected.
        other_columns: Columns that must be there although no text is made from them.
    """

    catalog: str
    template: str
    pid_column: str = "pid"
    pid_type: PidTypeSetting = "auto"
    on_bad_rows: Literal["fail", "drop"] = "fail"
    other_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class ItemTexts:
    """The texts of a catalog's items. The readers read from the scratch folder.

    Attributes:
        reader: Rows of `schema.item_texts`, sorted by pid (strings by their UTF-8 bytes).
        rejected: Rows of `schema.ITEM_TEXTS_REJECTED`; None if none were rejected.
        pid_type: The type of the ids.
        pid_column: How the catalog stores ids, for comparison with interactions.
        counts: What became of the rows.
        warnings: Warnings for the user.
        fingerprint: Fingerprint of the files that were read.
    """

    reader: pa.RecordBatchReader
    rejected: pa.RecordBatchReader | None
    pid_type: PidType
    pid_column: PidColumn
    counts: CatalogCounts
    warnings: tuple[str, ...]
    fingerprint: str


def read_item_texts(
    source: CatalogSource, *, scratch_dir: str | Path, memory_mb: int = MEMORY_MB
) -> ItemTexts:
    """Read a catalog.

    Args:
        source: The catalog.
        scratch_dir: An empty folder with room for twice the catalog's texts. The caller removes it
            once the readers are consumed.
        memory_mb: Memory limit (MB): half for DuckDB, half for sorting.

    Raises:
        InputError: There is no such catalog, a file or the template is malformed, a column is
            missing, there are no rows, or rows are bad and `on_bad_rows` is `fail`.
    """
    template = parse_template(source.template)
    files = find_table_files(source.catalog)
    place = str(files.root)
    connection = connect(scratch_dir, memory_mb // 2)
    rows = CatalogRows(connection)
    with reading(files):
        wanted = list(dict.fromkeys([*template.fields, *source.other_columns]))
        scanned = scan(connection, files, source.pid_column, wanted)
        rows.add(_with_text(columns, template) for columns in scanned)
    if find_table_files(source.catalog) != files:
        raise InputError(f"{place}: changed while it was read. Run again when it is complete.")

    pid_column = rows.pid_column(place, source.pid_column, source.pid_type)
    pid_type = rows.judge(source.pid_type)
    counts = rows.counts()
    rejections = [
        str(rows.rejection(reason, pid_column, template.fields)) for reason in counts.rejected
    ]
    _require_items(place, counts, rejections, drop=source.on_bad_rows == "drop")
    return ItemTexts(
        reader=rows.items(pid_type, Path(scratch_dir) / "runs", run_bytes=(memory_mb << 20) // 8),
        rejected=rows.rejected() if rejections else None,
        pid_type=pid_type,
        pid_column=pid_column,
        counts=counts,
        warnings=(*rejections, *_warnings(place, rows, counts, pid_type)),
        fingerprint=files.fingerprint,
    )


def _with_text(columns: DuckDBPyRelation, template: TextTemplate) -> DuckDBPyRelation:
    """Replace the fields with the text, which is null if it would be empty."""
    labels = [f"f{position}" for position in range(len(template.fields))]
    values = dict(zip(template.fields, map(ColumnExpression, labels), strict=True))
    filled = (
        FunctionExpression("blank_to_null", value).alias(label)
        for label, value in zip(labels, values.values(), strict=True)
    )
    as_they_are = ("file", "pid", "stored")
    return columns.select(*as_they_are, *filled).select(
        *as_they_are, template.fill(values).alias("text")
    )


def _require_items(place: str, counts: CatalogCounts, rejections: list[str], drop: bool) -> None:
    if not counts.read:
        raise InputError(f"{place}: no rows.")
    if rejections and not drop:
        remedy = "Or set on_bad_rows: drop (config of item_texts) to reject these rows."
        raise InputError("\n".join([*rejections, remedy]))
    if not counts.items:
        raise InputError("\n".join([*rejections, f"{place}: no rows are left."]))


def _warnings(
    place: str, rows: CatalogRows, counts: CatalogCounts, pid_type: PidType
) -> Iterator[str]:
    if counts.collapsed:
        yield (
            f"{place}: identical rows collapsed ({counts.collapsed:,} skipped): another row has "
            "the same id and the same text."
        )
    if pid_type == "int" and rows.has_item(0):
        yield (
            f"{place}: an item has the id 0, which OneRec's evaluation reads as 'not found'. Give "
            "it another id."
        )
