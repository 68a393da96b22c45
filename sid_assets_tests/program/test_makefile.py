"""`make help` has a line for each target."""

import os
import re
import shutil
import subprocess

import pytest

from sid_assets_tests.dagster_dev import REPOSITORY

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def commands(target: str, *variables: str, **environment: str) -> str:
    """The commands that a target would run."""
    return subprocess.run(
        ["make", "--dry-run", target, *variables],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], **environment},
    ).stdout


def test_the_ui_keeps_its_history_in_the_clone_and_takes_a_port() -> None:
    assert "--port 3000" in commands("ui")
    assert "--port 3001" in commands("ui", "PORT=3001")
    assert f'DAGSTER_HOME="${{DAGSTER_HOME:-{REPOSITORY}}}"' in commands("ui")


def test_the_size_is_said_before_pip_shows_its_progress() -> None:
    before, pip = commands("demo", "--always-make").split("/pip install", 1)
    assert "3 GB" in before
    assert "--quiet" not in pip


def test_help_has_a_line_for_each_target() -> None:
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.M)
    done = subprocess.run(
        ["make", "help"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    described = re.findall(r"^make ([a-z-]+) +\w", done.stdout, re.M)
    assert len(targets) > 5
    assert set(targets) <= set(described)
