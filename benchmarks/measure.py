"""What the benchmarks share: the median of three runs, and the peak memory of one stage."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Key = TypeVar("Key")


def median_seconds(run: Callable[[], Any], repeats: int = 3) -> float:
    """The median of the wall times of a few runs."""
    return statistics.median(_seconds(run) for _ in range(repeats))


def median_seconds_in_turns(
    runs: Mapping[Key, Callable[[], Any]], repeats: int = 3
) -> dict[Key, float]:
    """The medians of the wall times of several things that take turns."""
    rounds = [{key: _seconds(run) for key, run in runs.items()} for _ in range(repeats)]
    return {key: statistics.median(times[key] for times in rounds) for key in runs}


def peak_rss_mb() -> float:
    """The most memory this process has held so far (MB). It never falls."""
    # Not ru_maxrss: a child starts with that of the process it was forked from.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@dataclass(frozen=True)
class Stage:
    """A stage that ran in a process of its own.

    Attributes:
        seconds: Its wall time, without the start of the process.
        peak_rss_mb: The most memory its process held (MB), imports included.
        result: What it returned.
    """

    seconds: float
    peak_rss_mb: float
    result: Any


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Stage:
    """Run a function of a module in a fresh process; arguments and result are pickled."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_staged, (function, arguments))


def _staged(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Stage:
    started = time.perf_counter()
    result = function(*arguments)
    return Stage(time.perf_counter() - started, peak_rss_mb(), result)


def _seconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
