"""Runs whose process was killed, or whose machine went down.

Dagster still counts such a run as running, so the next run waits forever for its slot in the pool
`gpu`, or in the queue. Therefore each run that makes assets of this package is noted in Dagster's
storage. A noted run is marked as failed, and its slots are freed, in two cases:

- Its process is gone. The next run and a sensor look for it, where process numbers mean the same:
  on the same machine, or in the same container.
- Its process was elsewhere, and its note has not changed in many looks of the sensor. A run renews
  its note as long as it lives. Looks are counted, not seconds: clocks need not agree, and while
  daemon or database are down, nobody looks.

Other runs are never touched.
"""

import json
import logging
import platform
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from sid_assets.assets.placement import Placement
from sid_assets.core.machine import MACHINE_ITSELF, process_numbers
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

RENEWAL_SECONDS = 15.0
"""Seconds between two renewals of a note."""

LOOKS = 10
"""How many looks of the sensor, one after the other, see the same note of a run that is dead."""

log = logging.getLogger(__name__)


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
        silent, cursor = end_silent_runs(context.instance, context.cursor or "")
        context.update_cursor(cursor)
        ended += silent
        return dg.SkipReason(f"Ended: {', '.join(ended)}." if ended else None)

    return end_runs_that_were_killed


def note_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Note that a run makes assets of this package, and where its process is."""
    if run_id not in _notes(instance, [run_id]):
        _write_note(instance, run_id, {"where": _where()})


@contextmanager
def renewed_note(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Note a run, and renew the note in a thread until the block ends."""
    if not instance.is_persistent:  # nobody else can see the run
        note_run(instance, run_id)
        yield
        return
    own = {"where": _where(), "token": secrets.token_hex(4)}
    _write_note(instance, run_id, {**own, "renewals": 0})
    over = threading.Event()

    def renew() -> None:
        renewals = 0
        while not over.wait(RENEWAL_SECONDS):
            renewals += 1
            try:
                _write_note(instance, run_id, {**own, "renewals": renewals})
            except Exception as failure:  # the next renewal may reach the database
                log.warning("Run %s: its note was not renewed: %s", run_id, type(failure).__name__)

    thread = threading.Thread(target=renew, name="note of the run", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark noted runs whose process is gone as failed; free the slots of noted runs that ended.

    Runs in other containers or on other machines are left to `end_silent_runs`.

    Returns:
        The ids of the runs that were marked.
    """
    running = _running(instance)
    notes = _notes(instance, running)
    dead = [run_id for run_id in notes if _is_dead(instance, run_id, notes[run_id])]
    _end(instance, [running[run_id] for run_id in dead])
    _free_slots_of_ended_runs(instance)
    return dead


def end_silent_runs(instance: dg.DagsterInstance, cursor: str) -> tuple[list[str], str]:
    """Mark runs elsewhere as failed whose notes have stayed the same for `LOOKS` looks.

    Args:
        instance: Dagster's instance.
        cursor: What the previous look returned; "" at first.

    Returns:
        The ids of the runs that were marked, and what the next look is given.
    """
    before = json.loads(cursor) if cursor else {}
    running = _running(instance)
    seen = {}
    for run_id, note in _notes(instance, running).items():
        if note["where"] == _where() or "renewals" not in note:
            continue
        state = [note["token"], note["renewals"]]
        *last, looks = before.get(run_id, [None, None, 0])
        seen[run_id] = [*state, looks + 1 if state == last else 0]
    silent = [run_id for run_id, (*_, looks) in seen.items() if looks >= LOOKS]
    _end(instance, [running[run_id] for run_id in silent])
    return silent, json.dumps({run_id: seen[run_id] for run_id in seen.keys() - set(silent)})


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
        with renewed_note(plan_context.instance, plan_context.run_id), clear_refusals_to_start():
            for run_id in end_dead_runs(plan_context.instance):
                plan_context.log.warning(f"Run {run_id} was killed; it is marked as failed.")
            yield from self._executor.execute(plan_context, execution_plan)


def _key(run_id: str) -> str:
    return f"sid_assets/runs/{run_id}"


def _write_note(instance: dg.DagsterInstance, run_id: str, note: Mapping[str, Any]) -> None:
    instance.daemon_cursor_storage.set_cursor_values({_key(run_id): json.dumps(note)})


def _notes(instance: dg.DagsterInstance, run_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The notes of those of the runs that have one."""
    keys = {_key(run_id): run_id for run_id in run_ids}
    found = instance.daemon_cursor_storage.get_cursor_values(set(keys)) if keys else {}
    return {keys[key]: json.loads(note) for key, note in found.items()}


def _running(instance: dg.DagsterInstance) -> dict[str, dg.DagsterRun]:
    runs = instance.get_runs(dg.RunsFilter(statuses=list(IN_PROGRESS)))
    return {run.run_id: run for run in runs}


def _end(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun]) -> None:
    for run in runs:
        instance.report_run_failed(run, DEAD)
        _free_slots(instance, run.run_id)


def _free_slots_of_ended_runs(instance: dg.DagsterInstance) -> None:
    """Free the slots of noted runs that somebody else marked as ended."""
    if not instance.event_log_storage.supports_global_concurrency_limits:
        return
    for run_id in _notes(instance, instance.event_log_storage.get_concurrency_run_ids()):
        run = instance.get_run_by_id(run_id)
        if not run or run.status in ENDED:
            _free_slots(instance, run_id)


def _free_slots(instance: dg.DagsterInstance, run_id: str) -> None:
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _where() -> str:
    """Where a process number means the same as here: this machine, or this container."""
    machine = platform.node()
    boot, namespace = process_numbers() or ("", MACHINE_ITSELF)
    # A run from before a restart of the machine was here, and is gone.
    return machine if namespace == MACHINE_ITSELF else f"{machine} {boot} {namespace}"


def _is_dead(instance: dg.DagsterInstance, run_id: str, note: Mapping[str, Any]) -> bool:
    """Whether the process of the run was here, and is gone."""
    if note["where"] != _where():
        return False
    started = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_START).records
    if not started:
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
