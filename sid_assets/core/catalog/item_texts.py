"""From the rows of a catalog to the texts of its items.

The rows are read once, into a table in a scratch folder, and are then read from it sorted by id.
Memory does not grow with their number: what exceeds DuckDB's limit is on disk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
from duckdb import (
    ColumnExpression,
    DuckDBPyConnection,
    DuckDBPyRelation,
    FunctionExpression,
    SQLExpression,
)

from sid_assets.core.catalog.columns import CatalogScan, connect, reading
from sid_assets.core.catalog.rows import CatalogCounts, CatalogRows
from sid_assets.core.catalog.template import TextTemplate, parse_template
from sid_assets.core.catalog.value_texts import NEWEST_RULES, TextRules
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.content import require_named_format
from sid_assets.core.inputs.csv_quoting import QuotingSetting
from sid_assets.core.inputs.files import TableFiles, find_table_files
from sid_assets.core.inputs.ids import PidColumn, PidTypeSetting
from sid_assets.core.schema import PidType
from sid_assets.core.store.places import temporary_folder

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
        published: The type of the ids of the items that have vectors; None if there are none.
        on_bad_rows: Whether rows without an id or a text, and ids with several texts, are an error
            or are rejected.
        csv_quoting: How CSV and TSV files are quoted; see `inputs.csv_quoting`.
        text_rules: The rules by which values become text; see `value_texts`.
        other_columns: Columns that must be there although no text is made from them.
    """

    catalog: str
    template: str
    pid_column: str = "pid"
    pid_type: PidTypeSetting = "auto"
    published: PidType | None = None
    on_bad_rows: Literal["fail", "drop"] = "fail"
    csv_quoting: QuotingSetting = "auto"
    text_rules: TextRules = NEWEST_RULES
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


@dataclass(frozen=True)
class Gathered:
    """The rows of a catalog in a database, before they are judged.

    Attributes:
        rows: The rows, with the texts of a template.
        files: The files that were read.
        warnings: Warnings for the user about the files.
    """

    rows: CatalogRows
    files: TableFiles
    warnings: list[str]


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
            missing, there are no rows, the ids would become of another type than the published
            ones, or rows are bad and `on_bad_rows` is `fail`.
    """
    template = parse_template(source.template)
    gathered = gather_rows(source, template, scratch_dir=scratch_dir, memory_mb=memory_mb // 2)
    rows, files = gathered.rows, gathered.files
    place = str(files.root)
    pid_column = rows.pid_column(place, source.pid_column, source.pid_type)
    pid_type = rows.judge(source.pid_type)
    counts = rows.counts()
    rejections = [
        str(rows.rejection(reason, pid_column, template.fields)) for reason in counts.rejected
    ]
    _require_items(place, counts, rejections, drop=source.on_bad_rows == "drop")
    if source.pid_type == "auto" and source.published not in (None, pid_type):
        raise rows.other_pid_type(pid_type, pid_column)
    return ItemTexts(
        reader=rows.items(pid_type, Path(scratch_dir) / "runs", run_bytes=(memory_mb << 20) // 8),
        rejected=rows.rejected() if rejections else None,
        pid_type=pid_type,
        pid_column=pid_column,
        counts=counts,
        warnings=(
            *gathered.warnings,
            *rejections,
            *_warnings(rows, counts, pid_type, pid_column, source.pid_type),
            *_null_words(place, rows, (source.pid_column, *template.fields)),
        ),
        fingerprint=files.fingerprint,
    )


def look_at_catalog(source: CatalogSource) -> None:
    """Look at a catalog without reading all of it: its files, its columns and its template.

    Raises:
        InputError: There is no such catalog, its first file is malformed, or a column is missing.
    """
    template = parse_template(source.template)
    with temporary_folder() as folder:
        files = find_table_files(source.catalog)
        require_named_format(files)
        connection = connect(folder, MEMORY_MB // 2, source.text_rules)
        scan = _scan(connection, files, source, template, folder)
        part = next(scan.parts(), None)
        if part:
            with reading(files, part.names):
                part.rows.limit(1).fetchall()
        connection.close()


def gather_rows(
    source: CatalogSource, template: TextTemplate, *, scratch_dir: str | Path, memory_mb: int
) -> Gathered:
    """Read the rows of a catalog into a database, with the texts of a template.

    Args:
        source: The catalog; its own template is not used.
        template: The template.
        scratch_dir: An empty folder for the database.
        memory_mb: Memory limit of the database (MB).

    Raises:
        InputError: There is no such catalog, a file is malformed, or a column is missing.
    """
    files = find_table_files(source.catalog)
    require_named_format(files)
    connection = connect(scratch_dir, memory_mb, source.text_rules)
    scan = _scan(connection, files, source, template, scratch_dir)
    rows = CatalogRows(connection)
    with rows.adding():
        for part in scan.parts():
            with reading(files, part.names):
                rows.add(_with_text(part.rows, template))
    if find_table_files(source.catalog) != files:
        raise InputError(f"{files.root}: changed while it was read. Run again when it is complete.")
    return Gathered(rows, files, scan.warnings)


def _scan(
    connection: DuckDBPyConnection,
    files: TableFiles,
    source: CatalogSource,
    template: TextTemplate,
    scratch_dir: str | Path,
) -> CatalogScan:
    return CatalogScan(
        connection,
        files,
        source.pid_column,
        list(dict.fromkeys([*template.fields, *source.other_columns])),
        scratch_dir=scratch_dir,
        quoting=source.csv_quoting,
        rules=source.text_rules,
    )


def _with_text(columns: DuckDBPyRelation, template: TextTemplate) -> DuckDBPyRelation:
    """Replace the fields with the text, which is null if it would be empty."""
    labels = [f"f{position}" for position in range(len(template.fields))]
    values = dict(zip(template.fields, map(ColumnExpression, labels), strict=True))
    filled = (
        FunctionExpression("blank_to_null", FunctionExpression("whole_value", value)).alias(label)
        for label, value in zip(labels, values.values(), strict=True)
    )
    found = ", ".join(
        f"'{position}=' || null_word({label})" for position, label in enumerate(["pid", *labels])
    )
    words = SQLExpression(f"nullif(concat_ws(',', {found}), '')").alias("null_words")
    columns = columns.select("*", words)
    as_they_are = ("file", "pid", "stored", "null_words")
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
    rows: CatalogRows, counts: CatalogCounts, pid_type: PidType, pids: PidColumn, setting: str
) -> Iterator[str]:
    place = pids.source
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
    if pid_type == "string" and setting == "auto" and (stray := rows.stray_ids(pids)):
        yield stray


def _null_words(place: str, rows: CatalogRows, columns: tuple[str, ...]) -> Iterator[str]:
    """Warnings of values that stand for null in the output of some programs."""
    for position, words in rows.null_words().items():
        shown = ", ".join(f"{word!r} ({count:,})" for word, count in words.items())
        yield (
            f"{place}: column {columns[position]!r}: values that are read as text, but may stand "
            f"for null: {shown}. If so, write null or an empty value instead."
        )
