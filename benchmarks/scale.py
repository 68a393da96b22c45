"""How the whole graph grows with the catalog: seconds, memory, files and bytes of every step.

    python -m benchmarks.scale
    python -m benchmarks.scale --sizes 100000 300000 1000000 --repeat 3

Makes a shop of each size (`benchmarks.simulated_shop`) and everything from it with the settings of
the demo, in a process of its own. A step of the graph makes tables, or runs all checks of one table
in one scan. Its time is that of Dagster's events; its CPU seconds and its peak memory are read from
the process every 50 ms. Two settings are not those of the demo: the tokenizer has the same size for
every catalog, because the time of a vector depends on it, and is trained once (no restarts).

For three sizes a < b < c, the growth of a step is (t(c) - t(b)) / (c - b) over
(t(b) - t(a)) / (b - a): 1 is linear. It is given for steps that take some seconds longer for b than
for a (`--seconds`): for quicker ones, and for those that work on a sample, it would be noise. It is
given by the clock, which only counts on a machine that does nothing else, and by CPU seconds.

Growth compares small differences: where a step takes 4 and 10 seconds, one second more or less
changes it by a sixth. `--repeat` runs every size but the largest so often, and takes the median of
each step.

A million items write 16 GB of vectors, and are refused where the disk has no room for them. What
100 million items would need is computed from the largest size (`benchmarks.hundred_million`).

The last line is one JSON object. `worst_growth` is by CPU seconds, `worst_growth_by_clock` by the
clock. `overhead` and `chunks_scheduled_per_s` are those of `benchmarks.ray_backend`, and null with
`--no-ray`.
"""

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread

import dagster as dg

from benchmarks.hundred_million import describe, hundred_million
from benchmarks.simulated_shop import make_shop

SIZES = (30_000, 100_000, 300_000)
COMPARED_SIZE = 300_000
TOKENIZER = {"SID_CODEBOOK_SIZE": "256", "SID_TRAINING_RESTARTS": "1"}
FEWEST_SECONDS = 3.0
EVERY_SECONDS = 0.05

BYTES_PER_ITEM = 17_500
"""Of all files: a vector of 16,384 bytes, and about 1 kB of texts, codes and training data."""

SPARE = 1.3
"""The free space that is required, as a multiple of what is written: of scratch files, too."""

COMMAND = [sys.executable, "-m", "dagster", "asset", "materialize"]
COMMAND += ["--select", "*", "-m", "sid_assets.definitions"]


@dataclass(frozen=True)
class Sample:
    """What a process used at a time.

    Attributes:
        time: Seconds since 1970.
        cpu_seconds: Of all its threads, since its start.
        peak_rss: The most memory since the sample before (bytes).
    """

    time: float
    cpu_seconds: float
    peak_rss: int


@dataclass(frozen=True)
class Step:
    """A step of a run.

    Attributes:
        seconds: Wall time.
        cpu_seconds: CPU time of the process meanwhile.
        peak_rss_mb: Peak memory of the process meanwhile, including imports (MB).
    """

    seconds: float
    cpu_seconds: float
    peak_rss_mb: float


@dataclass(frozen=True)
class Ran:
    """The whole graph at one size.

    Attributes:
        items: The size of the catalog.
        seconds: Wall time of the process, including its start.
        cpu_seconds: Its CPU time.
        peak_rss_mb: Its peak memory (MB).
        steps: Its steps, in the order in which they ran.
        files: Files of the data folder.
        bytes: Their size.
    """

    items: int
    seconds: float
    cpu_seconds: float
    peak_rss_mb: float
    steps: dict[str, Step]
    files: int
    bytes: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Run everything; the last line is one JSON object."""
    options = _options(arguments)
    require_room(Path(options.folder), options.sizes)
    runs = [
        measured(Path(options.folder), items, 1 if items == options.sizes[-1] else options.repeat)
        for items in options.sizes
    ]
    print(compare(runs, options.seconds))
    last = runs[-1]
    paper = hundred_million(last.bytes / last.items, last.files / last.items)
    print(describe(paper), flush=True)
    compared = next((ran for ran in runs if ran.items == COMPARED_SIZE), None)
    figures = {
        **(ray_figures(paper["chunks"]) if options.ray else NO_RAY_FIGURES),
        "worst_growth": worst(growths(runs, options.seconds, "cpu_seconds")),
        "worst_growth_by_clock": worst(growths(runs, options.seconds, "seconds")),
        "seconds_300k": round(compared.seconds, 1) if compared else None,
        "peak_rss_mb": round(max(ran.peak_rss_mb for ran in runs)),
        "hundred_million": paper,
    }
    print(json.dumps(figures))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument(
        "--seconds",
        type=float,
        default=FEWEST_SECONDS,
        help="show steps that take this long, and the growth of those that grow by as much",
    )
    parser.add_argument(
        "--repeat",
        type=int,
        default=1,
        help="run each size but the largest so often, and take the median of each step",
    )
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where to write")
    parser.add_argument("--no-ray", dest="ray", action="store_false")
    options = parser.parse_args(arguments)
    options.sizes = sorted(set(options.sizes))
    return options


def require_room(folder: Path, sizes: Sequence[int]) -> None:
    """Refuse sizes that the disk has no room for. Sizes are written one after the other.

    Raises:
        SystemExit: It says what is free and what is needed.
    """
    needed, free = SPARE * BYTES_PER_ITEM * max(sizes), shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(
            f"{folder} has {free / 1e9:.1f} GB free; {max(sizes):,} items need "
            f"{needed / 1e9:.1f} GB. Choose smaller --sizes or another --folder."
        )


def measured(folder: Path, items: int, times: int) -> Ran:
    """Make everything some times, each in a new folder; the medians, which are printed too."""
    runs = []
    for _ in range(times):
        with tempfile.TemporaryDirectory(dir=folder, prefix="scale-") as scratch:
            runs.append(run_graph(Path(scratch), items))
        print(describe_run(runs[-1]), flush=True)
    if times > 1:
        runs.append(median_of(runs))
        print(f"Medians of {times} runs:\n{describe_run(runs[-1])}", flush=True)
    return runs[-1]


def median_of(runs: Sequence[Ran]) -> Ran:
    """A run whose figures are medians of those of runs of the same size."""

    def median(of: Sequence[Ran | Step], name: str) -> float:
        return statistics.median(getattr(one, name) for one in of)

    used = ("seconds", "cpu_seconds", "peak_rss_mb")
    return replace(
        runs[0],
        **{name: median(runs, name) for name in used},
        steps={
            step: Step(**{name: median([ran.steps[step] for ran in runs], name) for name in used})
            for step in runs[0].steps
        },
    )


def run_graph(folder: Path, items: int) -> Ran:
    """Make everything from a shop of `items` items in a process of its own.

    Raises:
        SystemExit: The run failed; the end of its log is shown.
    """
    shop = make_shop(folder, items)
    home, data = folder / "home", folder / "data"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    others = ("SID_", "DAGSTER_")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(others)}
    environment |= {"DAGSTER_HOME": str(home), "SID_DATA_DIR": str(data)}
    environment |= TOKENIZER | shop.settings()
    started = time.time()
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603 - the command is this file's
            COMMAND, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        ) as process,
        sampled(process.pid) as samples,
    ):
        process.wait()
    if process.returncode:
        raise SystemExit(f"{log.read_text()[-4000:]}\nThe run failed: {process.returncode}.")
    files = (path for path in data.rglob("*") if path.is_file() and not path.is_symlink())
    sizes = [path.stat().st_size for path in files]
    return Ran(
        items=items,
        seconds=time.time() - started,
        cpu_seconds=samples[-1].cpu_seconds,
        peak_rss_mb=max(sample.peak_rss for sample in samples) / 1e6,
        steps=steps_of(home, samples),
        files=len(sizes),
        bytes=sum(sizes),
    )


@contextmanager
def sampled(pid: int) -> Iterator[list[Sample]]:
    """Sample a process until the block ends; the list grows meanwhile."""
    samples = [Sample(time.time(), 0.0, 0)]
    ended = Event()

    def sample() -> None:
        while not ended.wait(EVERY_SECONDS):
            try:
                samples.append(_sample(pid))
            except (OSError, IndexError):  # the process has ended
                return

    thread = Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _sample(pid: int) -> Sample:
    process = Path("/proc") / str(pid)
    status = (process / "status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    (process / "clear_refs").write_text("5")  # the next peak starts from what is held now
    # The name of the command, in parentheses, may have blanks.
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return Sample(time.time(), ticks / os.sysconf("SC_CLK_TCK"), peak)


def steps_of(home: Path, samples: Sequence[Sample]) -> dict[str, Step]:
    """The steps of the only run of a Dagster instance."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        [run] = instance.get_runs()
        stats = instance.get_run_step_stats(run.run_id)
    spans = {s.step_key: (s.start_time, s.end_time) for s in stats if s.start_time and s.end_time}
    return {
        name: step_of(start, end, samples)
        for name, (start, end) in sorted(spans.items(), key=lambda item: item[1])
    }


def step_of(start: float, end: float, samples: Sequence[Sample]) -> Step:
    """A step from its times and the samples of the process (seconds since 1970)."""
    before = [sample for sample in samples if sample.time <= start] or samples[:1]
    during = [sample for sample in samples if start < sample.time < end + EVERY_SECONDS]
    during = during or before[-1:]
    return Step(
        seconds=end - start,
        cpu_seconds=during[-1].cpu_seconds - before[-1].cpu_seconds,
        peak_rss_mb=max(sample.peak_rss for sample in during) / 1e6,
    )


def describe_run(ran: Ran) -> str:
    """What a run took, and its steps that took longest, as text."""
    lines = [
        f"{ran.items:,} items: {ran.seconds:.1f} s, {ran.cpu_seconds:.1f} s of CPU time, peak "
        f"{ran.peak_rss_mb:,.0f} MB; {ran.files:,} files, {ran.bytes / 1e9:.2f} GB"
    ]
    for name, step in ran.steps.items():
        lines.append(
            f"  {name:<42} {step.seconds:8.2f} s {step.cpu_seconds:8.2f} s CPU "
            f"{step.peak_rss_mb:8,.0f} MB"
        )
    return "\n".join(lines)


def growths(runs: Sequence[Ran], seconds: float, clock: str) -> dict[str, float]:
    """The growth of each step that takes some seconds longer for a larger catalog.

    Args:
        runs: In order of their sizes; the last three are compared. Fewer have no growth.
        seconds: A step counts if it takes longer by more than this in the second of the three.
        clock: The attribute of a step that is compared: `seconds` or `cpu_seconds`.
    """
    if len(runs) < 3:
        return {}
    few, more, most = runs[-3:]
    found = {}
    for name in most.steps:
        a, b, c = (getattr(ran.steps[name], clock) for ran in (few, more, most))
        if b - a > seconds:
            first = (b - a) / (more.items - few.items)
            second = (c - b) / (most.items - more.items)
            found[name] = second / first
    return found


def worst(found: Mapping[str, float]) -> float | None:
    """The largest growth; None if there is none."""
    return round(max(found.values()), 3) if found else None


def compare(runs: Sequence[Ran], seconds: float) -> str:
    """A table of the steps that take some seconds at the largest size, with every size."""
    clock, cpu = (growths(runs, seconds, name) for name in ("seconds", "cpu_seconds"))
    sizes = " / ".join(f"{ran.items:,}" for ran in runs)
    lines = [
        f"| step | seconds at {sizes} items | CPU seconds | peak MB | growth: clock, CPU |",
        "|---|---|---|---|---|",
    ]
    for name, step in runs[-1].steps.items():
        if step.seconds < seconds:
            continue
        of_sizes = [ran.steps[name] for ran in runs]
        growth = ", ".join(f"{found[name]:.2f}" if name in found else "–" for found in (clock, cpu))
        lines.append(
            f"| `{name}` | {' / '.join(f'{s.seconds:.1f}' for s in of_sizes)} "
            f"| {' / '.join(f'{s.cpu_seconds:.1f}' for s in of_sizes)} "
            f"| {' / '.join(f'{s.peak_rss_mb:,.0f}' for s in of_sizes)} | {growth} |"
        )
    return "\n".join(lines)


NO_RAY_FIGURES: dict[str, float | None] = {"overhead": None, "chunks_scheduled_per_s": None}


def ray_figures(chunks: int) -> dict[str, float | None]:
    """What Ray costs, and how many chunks it schedules in a second.

    Args:
        chunks: How many chunks are scheduled.
    """
    ray_backend = importlib.import_module("benchmarks.ray_backend")  # needs the extra [ray]
    return {
        "overhead": ray_backend.overhead(),
        "chunks_scheduled_per_s": ray_backend.scheduling_rate(chunks),
    }


if __name__ == "__main__":
    main()
