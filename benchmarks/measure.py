"""Helpers of the benchmarks: median times of several runs, and peak memory of a process."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Key = TypeVar("Key")


def median_seconds(run: Callable[[], Any], repeats: int = 3) -> float:
    """The median wall time of a few runs."""
    return statistics.median(_seconds(run) for _ in range(repeats))


def median_seconds_in_turns(
    runs: Mapping[Key, Callable[[], Any]], repeats: int = 3
) -> dict[Key, float]:
    """The median wall times of several functions that take turns."""
    rounds = [{key: _seconds(run) for key, run in runs.items()} for _ in range(repeats)]
    return {key: statistics.median(times[key] for times in rounds) for key in runs}


def peak_rss_mb() -> float:
    """The most memory that this process has held so far (MB). It never decreases."""
    # Not ru_maxrss: a child inherits that of the process it was forked from.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@dataclass(frozen=True)
class Measured:
    """A function call in a separate process.

    Attributes:
        seconds: Its wall time, excluding the start of the process.
        peak_rss_mb: The most memory that the process held (MB), including imports.
        result: What the function returned.
    """

    seconds: float
    peak_rss_mb: float
    result: Any


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Measured:
    """Run a module-level function in a fresh process; arguments and result are pickled."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (function, arguments))


def _measured(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Measured:
    started = time.perf_counter()
    result = function(*arguments)
    return Measured(time.perf_counter() - started, peak_rss_mb(), result)


def _seconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
