"""Runs whose process was killed, or whose machine went down.

Dagster still counts such a run as running, so the next run waits forever for its slot in the pool
`gpu`, or in the queue. Therefore each run holds a lock on a file while its process is alive. The
next run, and a sensor, mark runs whose lock is free as failed and free their slots.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from sid_assets.failures import clear_refusals_to_start

SENSOR_SECONDS = 30

IN_PROGRESS = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ENDED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]

DEAD = (
    "The process of this run is gone: it was killed, or its machine went down. Its finished work "
    "is kept; the next run resumes from there."
)


def watched(
    executor: dg.ExecutorDefinition, defaults: Mapping[str, Any] | None = None
) -> dg.ExecutorDefinition:
    """The same executor, whose runs show that they are alive and end dead runs.

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


@dg.sensor(
    minimum_interval_seconds=SENSOR_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs whose process is gone as failed, so that nothing waits for them.",
)
def end_runs_that_were_killed(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """End dead runs. No run is started."""
    ended = end_dead_runs(context.instance)
    return dg.SkipReason(f"Ended: {', '.join(ended)}." if ended else "No run was killed.")


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed and return their ids; free slots of all ended runs.

    Runs on other machines are left alone unless they share the folder of the instance's artifacts.
    """
    dead = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS))
        if _is_dead(_lock_file(instance, run.run_id))
    ]
    for run in dead:
        instance.report_run_failed(run, DEAD)
        _lock_file(instance, run.run_id).unlink(missing_ok=True)
    events = instance.event_log_storage
    with_slots = events.supports_global_concurrency_limits and events.get_concurrency_run_ids()
    if with_slots:
        for run in instance.get_runs(dg.RunsFilter(run_ids=list(with_slots), statuses=ENDED)):
            events.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


@contextmanager
def alive(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold the lock that shows that this run's process is alive."""
    path = _lock_file(instance, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while locked, so that an ending run does not look dead


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
        with alive(plan_context.instance, plan_context.run_id):
            for run_id in end_dead_runs(plan_context.instance):
                plan_context.log.warning(f"Run {run_id} was killed; it is marked as failed.")
            with clear_refusals_to_start():
                yield from self._executor.execute(plan_context, execution_plan)


def _lock_file(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.storage_directory(), "alive", f"{run_id}.lock")


def _is_dead(path: Path) -> bool:
    """Whether the process that took the lock is gone without having removed the file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.fstat(file.fileno()).st_nlink > 0
    except (FileNotFoundError, BlockingIOError):
        return False
