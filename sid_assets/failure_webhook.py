"""Failed runs are posted to the address in `SID_FAILURE_WEBHOOK`, however they were started."""

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence, Set
from http.client import HTTPException

import dagster as dg

from sid_assets.assets.placement import Placement
from sid_assets.variables import WEBHOOK_VARIABLE, failure_webhook

WEBHOOK_TIMEOUT_SECONDS = 10
SENSOR_SECONDS = 30


def failure_sensor(placement: Placement, steps: Set[str]) -> dg.SensorDefinition:
    """A sensor that posts failed runs of these assets.

    Args:
        placement: It names the sensor.
        steps: The steps that make these assets and their checks.
    """

    @dg.run_failure_sensor(
        name=placement.named("post_failures"),
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Posts failed runs of these assets to {WEBHOOK_VARIABLE}, if it is set.",
    )
    def post_failures(context: dg.RunFailureSensorContext) -> None:
        address = failure_webhook()
        for message in failures(context, steps) if address else ():
            _post(address, message, context.log)

    return post_failures


def failures(context: dg.RunFailureSensorContext, steps: Set[str]) -> Iterator[Mapping[str, str]]:
    """What is posted of a failed run: each of our steps that failed, or that the run died."""
    run = context.dagster_run
    about = {"job": run.job_name, "run_id": run.run_id}
    failed = context.get_step_failure_events()
    for event in (event for event in failed if event.step_key in steps):
        error = event.step_failure_data.error
        said = error.message if error else event.message
        yield {**about, "step": str(event.step_key), "error": str(said).strip()}
    if not failed and steps & set(_planned(context.instance, run)):  # its process may be gone
        yield {**about, "step": "", "error": str(context.failure_event.message).strip()}


def _planned(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Sequence[str]:
    """The steps of a run. The run itself names them only if they are a selection."""
    plan = run.execution_plan_snapshot_id
    return instance.get_execution_plan_snapshot(plan).step_keys_to_execute if plan else ()


def _post(address: str, message: Mapping[str, str], log: logging.Logger) -> None:
    request = urllib.request.Request(  # noqa: S310 - the address is the user's own choice
        address,
        data=json.dumps(message).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT_SECONDS).close()  # noqa: S310
    except (OSError, ValueError, HTTPException) as failure:
        log.warning(f"{WEBHOOK_VARIABLE}: the failure could not be posted: {_why(failure)}")


def _why(failure: Exception) -> str:
    """Why a request failed, without its address, which may hold a secret."""
    if isinstance(failure, urllib.error.HTTPError):
        return f"the server answers with status {failure.code}."
    reason = getattr(failure, "reason", failure)
    system = isinstance(reason, OSError) and reason.strerror
    return f"{system or type(reason).__name__}."
