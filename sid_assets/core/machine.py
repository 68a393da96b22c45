"""Which processes there are on this machine, and whether one of them is still the same."""

import os
import sys
from pathlib import Path

MACHINE_ITSELF = "pid:[4026531836]"
"""What Linux calls the process numbers of the machine itself, outside of all containers."""


def process_numbers() -> tuple[str, str] | None:
    """Where a process number means the same as here: which boot of Linux, and which namespace.

    Host names do not tell: machines may have the same, and containers that of their machine.

    Returns:
        The id of the boot and the name of the namespace; None on other systems.
    """
    if sys.platform != "linux":
        return None
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no path
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return boot, namespace


def started(process: int) -> str:
    """When a process of Linux was started, in ticks since the boot; "" if it does not run.

    Numbers are reused, so a process is the same if this is. The clock of the machine may be set.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]
