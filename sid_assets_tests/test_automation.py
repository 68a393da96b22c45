"""Evaluates the schedule, the sensor and the failure hook."""

import datetime as dt
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from sid_assets.assets.domains import domains_of
from sid_assets.automation import (
    JOB_NAME,
    STAGES,
    last_refreshed,
    post_failure,
    refresh_on_new_catalog,
    refresh_schedule,
    refresh_semantic_ids,
)
from sid_assets.core import schema
from sid_assets.core.arrow.hashes import text_hash
from sid_assets.core.inputs.files import fingerprint
from sid_assets.core.store.provenance import Provenance, derive
from sid_assets.core.store.write import draft_rows
from sid_assets.settings import Settings

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

CATALOG_A = "pid,title\n1,One\n"
CATALOG_B = "pid,title\n1,One\n2,Two\n"


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
        execution = refresh_on_new_catalog.evaluate_tick(context)
        self.cursor = execution.cursor
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
    schedule = refresh_schedule(Settings.from_environment({}))
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert refresh_on_new_catalog.default_status == dg.DefaultSensorStatus.STOPPED


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
        dg.Definitions(assets=[_nothing], jobs=[refresh_semantic_ids]).resolve_job_def(JOB_NAME),
        status=dg.DagsterRunStatus.STARTED,
    )
    yield
    instance.delete_run(run.run_id)


@dg.asset
def _nothing() -> None: ...


def test_there_is_never_a_second_refresh(watched):
    schedule = refresh_schedule(watched.settings)
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
    schedule = refresh_schedule(settings)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 4 * * *", "Asia/Shanghai")
    moment = dt.datetime(2026, 1, 1, 4, 30, tzinfo=dt.UTC)
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(instance, scheduled_execution_time=moment)
        requests = schedule.evaluate_tick(context).run_requests
    assert [request.run_key for request in requests or ()] == [moment.isoformat()]


def test_a_failure_is_posted_to_the_webhook(monkeypatch):
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("SID_FAILURE_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hook")

    @dg.op
    def fails() -> None:
        raise dg.Failure("the catalog has no rows")

    @dg.job(hooks={post_failure})
    def job() -> None:
        fails()

    assert not job.execute_in_process(raise_on_error=False).success
    server.shutdown()
    assert len(received) == 1
    assert received[0]["job"] == "job"
    assert received[0]["step"] == "fails"
    assert "the catalog has no rows" in received[0]["error"]


@pytest.mark.parametrize("answer", [404, 302, None], ids=["refused", "redirected", "no server"])
def test_a_webhook_that_does_not_answer_is_a_warning_without_its_address(answer, monkeypatch):
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(answer or 500)
            self.send_header("Location", "gopher://hush-elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    monkeypatch.setenv("SID_FAILURE_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hush")
    if answer:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    else:
        server.server_close()

    @dg.op
    def fails() -> None:
        raise dg.Failure("the catalog has no rows")

    @dg.job(hooks={post_failure})
    def job() -> None:
        fails()

    with dg.instance_for_test() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        log = "\n".join(str(entry) for entry in instance.all_logs(result.run_id))
    if answer:
        server.shutdown()
    assert "SID_FAILURE_WEBHOOK: the failure could not be posted: " in log
    assert "hush" not in log
