"""A Dagster project of somebody else's, beside whose assets the graph stands."""

from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads

from sid_assets.settings import Settings


class HostIOManager(dg.IOManager):
    """The host's, which keeps what assets return in memory."""

    def __init__(self) -> None:
        self.kept: dict[dg.AssetKey, Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep it."""
        self.kept[context.asset_key] = obj

    def load_input(self, context: dg.InputContext) -> Any:
        """Give it, as what the input is annotated with."""
        table = self.kept[context.asset_key]
        wanted = context.dagster_type.typing_type
        return {
            pa.Table: lambda: table,
            pa.RecordBatchReader: table.to_reader,
            pads.Dataset: lambda: pads.dataset(table),
            pd.DataFrame: table.to_pandas,
        }[wanted]()


def settings_in(folder: Path, **values: Any) -> Settings:
    """Settings of the demo with a tokenizer that is trained fast."""
    catalog = folder / "catalog.parquet"
    values = {"catalog": str(catalog), "events": "", "captions": "", **values}
    return Settings(data_dir=str(folder / "data"), codebook_size=8, **values)


def host(*parts: dg.Definitions, assets: Any = ()) -> dg.Definitions:
    """A project of somebody else's with an IO manager, an executor and `settings` of its own."""
    own = dg.Definitions(
        assets=list(assets),
        resources={
            "io_manager": HostIOManager(),
            "settings": dg.ResourceDefinition.none_resource(),
        },
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(own, *parts)


def run(
    definitions: dg.Definitions,
    *selected: str,
    instance: dg.DagsterInstance | None = None,
    config: dict[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    """Materialise a selection with its checks; failures do not raise."""
    job = definitions.resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey.from_user_string(key) for key in selected]
    return job.execute_in_process(
        instance=instance, asset_selection=keys or None, run_config=config, raise_on_error=False
    )


def keys_of(definitions: dg.Definitions) -> set[str]:
    """All keys, as text."""
    return {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
