"""Making everything from the built-in sample: `sid-assets demo` and `make demo`."""

import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from sid_assets import show
from sid_assets.core.environment import merged_environment
from sid_assets.core.errors import SidAssetsError
from sid_assets.init import after_cd, write_files
from sid_assets.settings import Settings

MATERIALIZE = ["dagster", "asset", "materialize", "--select", "*", "-m", "sid_assets.definitions"]

# Dagster's warnings about its own command, which users cannot change.
WARNINGS = "ignore:Function `asset_materialize_command`,ignore:Parameter `include_sources`"


def run_demo(folder: Path) -> str:
    """Materialise all assets, with the settings of a folder and `SID_DEPLOYMENT=demo`.

    Dagster's files are written if they are missing, so that `dagster dev` finds the run.

    Returns:
        What was made, in words.

    Raises:
        SidAssetsError: The run failed; Dagster has printed why.
    """
    write_files(folder, with_env=False)
    deployment = {"SID_DEPLOYMENT": "demo"}
    warnings = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), WARNINGS]))
    with chdir(folder):
        status = subprocess.run(  # noqa: S603 - the command has no user input
            [sys.executable, "-m", *MATERIALIZE],
            env={**os.environ, **deployment, "PYTHONWARNINGS": warnings},
            check=False,
        ).returncode
        if status:
            raise SidAssetsError("The demo did not finish: see Dagster's messages above.")
        settings = Settings.from_environment(merged_environment() | deployment)
        made = show.describe(show.summary(settings))
    return f"{made}\nThe graph in a browser: `dagster dev`{after_cd(folder)}."
