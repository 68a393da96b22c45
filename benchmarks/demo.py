"""What a person waits for in the demo: how long it takes, and the longest silence.

    python -m benchmarks.demo
    python -m benchmarks.demo --command /path/to/venv/bin/sid-assets

Runs `sid-assets demo` as a user would, in an empty folder, with the package that is installed. A
silence is a time without a line on stdout or stderr, from the start of the command to its end; what
came before and after the longest one is printed. The last line is one JSON object. Seconds only
count on a machine that does nothing else, so its load at the start is printed; CPU seconds, of all
threads and processes of the command, depend on it less.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

NO_LINE = "(nothing)"


@dataclass(frozen=True)
class Watched:
    """A command that has ended.

    Attributes:
        seconds: Its wall time.
        cpu_seconds: The time of all its threads and processes, in user mode and in the system.
        longest_silence: The longest time without a line (seconds).
        before: The line before it.
        after: The line after it.
        lines: What it printed.
    """

    seconds: float
    cpu_seconds: float
    longest_silence: float
    before: str
    after: str
    lines: list[str]


def main() -> None:
    """Run the demo once and print what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--command", default=str(Path(sys.executable).with_name("sid-assets")))
    command = parser.parse_args().command
    load, cores = os.getloadavg()[0], os.cpu_count()
    print(
        f"{cores} cores; load average of the last minute, before the demo: {load:.1f}", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        ran = watch([command, "demo"], Path(folder))
    print(
        f"The demo took {ran.seconds:.1f} s, {ran.cpu_seconds:.1f} s of CPU time, and printed "
        f"{len(ran.lines)} lines.\nThe longest silence was {ran.longest_silence:.1f} s:\n"
        f"  before: {ran.before}\n  after:  {ran.after}"
    )
    print(
        json.dumps(
            {
                "seconds": round(ran.seconds, 1),
                "longest_silence": round(ran.longest_silence, 1),
                "cpu_seconds": round(ran.cpu_seconds, 1),
                "load": round(load, 1),
                "cores": cores,
            }
        )
    )


def watch(command: list[str], folder: Path) -> Watched:
    """Run a command in a folder, without settings of this environment.

    Raises:
        SystemExit: The command failed; what it printed is shown.
    """
    settings = ("SID_", "DAGSTER_")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(settings)}
    used = _cpu_seconds_of_children()
    started = time.perf_counter()
    times, lines = [0.0], [NO_LINE]
    with subprocess.Popen(  # noqa: S603 - the command is the caller's
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            times.append(time.perf_counter() - started)
            lines.append(line.rstrip())
    times.append(time.perf_counter() - started)
    if process.returncode:
        raise SystemExit("\n".join([*lines[1:], f"The demo failed: {process.returncode}."]))
    longest, at = max((after - times[row], row) for row, after in enumerate(times[1:]))
    return Watched(
        seconds=times[-1],
        cpu_seconds=_cpu_seconds_of_children() - used,
        longest_silence=longest,
        before=lines[at],
        after=lines[at + 1] if at + 1 < len(lines) else NO_LINE,
        lines=lines[1:],
    )


def _cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
