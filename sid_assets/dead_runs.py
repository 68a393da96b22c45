"""Runs whose process was killed, or whose machine went down.

Dagster goes on counting such a run as running: the next one waits for its slot in the pool `gpu`,
or in the queue, for ever. So each run holds a lock on a file as long as its process lives. The next
run, and a sensor, mark those whose lock is free as failed, and free their slots.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

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
    "The process of this run is gone: it was killed, or its machine went down. What it had done is "
    "kept; the next run goes on from there."
)


def watched(executor: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    """The same executor; its runs can be told from dead ones, and end those."""
    create: Any = executor.executor_creation_fn
    config_schema: Any = executor.config_schema
    return dg.ExecutorDefinition(
        executor.name,
        config_schema=config_schema,
        requirements=executor.get_requirements,
        executor_creation_fn=lambda context: _WatchedExecutor(create(context)),
        description=executor.description,
    )


@dg.sensor(
    minimum_interval_seconds=SENSOR_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs whose process is gone as failed, so that nothing waits for them.",
)
def end_runs_that_were_killed(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Starts nothing."""
    ended = end_dead_runs(context.instance)
    return dg.SkipReason(f"Ended: {', '.join(ended)}." if ended else "No run was killed.")


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed, free the slots of all ended runs; ids of the dead.

    Runs of other machines are left alone, if they do not share the folder of the instance's
    artifacts.
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
    """Hold the lock that says that this run's process lives."""
    path = _lock_file(instance, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # before it is free: a run that ends is not a dead one


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
            yield from self._executor.execute(plan_context, execution_plan)


def _lock_file(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.storage_directory(), "alive", f"{run_id}.lock")


def _is_dead(path: Path) -> bool:
    """Whether a process took the lock, and is gone without having removed it."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.fstat(file.fileno()).st_nlink > 0
    except (FileNotFoundError, BlockingIOError):
        return False
