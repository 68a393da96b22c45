"""The benchmark of how the graph grows: what it computes, and a run at a small size."""

import json
from collections import namedtuple
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks import hundred_million, scale
from benchmarks.scale import Ran, Sample, Step, growths, worst
from benchmarks.simulated_shop import EVENTS_PER_ITEM, make_shop
from sid_assets.core.training_sets import DATA_SETS

SIZES = (100, 300, 1000)
LACKING = ("sft_ad_rec", "sft_product_rec", "sft_rec_reason")
"""Data sets whose inputs a shop does not have."""


def ran(items: int, **seconds: float) -> Ran:
    """A run whose steps took some seconds, and half of them in the processor."""
    steps = {name: Step(took, took / 2, 100) for name, took in seconds.items()}
    return Ran(items, 60, 30, 100, steps, files=10, bytes=1000)


def test_a_step_whose_time_is_proportional_grows_by_one():
    runs = [ran(items, codes=5 + items / 10) for items in SIZES]
    assert growths(runs, 1, "seconds")["codes"] == pytest.approx(1)
    assert growths(runs, 1, "cpu_seconds")["codes"] == pytest.approx(1)
    assert "105.0" in scale.compare(runs, 1)


def test_a_step_whose_time_is_a_square_grows_by_more():
    runs = [ran(items, codes=items**2) for items in SIZES]
    assert worst(growths(runs, 1, "seconds")) == pytest.approx(1300 / 400)


def test_steps_that_hardly_grow_have_no_growth():
    """It would be noise: they are short, or work on a sample."""
    runs = [ran(items, short=items / 1000, sample=9) for items in SIZES]
    assert growths(runs, 2, "seconds") == {}
    assert "sample" not in growths(runs, 0, "seconds")
    assert worst({}) is None
    assert "| `sample` | 9.0 / 9.0 / 9.0 |" in scale.compare(runs, 2)
    assert "–, –" in scale.compare(runs, 2)


def test_two_sizes_have_no_growth():
    assert growths([ran(items, codes=items) for items in SIZES[:2]], 1, "seconds") == {}


def test_a_step_has_the_time_and_the_memory_of_the_process_meanwhile():
    samples = [
        Sample(time, cpu_seconds=2 * time, peak_rss=int(rss * 1e6))
        for time, rss in [(0, 0), (1, 50), (2, 90), (3, 70), (4, 99)]
    ]
    step = scale.step_of(1.0, 3.0, samples)
    assert step == Step(seconds=2.0, cpu_seconds=4.0, peak_rss_mb=90.0)


def test_a_size_that_the_disk_has_no_room_for_is_refused(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(scale.shutil, "disk_usage", lambda folder: usage(10**12, 0, 10**10))
    scale.require_room(tmp_path, [100_000, 300_000])
    with pytest.raises(SystemExit, match=r"10.0 GB free; 1,000,000 items need 2\d\.\d GB"):
        scale.require_room(tmp_path, [100_000, 1_000_000])


def test_the_files_of_a_shop_belong_together(tmp_path):
    shop = make_shop(tmp_path, 700)
    catalog, events, captions = map(pq.read_table, (shop.catalog, shop.events, shop.captions))
    pids = catalog["pid"].combine_chunks()
    assert pids.to_pylist() == captions["pid"].to_pylist() == list(range(1, 701))
    assert events.num_rows == 700 * EVENTS_PER_ITEM
    assert pc.all(pc.is_in(events["item_id"], value_set=pids)).as_py()
    times = events["timestamp"].to_pylist()
    assert times == sorted(times)
    assert len(set(catalog["description"].to_pylist())) == 700


@pytest.mark.parametrize("build", hundred_million.STRUCTURES.values())
def test_structures_of_a_large_catalog_are_built(build):
    build(3_000)


def test_a_manifest_of_many_parts_is_read_as_it_was_written():
    assert hundred_million.manifest_of(20)["bytes"] > 20 * 200


PAPER = {
    "chunks": 12_208,
    "files": 900_000,
    "terabytes": 1.9,
    "terabytes_of_vectors": 1.64,
    "manifest_mb": 3.8,
    "parts_in_memory_mb": 15.0,
    "gigabytes_of_memory": {"sid_quality": 13.0},
}


@pytest.mark.parametrize("ray", [True, False])
def test_the_last_line_has_the_figures_of_all_sizes(monkeypatch, capsys, tmp_path, ray):
    """Runs and computations that take hours have stand-ins."""

    def run(folder: Path, items: int) -> Ran:
        assert folder.parent == tmp_path
        steps = {"codes": Step(items**2 / 100, items / 10, 100), "short": Step(1, 1, 100)}
        return Ran(items, items / 7, 30, items / 2, steps, files=2 * items, bytes=3 * items)

    def computed(bytes_per_item: float, files_per_item: float) -> dict[str, Any]:
        assert (bytes_per_item, files_per_item) == (3, 2)
        return PAPER

    monkeypatch.setattr(scale, "COMPARED_SIZE", SIZES[1])
    monkeypatch.setattr(scale, "run_graph", run)
    monkeypatch.setattr(scale, "hundred_million", computed)
    of_ray = {"overhead": 0.1, "chunks_scheduled_per_s": 500.0}
    monkeypatch.setattr(scale, "ray_figures", {PAPER["chunks"]: of_ray}.__getitem__)
    unordered = [str(items) for items in (SIZES[2], *SIZES)]
    scale.main(["--folder", str(tmp_path), "--sizes", *unordered, *([] if ray else ["--no-ray"])])
    *lines, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == {
        **(of_ray if ray else dict.fromkeys(of_ray)),
        "worst_growth": 1.0,
        "worst_growth_by_clock": 3.25,
        "seconds_300k": 42.9,
        "peak_rss_mb": 500,
        "hundred_million": PAPER,
    }
    assert sum(line.startswith("  codes ") for line in lines) == len(SIZES)
    assert "| `codes` | 100.0 / 900.0 / 10000.0 | 10.0 / 30.0 / 100.0 |" in "\n".join(lines)
    assert "| `short` |" not in "\n".join(lines)


def test_a_repeated_size_has_the_median_of_each_step(monkeypatch, capsys, tmp_path):
    """The largest size, which takes longest, is made once."""
    taken = iter([(4, 9), (6, 7), (5, 8), (30, 80)])

    def run(folder: Path, items: int) -> Ran:
        assert list(tmp_path.iterdir()) == [folder]
        codes, quality = next(taken)
        return ran(items, codes=codes, quality=quality)

    monkeypatch.setattr(scale, "run_graph", run)
    monkeypatch.setattr(scale, "hundred_million", lambda *_: PAPER)
    options = ["--sizes", "100", "1000", "--repeat", "3", "--folder", str(tmp_path), "--no-ray"]
    scale.main(options)
    lines = capsys.readouterr().out.splitlines()
    assert next(taken, None) is None
    assert "Medians of 3 runs:" in lines
    assert [line.split()[1] for line in lines if line.startswith("| `")] == ["`codes`", "`quality`"]
    assert "| `codes` | 5.0 / 30.0 | 2.5 / 15.0 |" in "\n".join(lines)
    assert "| `quality` | 8.0 / 80.0 | 4.0 / 40.0 |" in "\n".join(lines)


@pytest.mark.service
def test_the_whole_benchmark_at_a_small_size(monkeypatch, capsys, tmp_path):
    """Every asset is made and every check has run."""
    runs, run_graph, items = [], scale.run_graph, 320

    def run(folder: Path, items: int) -> Ran:
        runs.append(run_graph(folder, items))
        return runs[-1]

    monkeypatch.setattr(scale, "run_graph", run)
    few = partial(hundred_million.hundred_million, few=3_000, many=6_000)
    monkeypatch.setattr(scale, "hundred_million", few)
    one = {"sid_prefixes": hundred_million.build_prefixes}
    monkeypatch.setattr(hundred_million, "STRUCTURES", one)
    scale.main(["--sizes", str(items), "--seconds", "0", "--folder", str(tmp_path), "--no-ray"])
    (made,) = runs
    tables = ("item_texts", "item_embeddings", "codes", "sid_registry", "pid2sid", "sid2pid")
    data_sets = (f"{name}_dataset" for name in DATA_SETS if name not in LACKING)
    steps = {*tables, "sid_quality", "interactions", "pretrain_datasets", "sft_datasets"}
    checks = {f"{table}_checks" for table in (*tables, *data_sets)}
    assert steps | checks <= made.steps.keys()
    assert made.seconds > max(step.seconds for step in made.steps.values())
    assert all(step.peak_rss_mb > 50 for step in made.steps.values())
    assert made.bytes > items * hundred_million.VECTOR_BYTES
    *lines, last = capsys.readouterr().out.splitlines()
    assert all(any(f"| `{name}` |" in line for line in lines) for name in steps | checks)
    figures = json.loads(last)
    paper = figures.pop("hundred_million")
    assert figures == {
        **scale.NO_RAY_FIGURES,
        **dict.fromkeys(["worst_growth", "worst_growth_by_clock", "seconds_300k"]),
        "peak_rss_mb": round(made.peak_rss_mb),
    }
    assert paper["chunks"] == 12_208
    assert paper["terabytes"] > paper["terabytes_of_vectors"] == 1.64
    assert paper["gigabytes_of_memory"].keys() == one.keys()
    assert list(tmp_path.iterdir()) == []
