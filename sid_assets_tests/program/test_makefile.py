"""`make help` has a line for each target."""

import re
import shutil
import subprocess

import pytest

from sid_assets_tests.dagster_dev import REPOSITORY


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_help_has_a_line_for_each_target() -> None:
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.M)
    done = subprocess.run(
        ["make", "help"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    described = re.findall(r"^make ([a-z-]+) +\w", done.stdout, re.M)
    assert len(targets) > 5
    assert set(targets) <= set(described)
