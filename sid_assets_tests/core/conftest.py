"""Fixtures of the tests of what is kept on disk."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Mount = Callable[[str], None]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[tuple[Path, Mount]]:
    """A folder, and what mounts a disk in memory on it, given options (`size=8m`, `remount,ro`).

    The test is skipped where nothing may be mounted.
    """
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"may not mount a disk: {done.stderr.strip()}")

    yield folder, mount
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)
