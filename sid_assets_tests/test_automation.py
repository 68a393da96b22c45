"""Evaluates the schedule and the sensor."""

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pyarrow as pa
import pytest

from sid_assets.assets.domains import domains_of
from sid_assets.assets.placement import Placement
from sid_assets.automation import (
    STAGES,
    last_refreshed,
)
from sid_assets.core import schema
from sid_assets.core.arrow.hashes import text_hash
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.files import fingerprint
from sid_assets.core.store.provenance import Provenance, derive
from sid_assets.core.store.write import draft_rows
from sid_assets.definitions import definitions
from sid_assets.resources import policy_of
from sid_assets.settings import Refresh, Settings

HASH = text_hash("One")
ROWS = pa.table(
    {
        "pid": [1],
        "text": ["One"],
        "text_hash": pa.array([HASH], schema.HASH),
        "embedding": pa.array([[1.0] + [0.0] * 4095], schema.VECTOR),
        "vector_hash": pa.array([HASH], schema.HASH),
        "codes": [[1, 2, 3]],
        "residual_norms": pa.array([[1.0, 0.5, 0.4, 0.3]], schema.RESIDUAL_NORMS),
        "sid": [[1, 2, 3]],
        "generation": ["0123456789abcdef"],
        "made": ["quantised"],
        "extra_error": pa.array([None], pa.float32()),
        "published_at": pa.array([0], schema.TIME),
        "left_at": pa.array([None], schema.TIME),
        "left_why": pa.array([None], pa.string()),
        "freed_at": pa.array([None], schema.TIME),
    }
)
"""One item, with the columns of all tables."""

JOB_NAME = "refresh_semantic_ids"
CATALOG_A = "pid,title\n1,One\n"
CATALOG_B = "pid,title\n1,One\n2,Two\n"


def _schedule(settings: Settings) -> dg.ScheduleDefinition:
    (schedule,) = list(definitions(settings).schedules or ())
    assert isinstance(schedule, dg.ScheduleDefinition)
    return schedule


def _sensor(settings: Settings) -> dg.SensorDefinition:
    sensors = definitions(settings).sensors or ()
    return next(sensor for sensor in sensors if sensor.name == "refresh_on_new_catalog")


@dataclass
class Watched:
    """A catalog, the sensor that watches it, and the cursor between checks."""

    catalog: Path
    settings: Settings
    instance: dg.DagsterInstance
    cursor: str | None = None
    clock: int = 0
    looks: list[dg.SensorResult] = field(default_factory=list)

    def write(self, text: str) -> None:
        """Write the catalog; the same text gives the same file, including its mtime."""
        self.catalog.write_text(text)
        moment = 1_700_000_000 + len(text)
        os.utime(self.catalog, (moment, moment))

    def look(self) -> int:
        """Evaluate the sensor once and return how many runs it requests."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"settings": self.settings}
        )
        execution = _sensor(self.settings).evaluate_tick(context)
        self.cursor = execution.cursor
        for event in execution.asset_events:
            self.instance.report_runless_asset_event(event)
        return len(execution.run_requests or [])

    def refreshed(self, stages: Sequence[str] = STAGES) -> None:
        """Write the tables of a refresh that made these stages; each names its inputs."""
        store = self.settings.store()
        for domain in domains_of(self.settings):
            details = {"fingerprint": fingerprint(domain.catalog(self.settings))}
            provenance = Provenance("item_texts", details=details)
            for stage in stages:
                rows = ROWS.select(schema.TABLES[stage].schema("int").names)
                reader = rows.cast(schema.TABLES[stage].schema("int")).to_reader()
                draft = draft_rows(store, domain.table(stage), reader, provenance)
                provenance = derive("next", store.commit(draft).provenance)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with dg.instance_for_test() as instance:
        catalog = tmp_path / "catalog.csv"
        settings = Settings.from_environment(
            {"SID_CATALOG": str(catalog), "SID_DATA_DIR": str(tmp_path / "data")}
        )
        yield Watched(catalog, settings, instance)


def test_both_are_off_until_somebody_switches_them_on():
    settings = Settings.from_environment({})
    assert _schedule(settings).default_status == dg.DefaultScheduleStatus.STOPPED
    assert _sensor(settings).default_status == dg.DefaultSensorStatus.STOPPED


def test_the_sensor_fires_after_two_checks_that_see_the_same_catalog(watched):
    watched.write(CATALOG_A)
    assert [watched.look() for _ in range(4)] == [0, 1, 0, 0]


def test_a_growing_catalog_is_not_read(watched):
    for rows in range(1, 5):
        watched.write("pid,title\n" + "1,One\n" * rows)
        assert watched.look() == 0
    assert watched.look() == 1


def test_a_catalog_that_changes_back_fires_again(watched):
    fired = []
    for text in (CATALOG_A, CATALOG_B, CATALOG_A):
        watched.write(text)
        fired.append(watched.look() + watched.look())
        watched.refreshed()
        assert watched.look() == 0
    assert fired == [1, 1, 1]


def test_a_failed_refresh_is_not_requested_again_until_the_catalog_changes(watched):
    watched.write(CATALOG_A)
    watched.look()
    assert watched.look() == 1
    assert [watched.look() for _ in range(3)] == [0, 0, 0]
    watched.write(CATALOG_B)
    assert [watched.look(), watched.look()] == [0, 1]


def test_a_refresh_that_stopped_halfway_does_not_count_as_done(watched):
    watched.write(CATALOG_A)
    watched.look()
    watched.look()
    watched.refreshed()
    watched.write(CATALOG_B)
    assert [watched.look(), watched.look()] == [0, 1]
    watched.refreshed(stages=("item_texts",))  # as when a large change was rejected
    assert watched.look() == 0
    assert last_refreshed(watched.settings) == ""
    watched.write(CATALOG_A)
    assert [watched.look(), watched.look()] == [0, 1]


def test_changed_goods_are_a_reason_to_refresh(watched, tmp_path):
    goods = tmp_path / "goods.csv"
    watched.settings = Settings.from_environment(
        {
            "SID_CATALOG": str(watched.catalog),
            "SID_GOODS_CATALOG": str(goods),
            "SID_DATA_DIR": str(tmp_path / "data"),
        }
    )
    watched.write(CATALOG_A)
    goods.write_text(CATALOG_A)
    assert [watched.look(), watched.look()] == [0, 1]
    watched.refreshed()
    assert watched.look() == 0
    goods.write_text(CATALOG_B)
    assert [watched.look(), watched.look()] == [0, 1]


def test_a_missing_catalog_is_a_reason_to_skip(watched):
    assert watched.look() == 0


@contextmanager
def _refresh_in_progress(instance: dg.DagsterInstance) -> Iterator[None]:
    run = instance.create_run_for_job(
        definitions(Settings()).resolve_job_def(JOB_NAME),
        status=dg.DagsterRunStatus.STARTED,
    )
    yield
    instance.delete_run(run.run_id)


def test_there_is_never_a_second_refresh(watched):
    schedule = _schedule(watched.settings)
    context = dg.build_schedule_context(
        instance=watched.instance,
        scheduled_execution_time=dt.datetime(2026, 1, 1, 3, tzinfo=dt.UTC),
    )
    watched.write(CATALOG_A)
    watched.look()
    with _refresh_in_progress(watched.instance):
        assert watched.look() == 0
        assert not schedule.evaluate_tick(context).run_requests
    assert watched.look() == 1


def test_the_schedule_requests_a_run_at_its_time():
    settings = Settings.from_environment(
        {"SID_SCHEDULE": "30 4 * * *", "SID_TIMEZONE": "Asia/Shanghai"}
    )
    schedule = _schedule(settings)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 4 * * *", "Asia/Shanghai")
    moment = dt.datetime(2026, 1, 1, 4, 30, tzinfo=dt.UTC)
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(instance, scheduled_execution_time=moment)
        requests = schedule.evaluate_tick(context).run_requests
    assert [request.run_key for request in requests or ()] == [moment.isoformat()]


def test_a_new_catalog_has_a_new_data_version(watched):
    watched.write(CATALOG_A)
    watched.look()
    watched.look()
    catalog = dg.AssetKey("catalog")
    (seen,) = watched.instance.fetch_materializations(catalog, limit=10).records
    version = seen.asset_materialization.tags["dagster/data_version"]
    assert version == fingerprint(str(watched.catalog))


def test_with_conditions_the_sensor_starts_nothing_and_records_each_version_once(watched):
    watched.settings = watched.settings.changed(automation="conditions")
    watched.write(CATALOG_A)
    assert [watched.look() for _ in range(4)] == [0, 0, 0, 0]
    watched.write(CATALOG_B)
    assert [watched.look() for _ in range(4)] == [0, 0, 0, 0]
    catalog = dg.AssetKey("catalog")
    assert len(watched.instance.fetch_materializations(catalog, limit=10).records) == 2


@pytest.mark.parametrize("automation", ["sensor", "conditions"])
def test_conditions_are_off_until_somebody_switches_them_on(automation):
    made = definitions(Settings(automation=automation))
    graph = made.resolve_asset_graph()
    conditions = {graph.get(key).automation_condition for key in graph.materializable_asset_keys}
    names = {sensor.name for sensor in made.sensors or ()}
    if automation == "sensor":
        assert conditions == {None}
        assert "refresh_by_conditions" not in names
    else:
        assert None not in conditions
        assert "refresh_by_conditions" in names


def test_conditions_ask_for_everything_after_a_new_catalog_and_never_for_a_new_generation(watched):
    settings = watched.settings.changed(automation="conditions")
    made = definitions(settings.changed(events="", captions=""))
    watched.settings = settings
    first = dg.evaluate_automation_conditions(defs=made, instance=watched.instance)
    watched.write(CATALOG_A)
    watched.look()
    watched.look()
    found = dg.evaluate_automation_conditions(
        defs=made, instance=watched.instance, cursor=first.cursor
    )
    keys = made.resolve_asset_graph().materializable_asset_keys
    assert {key for key in keys if found.get_num_requested(key)} == keys
    refresh = Refresh(new_generation=True)
    for tag in ("dagster/from_automation_condition", "dagster/auto_materialize"):
        context = SimpleNamespace(run=SimpleNamespace(tags={tag: "true"}))
        with pytest.raises(InputError, match="may not set new_generation"):
            policy_of(context, settings, refresh, Placement())
