"""A data folder that the graph made of some of the sample's films, and of goods."""

from pathlib import Path

import dagster as dg
import pandas as pd

from sid_assets import sample
from sid_assets.definitions import definitions
from sid_assets.settings import Settings
from sid_assets_tests.graph import (
    failure_message,
    settings_for,
    write_catalog,
    write_frame,
    write_interactions,
)

IN_THE_DOCS = (189540, 103569, 39946, 1631789)
STAGES = (
    "item_texts",
    "item_embeddings",
    "tokenizer_checkpoint",
    "codes",
    "sid_registry",
    "pid2sid",
    "sid2pid",
    "sid_prefixes",
)
GOODS_STAGES = tuple(f"goods/{table}" for table in STAGES if table != "tokenizer_checkpoint")


def make(settings: Settings, *tables: str) -> dg.ExecuteInProcessResult:
    """Materialise tables of the graph, without their checks."""
    defs = definitions(settings)
    keys = [dg.AssetKey(table.split("/")) for table in tables]
    result = dg.materialize(
        [part for part in defs.assets or () if isinstance(part, dg.AssetsDefinition)],
        selection=dg.AssetSelection.assets(*keys),
        resources=defs.resources,
        raise_on_error=False,
    )
    assert result.success, failure_message(result)
    return result


def make_films(folder: Path) -> Path:
    """Make the data folder of 104 films, and of goods whose ids are text."""
    films = pd.read_parquet(sample.CATALOG)
    films = films[films.pid.isin(IN_THE_DOCS) | (films.index < 100)]
    write_frame(folder / "catalog.parquet", films)
    write_catalog(folder / "goods.parquet", items=30, pids=[f"g{n:02}" for n in range(30)])
    write_interactions(folder / "interactions.parquet", films.pid.tolist())
    settings = settings_for(
        folder,
        goods_catalog=str(folder / "goods.parquet"),
        interactions=str(folder / "interactions.parquet"),
    )
    make(settings, *STAGES, *GOODS_STAGES, "sid_vocabulary")
    return folder / "data"
