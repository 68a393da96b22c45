"""How much memory a device has free."""

from pathlib import Path

GIB = 1 << 30

CGROUP = Path("/sys/fs/cgroup")
"""Where a container can read its own limits (cgroup version 2)."""

_UNKNOWN = 1 << 62


def free_memory(device: str) -> int:
    """Bytes that a device has free.

    For a GPU, what its driver reports. Otherwise what the system can give without swapping, within
    the container's limit if there is one.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    return min(_available(), _left_in_cgroup())


def _available() -> int:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return _UNKNOWN
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _left_in_cgroup() -> int:
    """Bytes left within the container's limit; page cache counts as free."""
    limit, current, stat = (CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if not limit.exists() or limit.read_text().strip() == "max":
        return _UNKNOWN
    fields = dict(line.split() for line in stat.read_text().splitlines())
    cache = int(fields["inactive_file"]) + int(fields["active_file"])
    return int(limit.read_text()) - int(current.read_text()) + cache
