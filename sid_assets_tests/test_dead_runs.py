"""Killed runs, in real processes: they are recognised, and no run waits for them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pytest

from sid_assets.assets.placement import Placement
from sid_assets.dead_runs import (
    DEAD,
    LOOKS,
    dead_runs_sensor,
    end_dead_runs,
    end_silent_runs,
    note_run,
    renewed_note,
)
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
            assert _look_of_the_sensor(instance) is None
        assert _status(instance, run_id) == dg.DagsterRunStatus.STARTED
        assert _has_slot(instance) == {run_id}
        yield instance, run_id


def _look_of_the_sensor(instance: dg.DagsterInstance) -> str | None:
    """What the sensor reports."""
    sensor = dead_runs_sensor(Placement())
    return sensor.evaluate_tick(dg.build_sensor_context(instance)).skip_message


def _status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


@pytest.mark.service
def test_the_next_run_does_not_wait_for_a_killed_one(killed, home):
    instance, run_id = killed
    with running(home, SID_EMBEDDER="hashing") as process:
        output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    assert f"Run {run_id} was killed; it is marked as failed." in output
    assert _status(instance, run_id) == dg.DagsterRunStatus.FAILURE
    assert _has_slot(instance) == set()


@pytest.mark.service
def test_the_sensor_ends_a_killed_run(killed):
    instance, run_id = killed
    assert _look_of_the_sensor(instance) == f"Ended: {run_id}."
    assert _status(instance, run_id) == dg.DagsterRunStatus.FAILURE
    assert _has_slot(instance) == set()
    assert any(DEAD in entry.message for entry in instance.all_logs(run_id))
    assert _look_of_the_sensor(instance) is None


@dg.job
def _job_of_the_host() -> None: ...


def _started(instance: dg.DagsterInstance, pid: int) -> str:
    """A run that this process started in an instance, as if it had been started by another."""
    run = instance.create_run_for_job(_job_of_the_host, status=dg.DagsterRunStatus.STARTED)
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_START.value, job_name=run.job_name, pid=pid
    )
    instance.report_dagster_event(event, run.run_id)
    return run.run_id


def _gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_runs_of_others_are_never_touched():
    with dg.instance_for_test() as instance:
        run_id = _started(instance, _gone())
        assert end_dead_runs(instance) == []
        assert _status(instance, run_id) == dg.DagsterRunStatus.STARTED
        note_run(instance, run_id)
        assert end_dead_runs(instance) == [run_id]


def test_a_run_whose_process_lives_goes_on():
    with dg.instance_for_test() as instance:
        run_id = _started(instance, os.getpid())
        note_run(instance, run_id)
        assert end_dead_runs(instance) == []


def test_a_run_on_another_machine_is_not_judged_by_the_number_of_its_process(monkeypatch):
    with dg.instance_for_test() as instance:
        run_id = _started(instance, _gone())
        monkeypatch.setattr("platform.node", lambda: "elsewhere")
        note_run(instance, run_id)
        monkeypatch.undo()
        assert end_dead_runs(instance) == []


def test_a_number_that_another_process_has_now_is_not_that_of_the_run(monkeypatch):
    with dg.instance_for_test() as instance:
        run_id = _started(instance, os.getpid())
        note_run(instance, run_id)
        later = time.time() + 60
        monkeypatch.setattr("psutil.Process.create_time", lambda process: later)
        assert end_dead_runs(instance) == [run_id]


@contextmanager
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within the block, this process is in another container."""
    with monkeypatch.context() as patch:
        patch.setattr("sid_assets.dead_runs._where", lambda: "another container")
        yield


def _look_until_it_ends(instance: dg.DagsterInstance, looks: int) -> list[str]:
    """What that many looks of the sensor ended."""
    cursor, ended = "", []
    for _ in range(looks):
        found, cursor = end_silent_runs(instance, cursor)
        ended += found
    return ended


def test_a_run_elsewhere_whose_note_stays_the_same_is_ended(monkeypatch):
    with dg.instance_for_test() as instance:
        run_id = _started(instance, os.getpid())
        with _elsewhere(monkeypatch), renewed_note(instance, run_id):
            pass  # its container is gone, and nothing renews the note any more
        assert end_dead_runs(instance) == []
        assert _look_until_it_ends(instance, LOOKS) == []
        assert _look_until_it_ends(instance, LOOKS + 1) == [run_id]
        assert _status(instance, run_id) == dg.DagsterRunStatus.FAILURE


def test_a_run_elsewhere_that_renews_its_note_goes_on(monkeypatch):
    monkeypatch.setattr("sid_assets.dead_runs.RENEWAL_SECONDS", 0.01)
    with dg.instance_for_test() as instance:
        run_id = _started(instance, _gone())
        with ExitStack() as stack:
            with _elsewhere(monkeypatch):
                stack.enter_context(renewed_note(instance, run_id))
            cursor = ""
            for _ in range(3 * LOOKS):
                _wait_for_another_note(instance, run_id)
                ended, cursor = end_silent_runs(instance, cursor)
                assert ended == end_dead_runs(instance) == []


def _wait_for_another_note(instance: dg.DagsterInstance, run_id: str) -> None:
    key = f"sid_assets/runs/{run_id}"
    before = instance.daemon_cursor_storage.get_cursor_values({key})
    deadline = time.monotonic() + SECONDS
    while instance.daemon_cursor_storage.get_cursor_values({key}) == before:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_run_elsewhere_whose_note_nobody_renews_by_design_is_left_alone(monkeypatch):
    with dg.instance_for_test() as instance:
        run_id = _started(instance, os.getpid())
        with _elsewhere(monkeypatch):
            note_run(instance, run_id)  # a step of another executor
        assert _look_until_it_ends(instance, 3 * LOOKS) == []


def test_a_run_that_was_moved_is_looked_for_where_it_is_now(monkeypatch):
    with dg.instance_for_test() as instance:
        run_id = _started(instance, _gone())
        with _elsewhere(monkeypatch), renewed_note(instance, run_id):
            pass
        with renewed_note(instance, run_id):
            assert end_dead_runs(instance) == [run_id]


def test_the_sensor_remembers_what_it_saw(monkeypatch):
    with dg.instance_for_test() as instance:
        run_id = _started(instance, os.getpid())
        with _elsewhere(monkeypatch), renewed_note(instance, run_id):
            pass
        sensor, cursor, said = dead_runs_sensor(Placement()), None, None
        for _ in range(LOOKS + 1):
            assert said is None
            tick = sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=cursor))
            cursor, said = tick.cursor, tick.skip_message
        assert said == f"Ended: {run_id}."
