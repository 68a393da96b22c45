"""The graph on Ray and in a bucket: the same files, and nothing is lost whatever is killed."""

import json
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest

from sid_assets.core.store.parts import file_digest
from sid_assets.core.store.store import Store
from sid_assets_tests.graph import GRAPH, write_catalog, write_frame
from sid_assets_tests.ray_cluster import NODE, chunks_done, dagster, started, two_nodes
from sid_assets_tests.s3 import environment, new_bucket

pytestmark = pytest.mark.service

REPOSITORY = Path(__file__).parents[2]
STAGES = ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes")
CHUNKED = ("item_embeddings", "codes")
ITEMS = 2000
ROWS = 128
"""The most rows of a chunk, so that the items make sixteen."""
KILLS = 20
NEW_ITEMS = 20
"""How many items come after some kills. They are in all chunks."""


@pytest.fixture(scope="module")
def cluster(s3_server) -> Iterator[Any]:
    """Two nodes; the environment of both leads to the server of the buckets."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(s3_server).items():
            patch.setenv(name, value)
        with two_nodes() as cluster:
            yield cluster


@dataclass(frozen=True)
class Made:
    """What a run made from the first items.

    Attributes:
        data_dir: Where.
        contents: What is in its tables; see `contents`.
        log: Its log.
    """

    data_dir: str
    contents: dict[str, Any]
    log: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the catalog of the first items."""
    folder = tmp_path_factory.mktemp("first")
    write_frame(folder / "catalog.parquet", all_items(folder).head(ITEMS))
    return folder


def all_items(folder: Path) -> pd.DataFrame:
    """All items that there ever are, in an order in which any pid may come next."""
    count = ITEMS + NEW_ITEMS * (2 * KILLS + 1)
    pids = np.random.default_rng(0).permutation(count) + 1
    return write_catalog(folder / "all.parquet", count, pids=pids.tolist())


@pytest.fixture(scope="module")
def local(folder) -> Made:
    """What one process makes."""
    log = make(folder, str(folder / "local"))
    return Made(str(folder / "local"), contents(str(folder / "local")), log)


@pytest.fixture(scope="module")
def in_bucket(cluster, folder) -> Made:
    """What Ray makes in a bucket. The random kills go on there."""
    data_dir = f"{new_bucket()}/data"
    log = make(folder, data_dir, watched(folder), **on(cluster))
    return Made(data_dir, contents(data_dir), log)


def watched(
    folder: Path,
    actors: int = 2,
    seconds: float = 0,
    rows: int = ROWS,
    tables: Sequence[str] = (),
) -> Callable[[], None]:
    """The program of a run that logs who did which chunk."""
    return partial(dagster, rows, seconds, actors, str(folder / "meeting"), tables)


def make(
    folder: Path,
    data_dir: str,
    program: Callable[[], None] | None = None,
    select: str = "*pid2sid",
    **settings: str,
) -> str:
    """Make the SIDs of a catalog; the log."""
    log = folder / f"{secrets.token_hex(4)}.log"
    with running(folder, data_dir, log, program, select, **settings) as process:
        process.join()
    assert process.exitcode == 0, log.read_text()[-4000:]
    return log.read_text()


@contextmanager
def running(
    folder: Path,
    data_dir: str,
    log: Path,
    program: Callable[[], None] | None = None,
    select: str = "*pid2sid",
    **settings: str,
) -> Iterator[BaseProcess]:
    """A process that makes the SIDs and writes a log. It is killed at the end of the block."""
    variables = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "SID_DATA_DIR": data_dir,
        "SID_CODEBOOK_SIZE": "16",
        "SID_TRAINING_ITERATIONS": "3",
        "OMP_NUM_THREADS": "1",
        **settings,
    }
    if (catalog := folder / "catalog.parquet").exists():  # else the demo's
        variables |= {"SID_CATALOG": str(catalog), "SID_INTERACTIONS": ""}
    arguments = ["asset", "materialize", "-m", "sid_assets.definitions", "--select", select]
    log.touch()  # it is read before the process is there
    process = started(program or watched(folder), arguments, variables, folder, log)
    try:
        yield process
    finally:
        process.kill()
        process.join()


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


def require_shared_work(log: str, actors: int = 2) -> None:
    """Refuse a log in which not all actors did chunks of each table, or a chunk is missing."""
    for table in CHUNKED:
        done = [one for one in chunks_done(log) if one.table == table]
        assert len({one.process for one in done}) >= actors, table
        assert len({one.node for one in done}) >= actors, table
        assert sorted(one.number for one in done) == list(range(len(done)))
        assert len(done) > actors


def test_ray_and_buckets_make_the_same_files(cluster, folder, local, in_bucket):
    assert [len(local.contents[table]) for table in CHUNKED] == [16, 16]
    log = make(folder, str(folder / "ray"), watched(folder), **on(cluster))
    assert contents(str(folder / "ray")) == local.contents
    assert in_bucket.contents == local.contents
    for one in (log, in_bucket.log):
        require_shared_work(one)
    assert not chunks_done(local.log)
    assert "secret-of-the-tests" not in in_bucket.log


def test_the_demo_is_the_same_on_ray_in_a_bucket(cluster, tmp_path, bucket):
    """The built-in sample, with all its data sets."""
    demo = {"select": "*", "SID_TRAINING_ITERATIONS": "2"}
    everything = [key.to_user_string() for key in GRAPH.materializable_asset_keys]
    make(tmp_path, str(tmp_path / "local"), watched(tmp_path, rows=0, tables=everything), **demo)
    log = make(tmp_path, f"{bucket}/data", watched(tmp_path, rows=0), **demo, **on(cluster))
    require_shared_work(log)
    assert contents(f"{bucket}/data") == contents(str(tmp_path / "local"))
    one, other = Store(tmp_path / "local"), Store(f"{bucket}/data")
    assert len(one.require("item_embeddings").parts) == 3
    assert one.require("pid2sid").rows == 17_472
    names = sorted(path.name for path in (tmp_path / "local").glob("*_dataset.parquet"))
    assert len(names) == 8
    for name in names:
        table = name.removesuffix(".parquet")
        assert one.require(table).rows > 0
        assert rows_of(one, table).equals(rows_of(other, table)), table


def rows_of(store: Store, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a table, without what is said about where they come from."""
    rows = store.require(table).stream(columns).read_all()
    return rows.replace_schema_metadata(None)


def test_a_small_qwen3_model_embeds_on_ray_as_in_one_process(
    cluster, tmp_path, small_model, bucket
):
    write_catalog(tmp_path / "catalog.parquet", 40)
    model = {"SID_EMBEDDER": "qwen3", "SID_EMBEDDING_MODEL": str(small_model)}
    program = watched(tmp_path, rows=8)
    make(tmp_path, str(tmp_path / "local"), program, **model)
    expected = contents(str(tmp_path / "local"))
    assert [len(expected[table]) for table in CHUNKED] == [5, 5]
    for data_dir in (str(tmp_path / "ray"), f"{bucket}/data"):
        require_shared_work(make(tmp_path, data_dir, program, **model, **on(cluster)))
        vectors = [
            Store(where).require("item_embeddings").stream(["embedding"]).read_all()
            for where in (tmp_path / "local", data_dir)
        ]
        one, other = (
            table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 4096)
            for table in vectors
        )
        assert one.shape == other.shape == (40, 4096)
        assert (one * other).sum(axis=1).min() > 0.999
        assert contents(data_dir) == expected  # the batches are equal, and the threads


def test_a_run_that_started_ray_and_was_killed_leaves_no_process_and_resumes(
    folder, local, tmp_path
):
    """Begun on Ray, finished without it."""
    data_dir, before = tmp_path / "data", ray_processes()
    settings = {"SID_BACKEND": "ray", "SID_RAY_CPUS": "1"}
    program = watched(tmp_path, actors=1, seconds=0.2)
    with running(folder, str(data_dir), tmp_path / "log", program, **settings) as process:
        notes = wait_for_notes(data_dir, "item_embeddings", 3, tmp_path / "log")
        words = " ".join(ray_processes()[pid] for pid in ray_processes().keys() - before)
        for kind in ("raylet", "gcs_server", "ray::", "log_monitor", "dashboard"):
            assert kind in words
        process.kill()
    wait_until(lambda: not ray_processes().keys() - before)
    home = tmp_path / "home"
    make(folder, str(data_dir), watched(folder), **home_in(home))
    resumed = metadata_in(home, "item_embeddings")["items_resumed"]
    assert resumed in range(notes * 120, ITEMS)
    assert contents(str(data_dir)) == local.contents


def test_a_run_begun_in_one_process_is_finished_on_ray(folder, local, tmp_path):
    """Killed while codes are made. The address of Ray's dashboard is in log and metadata."""
    data_dir, home = tmp_path / "data", tmp_path / "home"
    program = watched(tmp_path, seconds=0.2)
    with running(folder, str(data_dir), tmp_path / "log", program) as process:
        notes = wait_for_notes(data_dir, "codes", 3, tmp_path / "log")
        process.kill()
    settings = {"SID_BACKEND": "ray", "SID_RAY_CPUS": "1", **home_in(home)}
    log = make(folder, str(data_dir), watched(tmp_path, actors=1), **settings)
    assert contents(str(data_dir)) == local.contents
    about = metadata_in(home, "codes")
    assert about["items_resumed"] in range(notes * 120, ITEMS)
    found = [one for one in chunks_done(log) if one.table == "codes" and one.is_found]
    assert notes <= len(found) < 16
    for table in CHUNKED:
        url = metadata_in(home, table)["ray_dashboard"]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        assert f" - {table} - Ray's dashboard: {url}" in log


def home_in(folder: Path) -> dict[str, str]:
    """The variable with which Dagster keeps its history in a folder."""
    folder.mkdir()
    return {"DAGSTER_HOME": str(folder)}


def metadata_in(home: Path, table: str) -> dict[str, Any]:
    """The metadata that a table was made with, in Dagster's history."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(table))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        return {name: value.value for name, value in metadata.items()}


def wait_for_notes(data_dir: Path, table: str, count: int, log: Path) -> int:
    """Wait until a run has finished so many parts of a table, but not all; how many."""

    def notes() -> int:
        return len(list(data_dir.glob(f".versions/{table}/*/_part-*.json")))

    wait_until(lambda: notes() >= count, log=log)
    assert not (data_dir / ".versions" / table / "current").exists()
    return notes()


def test_an_actor_is_killed_and_a_node_removed_with_the_data_in_a_bucket(
    cluster, folder, local, bucket, tmp_path
):
    third = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    program = watched(tmp_path, actors=3, seconds=1)
    settings = {**on(cluster), "SID_RAY_ACTORS": "3"}
    log = tmp_path / "log"
    with running(folder, f"{bucket}/data", log, program, **settings) as process:
        wait_until(lambda: len(actors_seen(log)) == 3, log=log)
        seen = actors_seen(log)
        os.kill(next(seen[node] for node in seen if node != third.node_id), signal.SIGKILL)
        cluster.remove_node(third, allow_graceful=False)
        assert len(chunks_done(log.read_text())) < 16
        process.join(300)
        assert process.exitcode == 0, log.read_text()[-4000:]
    text = log.read_text()
    died = re.findall(r" - item_embeddings - A Ray actor.* died .*another one is started", text)
    assert len(died) >= 2
    require_shared_work(text)
    assert contents(f"{bucket}/data") == local.contents


def actors_seen(log: Path) -> dict[str, int]:
    """By node, the process that embedded there last."""
    return {one.node: one.process for one in chunks_done(log.read_text())}


def test_killed_at_random_moments_nothing_is_lost_and_no_sid_moves(
    cluster, folder, in_bucket, local, tmp_path
):
    """A kill counts if the run was at work; as long as none resumed anything, there are more.

    Every other one comes after any number of chunks, which take little of the time. The last run
    has the checks as well.
    """
    draw = random.Random(0)  # noqa: S311 - nothing secret is drawn
    data_dir, items = in_bucket.data_dir, all_items(tmp_path)
    first = in_bucket.contents["pid2sid"]
    program = watched(tmp_path, 1, 0.1, tables=(*STAGES, "sid_registry", "pid2sid"))
    write_frame(tmp_path / "catalog.parquet", items.head(ITEMS + NEW_ITEMS))
    start = time.monotonic()
    make(tmp_path, data_dir, program, **on(cluster))
    seconds = time.monotonic() - start
    kills = runs = ended = 0
    count = ITEMS + NEW_ITEMS
    resumed = Counter[str]()
    while kills < KILLS or not resumed:
        assert runs < 2 * KILLS
        if ended == 0 or runs % 4 == 0:  # else a run goes on with what those before have left
            count += NEW_ITEMS
            write_frame(tmp_path / "catalog.parquet", items.head(count))
        log, start = tmp_path / f"{runs}.log", time.monotonic()
        with running(tmp_path, data_dir, log, program, **on(cluster)) as process:
            if runs % 2:
                wait_for_chunks(process, log, draw.randint(1, 2 * 16))
            else:
                process.join(draw.uniform(0.2, 1) * seconds)
            process.kill()
            process.join()
            ended = process.exitcode
        assert ended in (0, -signal.SIGKILL), log.read_text()[-4000:]
        kills += ended == -signal.SIGKILL
        if ended == 0:
            seconds = time.monotonic() - start
        resumed.update(one.table for one in chunks_done(log.read_text()) if one.is_found)
        runs += 1
        now = sids(data_dir)
        assert {pid: now[pid] for pid in first} == first
    make(tmp_path, data_dir, watched(tmp_path, 1), **on(cluster))
    last = sids(data_dir)
    assert len(last) == count
    assert {pid: last[pid] for pid in first} == first
    store = Store(data_dir)
    rows = store.require("codes").stream(["pid"]).read_all()
    assert rows["pid"].to_pylist() == sorted(last)
    require_whole(store, sorted(last))
    require_same_hashes(store, Store(local.data_dir))


def wait_for_chunks(process: BaseProcess, log: Path, count: int) -> None:
    """Wait until a run has done so many chunks, or has ended."""
    wait_until(
        lambda: not process.is_alive() or len(chunks_done(log.read_text())) >= count, log=log
    )


def require_whole(store: Store, pids: Sequence[int]) -> None:
    """Refuse tables that have not each of these pids once, or a part that is not as it was made."""
    for table in CHUNKED:
        version = store.require(table)
        assert rows_of(store, table, ["pid"])["pid"].to_pylist() == pids
        for part in version.parts:
            assert file_digest(part.path(version.folder)) == part.digest, part.name


def require_same_hashes(store: Store, other: Store) -> None:
    """Refuse vectors and codes of the items of another store that differ from those there."""
    for table in CHUNKED:
        columns = ["pid", "vector_hash", *(["codes"] if table == "codes" else [])]
        one, there = (
            {row["pid"]: row for row in rows_of(where, table, columns).to_pylist()}
            for where in (store, other)
        )
        assert {pid: one[pid] for pid in there} == there


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


def ray_processes() -> dict[int, str]:
    """The processes of Ray on this machine, and their commands."""
    found = {}
    for process in psutil.process_iter(["name", "cmdline"]):
        words = " ".join(process.info["cmdline"] or [process.info["name"] or ""])
        if any(word in words for word in ("raylet", "gcs_server", "ray::", "/session_", "/ray/")):
            found[process.pid] = words
    return found


def wait_until(condition: Any, seconds: float = 120, log: Path | None = None) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not condition():
        told = log.read_text()[-4000:] if log else ""
        assert time.monotonic() < until, f"it did not happen\n{told}"
        time.sleep(0.02)
