"""A table of a data folder; its rows are read on request."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as pads
from upath import UPath

from sid_assets.core.arrow.columns import is_list, is_text
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.schema import PID_TYPES, TABLES, VECTOR
from sid_assets.core.store.parts import VECTOR_ROW_GROUP, readable
from sid_assets.core.store.places import arrow_filesystem, is_local
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import MANIFEST, Version, read_version

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 65_536

LOOKUP_COLUMNS = {"pid2sid": ("pid", "sid"), "sid2pid": ("codes", "pids", "counts")}
"""The columns that lookups read. A table of these names without them is not opened."""


class DataTable:
    """The rows of a table as they were when it was opened, even if a refresh changes the table.

    Attributes:
        name: The table, e.g. "pid2sid" or "goods/pid2sid".
        schema: Its columns.
        provenance: Where it comes from; None if the file does not record it.
    """

    def __init__(self, name: str, rows: Version | pads.Dataset) -> None:
        """Use `open_table`."""
        self.name = name
        self._rows = rows
        if isinstance(rows, Version):
            self.schema = rows.schema()
            self.provenance: Provenance | None = rows.provenance
        else:
            self.schema = rows.schema
            self.provenance = Provenance.of(rows.schema, name)

    def __len__(self) -> int:
        """Number of rows; no row is read."""
        return self._rows.rows if isinstance(self._rows, Version) else self._rows.count_rows()

    def __repr__(self) -> str:
        """One line: name, rows and columns."""
        columns = ", ".join(f"{field.name} {field.type}" for field in self.schema)
        return f"<table {self.name}: {len(self):,} rows; {columns}>"

    def to_batches(
        self, columns: Sequence[str] | None = None, batch_rows: int | None = None
    ) -> pa.RecordBatchReader:
        """The rows in order, batch by batch; memory does not grow with their number.

        Args:
            columns: Columns to read; all by default.
            batch_rows: Maximum number of rows in a batch; by default few if rows hold vectors.

        Raises:
            InputError: There is no such column.
            StoreError: While reading: a part is missing or damaged.
        """
        if unknown := [name for name in columns or () if name not in self.schema.names]:
            raise InputError(
                f"{self.name}: has no column {', '.join(unknown)}. "
                f"Its columns: {', '.join(self.schema.names)}."
            )
        wanted = columns if columns is None else list(columns)
        if batch_rows is None:
            kinds = [self.schema.field(name).type for name in wanted or self.schema.names]
            batch_rows = VECTOR_ROW_GROUP if VECTOR in kinds else BATCH_ROWS
        if isinstance(self._rows, Version):
            return self._rows.stream(wanted, batch_rows)
        return self._rows.scanner(
            columns=wanted, batch_size=batch_rows, batch_readahead=1, fragment_readahead=1
        ).to_reader()

    def to_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows in memory; optionally only some columns."""
        return self.to_batches(columns).read_all()

    def to_pandas(self, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """All rows as a pandas DataFrame; optionally only some columns."""
        return self.to_table(columns).to_pandas()

    @property
    def files(self) -> list[str]:
        """The parquet files in row order, as paths or URLs, for engines that take a list of files.

        They are those of the version that was opened. A refresh keeps them until the one after it.
        """
        if isinstance(self._rows, Version):
            return [str(path) for path in self._rows.paths]
        return list(self._rows.files) if isinstance(self._rows, pads.FileSystemDataset) else []

    def to_dataset(self) -> pads.Dataset:
        """The table as a pyarrow data set, for filters and for engines that read data sets."""
        return self._rows.dataset() if isinstance(self._rows, Version) else self._rows


def open_table(store: Store, name: str) -> DataTable | None:
    """A table of a store, or a copy of one at its path; None if there is none.

    Raises:
        StoreError: The file cannot be read, or lacks one of `LOOKUP_COLUMNS`.
        InputError: A newer version of this package wrote it.
    """
    path = _parquet(store, name)
    if not (is_local(path) and path.exists() and not Path(path.path).is_symlink()):
        version = store.current(name)
        if version and version.paths[0].suffix == path.suffix:
            return _with_lookup_columns(DataTable(name, version))
    if not path.exists():
        return None
    with readable(path):
        if (path / MANIFEST).exists():
            return _with_lookup_columns(DataTable(name, _copied_version(path)))
        found = Path(path.path).resolve().as_posix() if is_local(path) else path.path
        rows = pads.dataset(found, filesystem=arrow_filesystem(path), format="parquet")
        return _with_lookup_columns(DataTable(name, rows))


def _copied_version(folder: UPath) -> Version:
    """A copy of a version's folder. The footers of its parts may be those of an earlier version.

    Raises:
        StoreError: Its manifest is damaged.
    """
    try:
        return read_version(folder)
    except StoreError as error:
        raise StoreError(f"{folder / MANIFEST}: is damaged. Copy the folder again.") from error


def has_table(store: Store, name: str) -> bool:
    """Whether a table exists, whole or damaged."""
    path = _parquet(store, name)
    return path.exists() or (not is_local(path) and open_table(store, name) is not None)


def _parquet(store: Store, name: str) -> UPath:
    return store.root / f"{name}.parquet"


def _with_lookup_columns(table: DataTable) -> DataTable:
    """The same table.

    Raises:
        StoreError: One of its `LOOKUP_COLUMNS` is missing or has another type.
    """
    key = table.name.rsplit("/", 1)[-1]
    for column in LOOKUP_COLUMNS.get(key, ()):
        kinds = [TABLES[key].schema(pid).field(column).type for pid in PID_TYPES]
        found = table.schema.field(column).type if column in table.schema.names else None
        if found is None or not any(_holds(found, kind) for kind in kinds):
            what = "is missing" if found is None else f"is of type {found}"
            wanted = " or ".join(dict.fromkeys(map(str, kinds)))
            raise StoreError(
                f"{table.name}: column {column!r} {what}; it must be {wanted}. "
                f"The columns are {', '.join(table.schema.names)}. Copy the file again, or "
                f"materialise {table.name}."
            )
    return table


def _holds(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether two types hold the same values; some programs write lists and strings as large."""
    if is_list(wanted):
        return is_list(kind) and _holds(kind.value_type, wanted.value_type)
    return is_text(kind) if is_text(wanted) else kind == wanted
