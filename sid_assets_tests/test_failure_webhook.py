"""Failed runs are posted, whatever started them, and nothing else is."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest

from sid_assets.assets.placement import Placement
from sid_assets.failure_webhook import failure_sensor
from sid_assets_tests.failed_runs import tell

STEP = "us__item_texts"


@contextmanager
def receiver(answer: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server, and what was posted to it."""
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answer)
            self.send_header("Location", "gopher://hush-elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hush", received
        server.shutdown()


def failed_run(instance: dg.DagsterInstance, step: str) -> str:
    """The id of a run in which a step failed."""

    @dg.op(name=step)
    def fails() -> None:
        raise dg.Failure("the catalog has no rows")

    @dg.job
    def some_job() -> None:
        fails()

    result = some_job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    return result.run_id


@pytest.mark.parametrize("step", [STEP, "step_of_the_host"])
def test_a_step_of_these_assets_that_failed_is_posted(step, monkeypatch):
    sensor = failure_sensor(Placement(name="us"), {STEP})
    with dg.instance_for_test() as instance, receiver(204) as (address, received):
        monkeypatch.setenv("SID_FAILURE_WEBHOOK", address)
        run_id = failed_run(instance, step)
        tell(sensor, instance, run_id)
    if step != STEP:
        assert received == []
        return
    ((error, posted),) = [(one.pop("error"), one) for one in received]
    assert posted == {"job": "some_job", "run_id": run_id, "step": STEP}
    assert "the catalog has no rows" in error


@pytest.mark.parametrize("selected", [True, False])
def test_a_run_that_died_is_posted_without_a_step(selected, monkeypatch):
    """A schedule's run of a whole job does not name its steps."""
    sensor = failure_sensor(Placement(), {STEP})
    with dg.instance_for_test() as instance, receiver(204) as (address, received):
        monkeypatch.setenv("SID_FAILURE_WEBHOOK", address)

        @dg.asset(key=["us", "item_texts"])
        def item_texts() -> None: ...

        job = dg.Definitions(assets=[item_texts]).resolve_implicit_global_asset_job_def()
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        instance.report_run_failed(run, "The process of this run is gone.")
        tell(sensor, instance, run.run_id, names_its_steps=selected)
    ((step, error),) = [(one["step"], one["error"]) for one in received]
    assert (step, "The process of this run is gone." in error) == ("", True)


def test_without_an_address_nothing_is_posted(monkeypatch):
    monkeypatch.delenv("SID_FAILURE_WEBHOOK", raising=False)
    with dg.instance_for_test() as instance, receiver(204) as (_, received):
        tell(failure_sensor(Placement(), {STEP}), instance, failed_run(instance, STEP))
    assert received == []


@pytest.mark.parametrize("answer", [404, 302, None], ids=["refused", "redirected", "no server"])
def test_a_webhook_that_does_not_answer_is_a_warning_without_its_address(answer, monkeypatch):
    sensor = failure_sensor(Placement(), {STEP})
    with dg.instance_for_test() as instance:
        run_id = failed_run(instance, STEP)
        with receiver(answer or 500) as (address, _):
            monkeypatch.setenv("SID_FAILURE_WEBHOOK", address)
            said = tell(sensor, instance, run_id) if answer else []
        if not answer:
            said = tell(sensor, instance, run_id)
    (warning,) = said
    assert warning.startswith("SID_FAILURE_WEBHOOK: the failure could not be posted: ")
    assert "hush" not in warning
