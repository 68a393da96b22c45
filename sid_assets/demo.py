"""Making everything from the built-in sample: `sid-assets demo` and `make demo`."""

import shlex
from contextlib import chdir
from pathlib import Path

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository

from sid_assets import show
from sid_assets.console import console
from sid_assets.core.environment import merged_environment
from sid_assets.core.errors import InputError, SidAssetsError
from sid_assets.init import after_cd, write_files
from sid_assets.settings import Settings, variable
from sid_assets.short_log import NAME as SHORT_LOG

GRAPH = "sid_assets.definitions"
MATERIALIZE = ["dagster", "asset", "materialize", "--select", "*", "-m", GRAPH]


def run_demo(folder: Path) -> str:
    """Materialise all assets from the sample, with the default settings, in this process.

    Dagster's files are written if they are missing, so that `dagster dev` finds the run.

    Returns:
        What was made, in words.

    Raises:
        InputError: Other settings are set, in the environment or in the folder's `.env`.
        SidAssetsError: The run failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with chdir(folder):
        settings = Settings.from_environment()
        _require_defaults(settings)
        write_files(Path(), with_env=False)
        home = merged_environment().get("DAGSTER_HOME") or "."
        with dg.DagsterInstance.from_config(home) as instance:
            console.work_on("the run")
            _materialize(instance)
        console.work_on("the summary")
        made = show.describe(show.summary(settings))
    return f"{made}\nThe graph in a browser: `DAGSTER_HOME=$PWD dagster dev`{after_cd(folder)}."


def _materialize(instance: dg.DagsterInstance) -> None:
    """Make all assets, as the command `MATERIALIZE` does, with short lines in the terminal."""
    graph = ReconstructableRepository.for_module(GRAPH, "defs")
    job = graph.get_definition().get_implicit_global_asset_job_def()
    run = dg.execute_job(
        graph.get_reconstructable_job(job.name), instance, run_config={"loggers": {SHORT_LOG: {}}}
    )
    if not run.success:
        errors = [event.step_failure_data.error for event in run.get_step_failure_events()]
        why = "\n".join(error.message.strip() for error in errors if error)
        raise SidAssetsError(f"The demo did not finish: {why or 'see above.'}")


def _require_defaults(settings: Settings) -> None:
    default = Settings(data_dir=settings.data_dir)
    others = [variable(name) for name, value in settings if value != getattr(default, name)]
    if others:
        raise InputError(
            "The demo shows the built-in sample with the default settings, but these are set: "
            f"{', '.join(others)}. To use them, run `{shlex.join(MATERIALIZE)}`. For the demo, "
            "unset them in the environment, and choose a folder whose .env does not set them."
        )
