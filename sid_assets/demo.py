"""Making everything from the built-in sample: `sid-assets demo` and `make demo`."""

import os
import shlex
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import dagster as dg

from sid_assets import show
from sid_assets.core.errors import InputError, SidAssetsError
from sid_assets.init import after_cd, write_files
from sid_assets.settings import Settings, variable

MATERIALIZE = ["dagster", "asset", "materialize", "--select", "*", "-m", "sid_assets.definitions"]

HOME = "DAGSTER_HOME"

# Dagster's warnings about its own command, which users cannot change.
WARNINGS = "ignore:Function `asset_materialize_command`,ignore:Parameter `include_sources`"


def run_demo(folder: Path) -> str:
    """Materialise all assets from the sample, with the default settings.

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
        warnings = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), WARNINGS]))
        status = subprocess.run(  # noqa: S603 - the command has no user input
            [sys.executable, "-m", *MATERIALIZE],
            env={**os.environ, "PYTHONWARNINGS": warnings},
            check=False,
        ).returncode
        if status:
            raise SidAssetsError(f"The demo did not finish: {_why() or 'see above.'}")
        made = show.describe(show.summary(settings))
    return f"{made}\nThe graph in a browser: `dagster dev`{after_cd(folder)}."


def _why() -> str:
    """Why the last run failed, as Dagster's history in the working folder has it; "" if unknown."""
    instance = (
        dg.DagsterInstance.get() if HOME in os.environ else dg.DagsterInstance.from_config(".")
    )
    with instance:
        found = []
        for run in instance.get_runs(limit=1):
            failures = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
            events = (entry.dagster_event for entry in failures)
            found += [event.step_failure_data.error for event in events if event]
        return "\n".join(error.message.strip() for error in found if error)


def _require_defaults(settings: Settings) -> None:
    default = Settings(data_dir=settings.data_dir)
    others = [variable(name) for name, value in settings if value != getattr(default, name)]
    if others:
        raise InputError(
            "The demo shows the built-in sample with the default settings, but these are set: "
            f"{', '.join(others)}. To use them, run `{shlex.join(MATERIALIZE)}`. For the demo, "
            "unset them in the environment, and choose a folder whose .env does not set them."
        )
