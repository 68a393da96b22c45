"""Runs whose process was killed, or whose machine went down.

Dagster still counts such a run as running, so the next run waits forever for its slot in the pool
`gpu`, or in the queue. Therefore each run that makes assets of this package is noted, with its
machine. The next run, and a sensor, look for the processes of noted runs: a run whose process is
gone is marked as failed, and its slots are freed. Other runs are never touched.
"""

import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from sid_assets.assets.placement import Placement
from sid_assets.failures import clear_refusals_to_start

SENSOR_SECONDS = 30

IN_PROGRESS = {
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
}
ENDED = {
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
}

DEAD = (
    "The process of this run is gone: it was killed, or its machine went down. Its finished work "
    "is kept; the next run resumes from there."
)

CLOCK = 2.0
"""Seconds by which the start of a process and the time of an event may differ."""


def watched(
    executor: dg.ExecutorDefinition, defaults: Mapping[str, Any] | None = None
) -> dg.ExecutorDefinition:
    """The same executor, which notes its runs before their first step, and ends dead runs.

    Args:
        executor: The executor.
        defaults: What its config is where that of a run says nothing.
    """
    create: Any = executor.executor_creation_fn
    config_schema: Any = executor.config_schema

    def created(context: dg.InitExecutorContext) -> dg.Executor:
        given: Any = context.executor_config
        config = {**(defaults or {}), **given}
        return _WatchedExecutor(create(context._replace(executor_config=config)))

    return dg.ExecutorDefinition(
        executor.name,
        config_schema=config_schema,
        requirements=executor.get_requirements,
        executor_creation_fn=created,
        description=executor.description,
    )


def dead_runs_sensor(placement: Placement) -> dg.SensorDefinition:
    """A sensor that ends dead runs. It starts none, and says something only if it ended one."""

    @dg.sensor(
        name=placement.named("end_runs_that_were_killed"),
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Marks runs of these assets whose process is gone as failed, so that nothing "
        "waits for them.",
    )
    def end_runs_that_were_killed(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = end_dead_runs(context.instance)
        return dg.SkipReason(f"Ended: {', '.join(ended)}." if ended else None)

    return end_runs_that_were_killed


def note_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Note that a run makes assets of this package, on this machine."""
    path = _notes(instance) / f"{run_id}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": platform.node()}))


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark noted runs whose process is gone as failed; free the slots of noted runs that ended.

    Runs of other machines are marked by nobody here; there, use Dagster's run monitoring.

    Returns:
        The ids of the runs that were marked.
    """
    dead = []
    for path in sorted(_notes(instance).glob("*.json")):
        run = instance.get_run_by_id(path.stem)
        if run and run.status in IN_PROGRESS and _is_dead(instance, run.run_id, path):
            instance.report_run_failed(run, DEAD)
            dead.append(run.run_id)
        elif run and run.status not in ENDED:
            continue
        if run and instance.event_log_storage.supports_global_concurrency_limits:
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        path.unlink(missing_ok=True)
    return dead


class _WatchedExecutor(dg.Executor):
    def __init__(self, executor: dg.Executor) -> None:
        self._executor = executor

    @property
    def retries(self) -> Any:
        return self._executor.retries

    @property
    def step_dependency_config(self) -> Any:
        return self._executor.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[Any]:
        note_run(plan_context.instance, plan_context.run_id)
        for run_id in end_dead_runs(plan_context.instance):
            plan_context.log.warning(f"Run {run_id} was killed; it is marked as failed.")
        with clear_refusals_to_start():
            yield from self._executor.execute(plan_context, execution_plan)


def _notes(instance: dg.DagsterInstance) -> Path:
    return Path(instance.storage_directory(), "noted_runs")


def _is_dead(instance: dg.DagsterInstance, run_id: str, note: Path) -> bool:
    """Whether the run was on this machine, and its process is gone."""
    try:
        machine = json.loads(note.read_text())["machine"]
    except (OSError, ValueError, KeyError, TypeError):  # another process is writing it
        return False
    started = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_START).records
    if machine != platform.node() or not started:
        return False
    entry = started[-1].event_log_entry
    pid = entry.dagster_event.pid if entry.dagster_event else None
    return pid is not None and not _was_running(pid, entry.timestamp)


def _was_running(pid: int, at: float) -> bool:
    """Whether there is such a process, and it was there at that time (s): numbers are reused."""
    import psutil

    try:
        return psutil.Process(pid).create_time() <= at + CLOCK
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
