"""Killed runs, in real processes: they are recognised, and no run waits for them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from sid_assets.dead_runs import DEAD, end_runs_that_were_killed
from sid_assets_tests.dagster_dev import write_instance
from sid_assets_tests.graph import write_catalog

POOL = "gpu"
SECONDS = 300


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_instance(tmp_path)
    write_catalog(tmp_path / "catalog.parquet")
    return tmp_path


@contextmanager
def running(home: Path, **settings: str) -> Iterator[subprocess.Popen]:
    """`dagster asset materialize` of texts and embeddings, killed at the end with its steps."""
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "SID_DEPLOYMENT": "onerec",
        "SID_DATA_DIR": str(home / "data"),
        "SID_CATALOG": str(home / "catalog.parquet"),
        "SID_TEXT_TEMPLATE": "{title}",
        "SID_TOKENIZER": "train",
        **settings,
    }
    command = [str(Path(sys.executable).with_name("dagster")), "asset", "materialize"]
    command += ["--select", "item_texts,item_embeddings", "-m", "sid_assets.definitions"]
    process = subprocess.Popen(
        command,
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _kill(process)


def _kill(process: subprocess.Popen) -> None:
    with_children = os.getpgid(process.pid) if process.poll() is None else None
    if with_children:
        os.killpg(with_children, signal.SIGKILL)
    process.wait()


@contextmanager
def silent_server() -> Iterator[str]:
    """The address of a server that accepts requests and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def _has_slot(instance: dg.DagsterInstance) -> set[str]:
    return instance.event_log_storage.get_concurrency_run_ids()


def _wait_for_slot(instance: dg.DagsterInstance, process: subprocess.Popen) -> str:
    """The id of the run that gets the slot."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        if runs := _has_slot(instance):
            return runs.pop()
        time.sleep(0.2)
    raise TimeoutError("no run got the slot of the pool")


@pytest.fixture
def killed(home: Path) -> Iterator[tuple[dg.DagsterInstance, str]]:
    """An instance in which a run was killed while it had the slot, and the id of the run."""
    with dg.DagsterInstance.from_config(str(home)) as instance, silent_server() as url:
        hanging = {
            "SID_EMBEDDER": "openai",
            "SID_EMBEDDING_URL": url,
            "SID_EMBEDDING_MODEL": "m",
            "SID_EMBEDDING_TOKENIZER": "server",
        }
        with running(home, **hanging) as process:
            run_id = _wait_for_slot(instance, process)
            assert _look_of_the_sensor(instance) == "No run was killed."
        assert _status(instance, run_id) == dg.DagsterRunStatus.STARTED
        assert _has_slot(instance) == {run_id}
        yield instance, run_id


def _look_of_the_sensor(instance: dg.DagsterInstance) -> str | None:
    """What the sensor reports."""
    return end_runs_that_were_killed.evaluate_tick(dg.build_sensor_context(instance)).skip_message


def _status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def test_the_next_run_does_not_wait_for_a_killed_one(killed, home):
    instance, run_id = killed
    with running(home, SID_EMBEDDER="hashing") as process:
        output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    assert f"Run {run_id} was killed; it is marked as failed." in output
    assert _status(instance, run_id) == dg.DagsterRunStatus.FAILURE
    assert _has_slot(instance) == set()


def test_the_sensor_ends_a_killed_run(killed):
    instance, run_id = killed
    assert _look_of_the_sensor(instance) == f"Ended: {run_id}."
    assert _status(instance, run_id) == dg.DagsterRunStatus.FAILURE
    assert _has_slot(instance) == set()
    assert any(DEAD in entry.message for entry in instance.all_logs(run_id))
    assert _look_of_the_sensor(instance) == "No run was killed."
