"""The graph on Ray and in a bucket: the same files, and nothing is lost whatever is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sid_assets.core.store.store import Store
from sid_assets_tests.graph import write_catalog, write_frame
from sid_assets_tests.ray_cluster import two_nodes
from sid_assets_tests.s3 import environment

pytestmark = pytest.mark.service

REPOSITORY = Path(__file__).parents[2]
STAGES = ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes")
ITEMS = 2000
KILLS = 20


@pytest.fixture(scope="module")
def cluster(s3_server) -> Iterator[Any]:
    """Two nodes; the environment of both leads to the server of the buckets."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(s3_server).items():
            patch.setenv(name, value)
        with two_nodes() as cluster:
            yield cluster


def command(folder: Path, data_dir: str, **settings: str) -> tuple[list[str], dict[str, str]]:
    """The command that makes the SIDs of a catalog, and its environment."""
    variables = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "SID_CATALOG": str(folder / "catalog.parquet"),
        "SID_DATA_DIR": data_dir,
        "SID_CODEBOOK_SIZE": "16",
        "SID_INTERACTIONS": "",
        **settings,
    }
    module = ["-m", "dagster", "asset", "materialize", "-m", "sid_assets.definitions"]
    return [sys.executable, *module, "--select", "*pid2sid"], variables


def make(folder: Path, data_dir: str, **settings: str) -> str:
    """Make the SIDs; the log."""
    arguments, variables = command(folder, data_dir, **settings)
    done = subprocess.run(
        arguments, env=variables, cwd=folder, capture_output=True, text=True, check=False
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-4000:]
    return log


def contents(data_dir: str) -> dict[str, Any]:
    """By table, the digests of its parts; of the SIDs the rows: a generation has its own name."""
    store = Store(data_dir)
    digests = {table: [part.digest for part in store.require(table).parts] for table in STAGES}
    return {**digests, "pid2sid": sids(data_dir)}


def sids(data_dir: str) -> dict[int, list[int]]:
    """The published SIDs."""
    rows = Store(data_dir).require("pid2sid").stream().read_all()
    return dict(zip(rows["pid"].to_pylist(), rows["sid"].to_pylist(), strict=True))


def on(cluster: Any) -> dict[str, str]:
    """The settings that lead to a cluster."""
    return {"SID_BACKEND": "ray", "SID_RAY_ADDRESS": cluster.address}


def test_ray_and_buckets_make_the_same_files(cluster, tmp_path, bucket):
    write_catalog(tmp_path / "catalog.parquet", ITEMS)
    make(tmp_path, str(tmp_path / "local"))
    expected = contents(str(tmp_path / "local"))
    make(tmp_path, str(tmp_path / "ray"), **on(cluster))
    assert contents(str(tmp_path / "ray")) == expected
    log = make(tmp_path, f"{bucket}/data", **on(cluster))
    assert contents(f"{bucket}/data") == expected
    assert "secret-of-the-tests" not in log


def test_a_small_qwen3_model_embeds_on_ray_as_in_one_process(cluster, tmp_path, small_model):
    write_catalog(tmp_path / "catalog.parquet", 40)
    model = {"SID_EMBEDDER": "qwen3", "SID_EMBEDDING_MODEL": str(small_model)}
    make(tmp_path, str(tmp_path / "local"), **model)
    make(tmp_path, str(tmp_path / "ray"), **model, **on(cluster))
    vectors = [
        Store(tmp_path / where).require("item_embeddings").stream(["embedding"]).read_all()
        for where in ("local", "ray")
    ]
    one, other = (
        table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 4096)
        for table in vectors
    )
    assert one.shape == other.shape == (40, 4096)
    assert (one * other).sum(axis=1).min() > 0.999


def test_a_run_that_started_ray_and_was_killed_leaves_no_process_and_resumes(tmp_path):
    write_catalog(tmp_path / "catalog.parquet", ITEMS)
    arguments, variables = command(
        tmp_path, str(tmp_path / "data"), SID_BACKEND="ray", SID_RAY_CPUS="1"
    )
    before = ray_processes()
    with subprocess.Popen(
        arguments,
        env=variables,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_until(lambda: ray_processes() - before and (tmp_path / "data").exists())
        time.sleep(3)
        process.kill()
    wait_until(lambda: not ray_processes() - before)
    make(tmp_path, str(tmp_path / "data"))  # begun on Ray, finished without it
    make(tmp_path, str(tmp_path / "afresh"))
    assert contents(str(tmp_path / "data")) == contents(str(tmp_path / "afresh"))


def test_killed_at_random_moments_nothing_is_lost_and_no_sid_moves(cluster, tmp_path, bucket):
    draw, data_dir = random.Random(0), f"{bucket}/data"  # noqa: S311 - nothing secret is drawn
    catalog = tmp_path / "catalog.parquet"
    settings = {**on(cluster), "SID_TRAINING_ITERATIONS": "3"}
    items = write_catalog(tmp_path / "all.parquet", ITEMS + 20 * KILLS)
    write_frame(catalog, items.head(ITEMS))
    started = time.monotonic()
    make(tmp_path, data_dir, **settings)
    seconds = time.monotonic() - started
    first = sids(data_dir)
    for kill in range(KILLS):
        write_frame(catalog, items.head(ITEMS + 20 * (kill + 1)))
        arguments, variables = command(tmp_path, data_dir, **settings)
        with subprocess.Popen(
            arguments,
            env=variables,
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            time.sleep(draw.uniform(0.1, 0.9) * seconds)
            process.send_signal(signal.SIGKILL)
        now = sids(data_dir)
        assert {pid: now[pid] for pid in first} == first
    make(tmp_path, data_dir, **settings)
    last = sids(data_dir)
    assert len(last) == ITEMS + 20 * KILLS
    assert {pid: last[pid] for pid in first} == first
    rows = Store(data_dir).require("codes").stream(["pid"]).read_all()
    assert rows["pid"].to_pylist() == sorted(last)


def test_the_benchmark_runs():
    small = ["--chunks", "4", "--rows", "64", "--codebook", "64", "--pairs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ray_backend", *small, "--scheduled", "20"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures) == {"overhead", "chunks_scheduled_per_s"}
    assert figures["chunks_scheduled_per_s"] > 0


def ray_processes() -> set[int]:
    """The processes of Ray on this machine."""
    found = set()
    for process in psutil.process_iter(["name", "cmdline"]):
        words = " ".join(process.info["cmdline"] or [process.info["name"] or ""])
        if any(word in words for word in ("raylet", "gcs_server", "ray::")):
            found.add(process.pid)
    return found


def wait_until(condition: Any, seconds: float = 120) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.2)
