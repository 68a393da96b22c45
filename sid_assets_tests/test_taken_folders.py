"""Which run refreshes a data folder, and what others are told."""

import datetime as dt
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from sid_assets import taken_folders
from sid_assets.core.errors import StoreError
from sid_assets.definitions import definitions
from sid_assets.settings import Settings
from sid_assets.taken_folders import run_in, take_folder


@dg.job
def some_job() -> None: ...


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    catalog = tmp_path / "catalog.csv"
    catalog.write_text("pid,title\n1,One\n")
    return Settings(data_dir=str(tmp_path / "data"), catalog=str(catalog))


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run in progress."""
    return instance.create_run_for_job(some_job, status=dg.DagsterRunStatus.STARTED)


def take(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings) -> list[str]:
    """Take the folder in a step of a run; the warnings."""
    warnings: list[str] = []
    log = SimpleNamespace(warning=warnings.append)
    take_folder(SimpleNamespace(instance=instance, run=run, log=log), settings)
    return warnings


def test_the_steps_of_a_run_share_the_folder_and_another_run_waits_for_its_end(settings):
    with dg.instance_for_test() as instance:
        first, second = started(instance), started(instance)
        take(instance, first, settings)
        take(instance, first, settings)
        refused = rf"run {first.run_id} \(some_job\) is refreshing this data folder"
        with pytest.raises(StoreError, match=refused):
            take(instance, second, settings)
        instance.report_run_failed(first)
        take(instance, second, settings)
        found = run_in(instance, settings)
        assert found
        assert found.run_id == second.run_id


def test_a_run_that_was_killed_has_no_folder(settings):
    with dg.instance_for_test() as instance:
        first, second = started(instance), started(instance)
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            process.wait()
        start = dg.DagsterEventType.RUN_START.value
        event = dg.DagsterEvent(start, job_name=first.job_name, pid=process.pid)
        instance.report_dagster_event(event, first.run_id)
        take(instance, first, settings)
        take(instance, second, settings)
        run = instance.get_run_by_id(first.run_id)
        assert run
        assert run.status == dg.DagsterRunStatus.FAILURE


def test_runs_that_this_instance_does_not_know_have_ended(settings):
    with dg.instance_for_test() as instance, dg.instance_for_test() as other:
        take(other, started(other), settings)
        take(instance, started(instance), settings)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"ran": 1}'])
def test_a_damaged_file_names_no_run(settings, content):
    path = Path(settings.data_dir, ".taken_by.json")
    path.parent.mkdir()
    path.write_text(content)
    with dg.instance_for_test() as instance:
        assert run_in(instance, settings) is None
        take(instance, started(instance), settings)
        assert run_in(instance, settings)


def test_neither_sensor_nor_schedule_starts_a_refresh_beside_a_run_of_a_selection(settings):
    made = definitions(settings)
    (schedule,) = list(made.schedules or ())
    sensor = next(one for one in made.sensors or () if one.name == "refresh_on_new_catalog")
    assert isinstance(schedule, dg.ScheduleDefinition)
    with dg.instance_for_test() as instance:
        run = started(instance)
        take(instance, run, settings)
        moment = dt.datetime(2026, 1, 1, 3, tzinfo=dt.UTC)
        tick = schedule.evaluate_tick(
            dg.build_schedule_context(instance, scheduled_execution_time=moment)
        )
        assert tick.skip_message == f"Refresh {run.run_id} is still running."

        def look(cursor: str | None) -> Any:
            resources = {"settings": settings}
            return sensor.evaluate_tick(
                dg.build_sensor_context(instance, cursor=cursor, resources=resources)
            )

        assert look(look(None).cursor).skip_message == f"Refresh {run.run_id} is still running."


@pytest.mark.parametrize("where", ["bucket", "memory"])
def test_a_folder_of_an_object_store_is_taken_by_one_run(request, settings, tmp_path, where):
    root = f"memory://{tmp_path.name}" if where == "memory" else request.getfixturevalue(where)
    settings = settings.changed(data_dir=f"{root}/data")
    with dg.instance_for_test() as instance:
        first, second = started(instance), started(instance)
        warnings = take(instance, first, settings)
        assert take(instance, first, settings) == []  # said once
        with pytest.raises(StoreError, match=rf"run {first.run_id} .* is refreshing this data"):
            take(instance, second, settings)
        instance.report_run_failed(first)
        assert take(instance, second, settings) == warnings
    assert len(warnings) == (where == "memory")
    assert all("nothing keeps two runs from writing one table" in text for text in warnings)


def test_a_run_that_was_slower_between_look_and_write_sees_the_faster_one(
    settings, bucket, monkeypatch
):
    settings = settings.changed(data_dir=f"{bucket}/data")
    with dg.instance_for_test() as instance:
        first, second = started(instance), started(instance)
        looked = taken_folders.read_object

        def look_and_be_slow(path: Any) -> Any:
            seen = looked(path)
            monkeypatch.setattr(taken_folders, "read_object", looked)
            take(instance, first, settings)
            return seen

        monkeypatch.setattr(taken_folders, "read_object", look_and_be_slow)
        with pytest.raises(StoreError, match=f"run {first.run_id}"):
            take(instance, second, settings)
