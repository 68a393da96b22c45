"""Writing a table into a draft: rows in one file or in parts, or a file without rows."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from sid_assets.core.schema import table_named
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.parts import (
    ROW_GROUP,
    Part,
    PartWriter,
    file_digest,
    rebatched,
    write_parts,
)
from sid_assets.core.store.places import explained, is_local, temporary_folder
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store


def draft_rows(
    store: Store, table: str, reader: pa.RecordBatchReader, provenance: Provenance
) -> Draft:
    """Write a stream of rows; the caller commits the draft. Memory does not grow with the rows.

    Args:
        store: The store of the tables.
        table: Asset key; its last part names the table.
        reader: The rows, sorted by pid if they have pids.
        provenance: Where they come from.

    Raises:
        StoreError: Another run is writing the table, the rows are not in order, or the folder
            cannot be written.
    """
    with store.draft(table) as draft:
        write_rows(store, draft, reader, provenance)
    return draft


def write_rows(
    store: Store, draft: Draft, reader: pa.RecordBatchReader, provenance: Provenance
) -> None:
    """Write a stream of rows into a draft and finish it, for callers that opened it to read first.

    Args:
        store: The store of the tables.
        draft: A new draft.
        reader: The rows, sorted by pid if they have pids.
        provenance: Where they come from.

    Raises:
        StoreError: The rows are not in order, or the folder cannot be written.
    """
    schema = provenance.attach(reader.schema)
    layout = table_named(draft.table)
    draft.begin()
    if layout.layout == "parts":
        whole = pa.RecordBatchReader.from_batches(schema, reader)
        parts = write_parts(draft.folder, whole, layout.rows_per_part)
    else:
        with PartWriter(draft.folder / store.path(draft.table).name, schema) as writer:
            for rows in rebatched(reader, ROW_GROUP):
                writer.write(rows)
        parts = [writer.part]
    draft.finish(parts, provenance)


def draft_file(
    store: Store,
    table: str,
    save: Callable[[Path], None],
    provenance: Provenance,
    wanted: int | None = None,
) -> Draft:
    """Write a file without rows; the caller commits the draft.

    Args:
        store: The store of the tables.
        table: Asset key; its last part names the table.
        save: Writes the file to a local path.
        provenance: Where the file comes from.
        wanted: About how many bytes the file will have, for the message if the disk is full.

    Raises:
        StoreError: Another run is writing the table, or the folder cannot be written.
    """
    with store.draft(table) as draft:
        draft.begin()
        path = draft.folder / store.path(table).name
        with explained(path, wanted=wanted):
            if is_local(path):
                save(Path(path.path))
            else:
                with temporary_folder() as scratch:
                    local = Path(scratch, path.name)
                    save(local)
                    path.write_bytes(local.read_bytes())
        part = Part(path.name, rows=0, bytes=path.stat().st_size, digest=file_digest(path))
        draft.finish([part], provenance)
    return draft
