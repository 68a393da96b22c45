"""A Dagster project of somebody else's, as Dagster's own command makes it."""

import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]

EXECUTOR = """
import dagster as dg


@dg.definitions
def executor() -> dg.Definitions:
    return dg.Definitions(executor=dg.in_process_executor)
"""
"""A module of the user's, so that no process is started for a step."""


class Project:
    """A project that `create-dagster` made, with an instance of its own.

    Attributes:
        folder: Its folder.
        defs: The folder of its definitions.
        home: The folder of its Dagster instance.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Make it."""
        self.name = name
        self.folder = folder / name
        self.defs = self.folder / "src" / name / "defs"
        self.home = folder / "home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        made = self.run("create-dagster", "project", name, "--no-uv-sync", cwd=folder)
        assert made.returncode == 0, made.stdout

    def run(
        self, command: str, *arguments: str, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Dagster's in the project; its output is in `stdout`."""
        environment = {
            **os.environ,
            "PYTHONPATH": f"src{os.pathsep}{REPOSITORY}",
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_DG_UPDATE_CHECK_ENABLED": "0",  # it asks PyPI
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "COLUMNS": "200",
        }
        environment.pop("VIRTUAL_ENV", None)
        return subprocess.run(
            [str(Path(sys.executable).with_name(command)), *arguments],
            cwd=cwd or self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def component(self, name: str, **attributes: Any) -> Path:
        """Write the `defs.yaml` of a component."""
        path = self.defs / name / "defs.yaml"
        path.parent.mkdir(exist_ok=True)
        whole = {"type": "sid_assets.SemanticIds", "attributes": attributes}
        path.write_text(yaml.safe_dump(whole))
        return path

    @contextlib.contextmanager
    def loaded(self) -> Iterator[dg.Definitions]:
        """Its definitions, in this process and in its folder."""
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(self.folder / "src"))
            patch.chdir(self.folder)
            yield importlib.import_module(f"{self.name}.definitions").defs()
