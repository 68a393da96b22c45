"""Small catalogs, and the graph run on them in this process."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from sid_assets.definitions import defs
from sid_assets.io_managers import DataFolderIOManager
from sid_assets.settings import Refresh, Settings

WORDS = [
    "river",
    "mountain",
    "night",
    "garden",
    "stone",
    "letter",
    "winter",
    "island",
    "mirror",
    "thunder",
]
GRAPH = defs.resolve_asset_graph()  # resolved here, before a test has its own Dagster instance

ITEMS = 60
USERS = 20


def write_catalog(
    path: Path, items: int = ITEMS, seed: int = 0, pids: Sequence[Any] | None = None
) -> pd.DataFrame:
    """A catalog of items with texts of a few words; returns it as a frame."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "pid": list(pids) if pids is not None else range(1, items + 1),
            "title": [" ".join(draw.choice(WORDS, 3)) + f" {number}" for number in range(items)],
            "description": [" ".join(draw.choice(WORDS, 8)) for _ in range(items)],
            "category": draw.choice(["books", "tools"], items),
        }
    )
    write_frame(path, frame)
    return frame


def write_interactions(
    path: Path, pids: Iterable[Any], users: int = USERS, seed: int = 0
) -> pd.DataFrame:
    """Interactions with the items of a catalog, one row per user; returns them as a frame."""
    draw = np.random.default_rng(seed)
    known = np.asarray(list(pids))
    frame = pd.DataFrame(
        {
            "uid": range(users),
            "split": [0] * (users - 1) + [1],
            "hist_video_pid": [
                draw.choice(known, draw.integers(1, 9)).tolist() for _ in range(users)
            ],
            "target_video_pid": [draw.choice(known, 2).tolist() for _ in range(users)],
        }
    )
    write_frame(path, frame)
    return frame


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame in the format that the path's ending names."""
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        frame.to_parquet(path, index=False)


def settings_for(folder: Path, **values: str) -> Settings:
    """Settings of the demo for `folder/catalog.parquet`, with its data in `folder/data`."""
    environment = {
        "SID_CATALOG": str(folder / "catalog.parquet"),
        "SID_DATA_DIR": str(folder / "data"),
        "SID_CODEBOOK_SIZE": "8",
        **{f"SID_{name.upper()}": value for name, value in values.items()},
    }
    return Settings.from_environment(environment)


def settings_with_interactions(folder: Path, **values: str) -> Settings:
    """The same, and training data from `folder/interactions.parquet`."""
    return settings_for(folder, interactions=str(folder / "interactions.parquet"), **values)


def assets_and_checks(definitions: dg.Definitions) -> list[dg.AssetsDefinition]:
    """Everything that can be materialised or checked."""
    parts = (*(definitions.assets or ()), *(definitions.asset_checks or ()))
    return [part for part in parts if isinstance(part, dg.AssetsDefinition)]


def materialize(
    settings: Settings,
    *tables: str,
    refresh: Refresh | None = None,
    ops: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    instance: dg.DagsterInstance | None = None,
    checks: bool = False,
) -> dg.ExecuteInProcessResult:
    """Materialise tables, all if none are named; failures do not raise.

    With `checks`, all checks of these tables run, which takes as long as the tables do.
    """
    keys = [dg.AssetKey(table.split("/")) for table in tables] or GRAPH.materializable_asset_keys
    return dg.materialize(
        [part for part in assets_and_checks(defs) if checks or part.keys],
        selection=dg.AssetSelection.assets(*keys),
        resources={
            "settings": settings,
            "refresh": refresh or Refresh(),
            "io_manager": DataFolderIOManager(settings=settings),
        },
        run_config={"ops": {name: {"config": config} for name, config in (ops or {}).items()}},
        tags=tags,
        instance=instance,
        raise_on_error=False,
    )


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    """The message of the first step that failed, as a user reads it."""
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            data = event.step_failure_data
            if data.user_failure_data:
                return data.user_failure_data.description or ""
            return data.error.to_string() if data.error else ""
    raise AssertionError("no step failed")


def metadata_of(result: dg.ExecuteInProcessResult, table: str) -> dict[str, Any]:
    """The metadata that a table was materialised with."""
    (event,) = result.asset_materializations_for_node(table)
    return {name: value.value for name, value in event.metadata.items()}


def failed_checks(result: dg.ExecuteInProcessResult) -> set[str]:
    """The checks that did not pass, as `table:check`."""
    evaluations = result.get_asset_check_evaluations()
    assert evaluations, "the run had no checks"
    return {
        f"{check.asset_key.to_user_string()}:{check.check_name}"
        for check in evaluations
        if not check.passed
    }


def table(settings: Settings, name: str) -> pd.DataFrame:
    """A table as a reader gets it: with pandas, from its path."""
    return pd.read_parquet(Path(settings.data_dir) / f"{name}.parquet")
