"""The inputs as assets: files that are looked at, or assets of the user's that hold them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from upath import UPath

from sid_assets.assets.declare import step
from sid_assets.assets.placement import Placement
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.files import find_table_files
from sid_assets.core.store.places import place, temporary_folder, write_pieces
from sid_assets.io_managers import reader_of
from sid_assets.settings import Settings

DATA_VERSION = "dagster/data_version"
INPUT_VERSION = "dagster/input_data_version/"

FORMS = {
    "table": dg.PythonObjectDagsterType(pa.Table, name="ArrowTable"),
    "reader": dg.PythonObjectDagsterType(pa.RecordBatchReader, name="ArrowReader"),
    "dataset": dg.PythonObjectDagsterType(pads.Dataset, name="ArrowDataset"),
    "pandas": dg.PythonObjectDagsterType(pd.DataFrame, name="PandasFrame"),
}
"""What an IO manager may give, by name."""

PIECE = 1 << 20


@dataclass(frozen=True)
class Input:
    """An input that a setting names.

    Attributes:
        table: The end of its asset key, and its name below the data folder if it is copied there.
        holds: What it holds, for descriptions.
    """

    table: str
    holds: str


INPUTS = {
    "catalog": Input("catalog", "The items"),
    "goods_catalog": Input("goods/catalog", "The goods"),
    "events": Input("events", "The log of what users did"),
    "interactions": Input("given_interactions", "The users' interactions"),
    "captions": Input("captions", "Captions of items"),
}
"""The inputs by the name of their setting."""


@dataclass(frozen=True)
class Upstream:
    """An asset of yours that holds an input.

    Attributes:
        key: Its key, as in `raw/catalog`.
        path: Where its data lie: a file, folder or glob, for an asset that writes files itself.
            Empty: its data are loaded through its IO manager, and copied into the data folder.
        load_as: What its IO manager is asked for: a pyarrow `table`, `reader` or `dataset`, or a
            `pandas` frame.
    """

    key: str
    path: str = ""
    load_as: Literal["table", "reader", "dataset", "pandas"] = "table"

    @property
    def asset_key(self) -> dg.AssetKey:
        """Its key."""
        return dg.AssetKey.from_user_string(self.key)


@dataclass(frozen=True)
class PlacedInputs:
    """The inputs of a graph.

    Attributes:
        settings: The settings, which name the files of all inputs.
        placement: The placement, which knows the assets of all inputs.
        external: The assets of files.
        copied: The assets that copy what an IO manager gives.
    """

    settings: Settings
    placement: Placement
    external: Sequence[dg.AssetSpec]
    copied: Sequence[dg.AssetsDefinition]


def place_inputs(
    settings: Settings, placement: Placement, upstream: Mapping[str, Upstream]
) -> PlacedInputs:
    """Find the asset of every input: an external one for files, else that of the user.

    Args:
        settings: The settings.
        placement: Where the graph stands.
        upstream: Assets of the user's, by the setting that they take the place of.

    Raises:
        InputError: There is no such input, or it is copied and the data folder is not known yet.
    """
    if unknown := sorted(set(upstream) - set(INPUTS)):
        raise InputError(
            f"{', '.join(unknown)}: no such input. The inputs are {', '.join(INPUTS)}."
        )
    paths = {
        name: asset.path or settings.below("inputs", f"{INPUTS[name].table}.parquet")
        for name, asset in upstream.items()
    }
    settings = settings.changed(**paths)
    keys = {name: asset.asset_key for name, asset in upstream.items()}
    files = [name for name in INPUTS if name not in upstream and settings.of_catalog(name)]
    copied = [name for name, asset in upstream.items() if not asset.path]
    keys |= {name: placement.key(INPUTS[name].table) for name in (*files, *copied)}
    placement = replace(placement, inputs=keys, files=frozenset(files))
    return PlacedInputs(
        settings,
        placement,
        [_external(settings, placement, name) for name in files],
        [_copied(placement, name, upstream[name], place(paths[name])) for name in copied],
    )


def version_of_files(
    placement: Placement, name: str, version: str
) -> Iterator[dg.AssetMaterialization]:
    """The event that tells the data version of an input's files, if its asset is that of files.

    Dagster takes no notice of observations of external assets: what is made from these would always
    be shown as stale, and no automation condition would see new files.
    """
    if name in placement.files:
        yield dg.AssetMaterialization(placement.inputs[name], tags={DATA_VERSION: version})


def observe(
    context: dg.AssetExecutionContext, placement: Placement, name: str, version: str
) -> None:
    """Record the data version of an input that this step reads, so that it is what it was made of.

    Dagster reads the versions of inputs before a step begins, and has to look again. The event is
    of no run: a run that reads files has not made them.
    """
    for event in version_of_files(placement, name, version):
        known = _tags(context.instance.get_latest_materialization_event(event.asset_key))
        if known.get(DATA_VERSION) == version:
            return
        context.instance.report_runless_asset_event(event)
        context.get_step_execution_context().wipe_input_asset_version_info(event.asset_key)


def observe_files(
    context: dg.AssetExecutionContext, placement: Placement, settings: Settings, *names: str
) -> None:
    """Record the data versions of inputs that this step reads, as far as they are files.

    Raises:
        InputError: They cannot be found.
    """
    for name in names:
        if name in placement.files and (path := settings.of_catalog(name)):
            version = find_table_files(path, otherwise="csv").fingerprint
            observe(context, placement, name, version)


def files_that_stayed(
    context: dg.AssetExecutionContext, placement: Placement, name: str, *, same: bool
) -> str:
    """A warning if an asset of the user's was made again, but its files are those of before.

    Args:
        context: The context of the step that reads the files.
        placement: The placement.
        name: The setting of the input.
        same: Whether the files are those that the step read last.

    Returns:
        The warning; "" if there is nothing to say.
    """
    key = placement.inputs.get(name)
    if key is None or name in placement.files or not same:
        return ""
    before = _tags(context.instance.get_latest_materialization_event(context.asset_key))
    now = _tags(context.instance.get_latest_materialization_event(key))
    last = before.get(INPUT_VERSION + key.to_user_string())
    if not last or now.get(DATA_VERSION) in (None, last):
        return ""
    return (
        f"{key.to_user_string()} was materialised again, but the files that it is said to write "
        "are those of before. Does it write elsewhere?"
    )


def _tags(entry: Any) -> Mapping[str, str]:
    made = entry.asset_materialization if entry else None
    return made.tags or {} if made else {}


def _external(settings: Settings, placement: Placement, name: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        placement.inputs[name],
        group_name=placement.group("inputs"),
        kinds={"file"},
        description=f"{INPUTS[name].holds}: files that the setting `{name}` names. A run that "
        "reads them, and the sensor, record their data version.",
        metadata={"files": str(getattr(settings, name))},
    )


def _copied(
    placement: Placement, name: str, upstream: Upstream, path: UPath
) -> dg.AssetsDefinition:
    def copy(rows: Any) -> dg.MaterializeResult:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder() as folder:
            local = Path(folder, "rows.parquet")
            count = _write(reader_of(rows), local)
            write_pieces(path, _pieces(local))
        return dg.MaterializeResult(metadata={"dagster/row_count": count, "dagster/uri": str(path)})

    return dg.asset(
        key=placement.key(INPUTS[name].table),
        ins={"rows": dg.AssetIn(key=upstream.asset_key, dagster_type=FORMS[upstream.load_as])},
        group_name=placement.group("inputs"),
        kinds={"parquet"},
        required_resource_keys=placement.resource_keys,
        description=f"{INPUTS[name].holds}, copied from {upstream.key}: one parquet file.",
    )(step(placement, copy))


def _write(reader: pa.RecordBatchReader, path: Path) -> int:
    count = 0
    with pq.ParquetWriter(path, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
