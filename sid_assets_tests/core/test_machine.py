"""Processes of this machine: the same number may belong to another process later, or elsewhere."""

import os
import subprocess
import sys

import pytest

from sid_assets.core.machine import process_numbers, started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_processes_of_one_machine_have_the_same_numbers():
    code = "from sid_assets.core.machine import process_numbers as p; print(p())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(process_numbers())


def test_a_process_has_one_start_until_it_ends():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        first = started(process.pid)
        assert first.isdigit()
        assert started(process.pid) == first
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert started(process.pid) == ""  # killed, and its parent has not looked yet
    assert started(process.pid) == ""
