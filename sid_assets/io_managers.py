"""One IO manager for all tables: streaming parquet, committed whole or not at all."""

import time
from collections.abc import Callable
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
from pydantic import Field
from upath import UPath

from sid_assets.core.errors import SidAssetsError
from sid_assets.core.schema import VECTOR, column_description
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.places import make_folder
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets.failures import clear_failures
from sid_assets.settings import Settings

PREVIEW_ROWS = 5
PREVIEW_CHARACTERS = 120


class _TableIOManager(dg.ConfigurableIOManager, dg.UPathIOManager):
    """What the IO managers have in common: assets are tables of a store."""

    def store(self) -> Store:
        """The store of the tables."""
        raise NotImplementedError

    def table(self, key: dg.AssetKey) -> str:
        """Name of an asset's table in the store."""
        return key.to_user_string()

    @property
    def _base_path(self) -> UPath:
        return self.store().root

    @property
    def storage_options(self) -> dict[str, Any]:
        """Options for fsspec, taken from the path (dagster issue 32637)."""
        return dict(self._base_path.storage_options)

    def get_asset_relative_path(self, context: dg.InputContext | dg.OutputContext) -> UPath:
        """`goods/codes` is at `goods/codes.parquet`."""
        return UPath(f"{self.table(context.asset_key)}.parquet")

    @clear_failures
    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:
        """Write and commit a new version of the table."""
        table = self.table(context.asset_key)
        started = time.perf_counter()
        store = self.store()
        version = store.commit(obj if isinstance(obj, Draft) else _drafted(store, table, obj))
        seconds = time.perf_counter() - started
        context.add_output_metadata(_metadata(version, table, store.opened_at(version), seconds))

    def make_directory(self, path: UPath) -> None:
        """Dagster's default would make a bucket."""
        make_folder(path)

    @clear_failures
    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        """Open the current version as the type of the input's annotation."""
        table = self.table(context.asset_key)
        version = self.store().require(table)
        wanted = context.dagster_type.typing_type
        if _is_polars(wanted):
            return _as_polars(version, wanted)
        if wanted not in LOADERS:
            known = ", ".join(kind.__name__ for kind in LOADERS)
            raise SidAssetsError(
                f"{table}: cannot be loaded as {wanted}; annotate the input as one of {known}."
            )
        return LOADERS[wanted](version)


class ParquetIOManager(_TableIOManager):
    """Stores assets as parquet at `<root>/<asset key>.parquet`, whole or not at all.

    Features:
        - accepts a `pa.Table`, a `pa.RecordBatchReader`, a `pd.DataFrame`, a `pl.DataFrame`, a
          `pl.LazyFrame`, or a `Draft` whose parts are already written
        - returns one of these, a `pyarrow.dataset.Dataset` or a `Version`, depending on the input's
          annotation
        - streams: memory does not grow with the rows of a reader or of a draft
        - readers see the previous version or the new one, never part of one; any failure leaves
          the previous version in place
        - stores the provenance of the rows in the schema's metadata (`core.store.provenance`)

    Dagster calls `dump_to_path` and then `get_metadata` for an output, and `load_from_path` for an
    input.

    Example:
        ```python
        @dg.asset
        def long_texts(item_texts: pa.RecordBatchReader) -> pa.Table:
            return pa.Table.from_batches(b for b in item_texts if b.num_rows)


        defs = dg.Definitions(
            assets=[long_texts], resources={"io_manager": ParquetIOManager(root="data")}
        )
        ```
    """

    root: str = Field(description="The folder of the tables, or any fsspec URL.")

    def store(self) -> Store:
        """The store of the tables."""
        return Store(self.root)


class DataFolderIOManager(_TableIOManager):
    """The IO manager of the graph: tables lie in the data folder of the settings."""

    settings: dg.ResourceDependency[Settings]
    key_prefix: list[str] = Field(
        default=[], description="What asset keys begin with, and names of tables do not."
    )

    def store(self) -> Store:
        """The store of the tables."""
        return self.settings.store()

    def table(self, key: dg.AssetKey) -> str:
        """Name of an asset's table in the store: its key without the prefix."""
        has_prefix = list(key.path[: len(self.key_prefix)]) == self.key_prefix
        return "/".join(key.path[len(self.key_prefix) :] if has_prefix else key.path)


LOADERS: dict[Any, Callable[[Version], Any]] = {
    Version: lambda version: version,
    pa.RecordBatchReader: lambda version: version.stream(),
    pads.Dataset: lambda version: version.dataset(),
    pa.Table: lambda version: version.stream().read_all(),
    pd.DataFrame: lambda version: version.stream().read_all().to_pandas(),
}


def _is_polars(kind: Any) -> bool:
    """Whether this is a class of polars, which need not be installed."""
    return getattr(kind, "__module__", "").partition(".")[0] == "polars"


def _as_polars(version: Version, wanted: Any) -> Any:
    import polars as pl

    if wanted is pl.LazyFrame:
        return pl.scan_pyarrow_dataset(version.dataset())
    return pl.from_arrow(version.stream().read_all())


def _drafted(store: Store, table: str, obj: Any) -> Draft:
    reader = reader_of(obj)
    return draft_rows(store, table, reader, Provenance.of(reader.schema) or Provenance(table))


def reader_of(obj: Any) -> pa.RecordBatchReader:
    """The rows of a table in any of its forms.

    Raises:
        SidAssetsError: It is no table.
    """
    if _is_polars(type(obj)):
        obj = obj.lazy().collect().to_arrow()
    if isinstance(obj, pads.Dataset):
        return obj.scanner().to_reader()
    if isinstance(obj, pd.DataFrame):
        obj = pa.Table.from_pandas(obj, preserve_index=False)
    if isinstance(obj, pa.Table):
        obj = obj.to_reader()
    if isinstance(obj, pa.RecordBatchReader):
        return obj
    raise SidAssetsError(
        f"A table must be a pa.Table, a pa.RecordBatchReader, a pd.DataFrame or a Draft, "
        f"not {type(obj).__name__}."
    )


def _metadata(version: Version, table: str, path: UPath, seconds: float) -> dict[str, Any]:
    schema = version.schema()
    return {
        "dagster/row_count": version.rows,
        "dagster/uri": str(path),
        "dagster/column_schema": dg.TableSchema(
            [
                dg.TableColumn(
                    field.name,
                    str(field.type),
                    column_description(table, field.name),
                    constraints=dg.TableColumnConstraints(nullable=field.nullable),
                )
                for field in schema
            ]
        ),
        "bytes": version.bytes,
        "seconds_writing": seconds,
        "version": version.provenance.version,
        "preview": dg.MetadataValue.md(preview(version)),
    }


def preview(version: Version) -> str:
    """The first rows as a markdown table, long values truncated; vectors are never shown."""
    columns = [field.name for field in version.schema() if field.type != VECTOR]
    head = next(iter(version.stream(columns, PREVIEW_ROWS)), None)
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in head.to_pylist() if head else []:
        lines.append("| " + " | ".join(_cell(value) for value in row.values()) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    if len(text) > PREVIEW_CHARACTERS:
        text = text[:PREVIEW_CHARACTERS] + "…"
    # Catalog text is data: it must not become a cell, a link, HTML or an image.
    for character in "\\`*_{}[]<>()#!|&":
        text = text.replace(character, f"&#{ord(character)};")
    return text.replace("\n", " ⏎ ")
