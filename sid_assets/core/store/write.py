"""Writing the rows of a table, one file or a folder of parts as `schema.TABLES` lays it out."""

import pyarrow as pa

from sid_assets.core.schema import TABLES
from sid_assets.core.store.parts import ROW_GROUP, PartWriter, rebatched, write_parts
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.versions import StagedTable, Store, Version


def stage_rows(
    store: Store, table: str, reader: pa.RecordBatchReader, provenance: Provenance
) -> StagedTable:
    """Write a stream of rows and leave its commit to the caller; memory does not grow with rows.

    Args:
        store: Where the tables are.
        table: Asset key; its last part names the table.
        reader: The rows; where they have pids they are sorted by them.
        provenance: Where they come from.

    Raises:
        StoreError: Another run is writing the table, the rows are not in order, or the place
            cannot be written.
    """
    schema = provenance.attach(reader.schema)
    staging = store.stage(table)
    try:
        if layout_of(table) == "parts":
            whole = pa.RecordBatchReader.from_batches(schema, reader)
            parts = write_parts(staging.folder, whole, TABLES[_name(table)].rows_per_part)
        else:
            with PartWriter(staging.folder / f"{_name(table)}.parquet", schema) as writer:
                for rows in rebatched(reader, ROW_GROUP):
                    writer.write(rows)
            parts = [writer.part]
    except BaseException:
        staging.close()
        raise
    return StagedTable(staging, tuple(parts), provenance)


def commit_staged(store: Store, staged: StagedTable) -> Version:
    """Make a staged table the version that readers see."""
    with staged.staging as staging:
        layout = layout_of(staging.table)
        return store.commit(staging, staged.parts, staged.provenance, layout)


def layout_of(table: str) -> str:
    """`file` or `parts`; a table of somebody who extends the graph is one file."""
    return TABLES[_name(table)].layout if _name(table) in TABLES else "file"


def _name(table: str) -> str:
    return table.rsplit("/", 1)[-1]
