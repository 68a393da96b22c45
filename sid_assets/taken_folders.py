"""Which run refreshes a data folder: two at once would mix their tables.

A job, a schedule, a sensor, a selection and another catalog may all start runs that write into one
data folder. The first step of a run takes the folder, and keeps it until the run has ended.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import filelock
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.store.conditional import (
    ConflictError,
    Seen,
    honours_conditions,
    read_object,
    replace_object,
)
from sid_assets.core.store.places import explained, is_local, make_folder
from sid_assets.dead_runs import ENDED, end_dead_runs, note_run
from sid_assets.settings import Settings

TAKEN = ".taken_by.json"
"""The file in a data folder that names the run."""

PATIENCE = 30
"""Seconds to wait for another process that looks at the file."""


def take_folder(context: Any, settings: Settings) -> None:
    """Take the data folder for the run of a step.

    Raises:
        StoreError: Another run that has not ended has it.
    """
    own = context.run.run_id
    note_run(context.instance, own)
    root = settings.store().root
    with explained(root):
        make_folder(root)
        with _locked(root):
            while not _take(root, context, own):
                pass  # another run was faster: look at that one


def _take(root: UPath, context: Any, own: str) -> bool:
    """Write the file that names the run, unless it names another one that has not ended.

    Returns:
        Whether the file was still as it was read, so that the run has the folder.

    Raises:
        StoreError: Another run that has not ended has it.
    """
    seen = read_object(root / TAKEN)
    if _run_in(seen) == own:
        return True
    if run := running(context.instance, _run_in(seen)):
        raise StoreError(
            f"{root}: run {run.run_id} ({run.job_name}) is refreshing this data folder, and two "
            "runs at once would mix their tables. Wait until it has ended. If its process is gone, "
            "mark it as failed in the UI (Terminate, Force)."
        )
    try:
        replace_object(root / TAKEN, json.dumps({"run": own}).encode(), seen)
    except ConflictError:
        return False
    if not is_local(root) and not honours_conditions(root / TAKEN, seen):
        context.log.warning(
            f"{root}: this store does not refuse a write whose condition does not hold (If-Match), "
            "so nothing keeps two runs from writing one table. Let one run at a time write into "
            "this folder."
        )
    return True


def run_in(instance: dg.DagsterInstance, settings: Settings) -> dg.DagsterRun | None:
    """The run that refreshes the data folder now; None if there is none."""
    return running(instance, _run_in(read_object(settings.store().root / TAKEN)))


def running(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun | None:
    """The run if it has not ended; a run whose process is gone is ended first."""
    run = instance.get_run_by_id(run_id) if run_id else None
    if run and run.status not in ENDED:
        end_dead_runs(instance)
        run = instance.get_run_by_id(run_id)
    return run if run and run.status not in ENDED else None


def _run_in(seen: Seen) -> str:
    """The id of the run that a file names; "" if there is none, or it is damaged."""
    try:
        return str(json.loads(seen.content or b"{}")["run"])
    except (ValueError, KeyError, TypeError):
        return ""


@contextmanager
def _locked(root: UPath) -> Iterator[None]:
    """Let one process at a time look. On object stores the conditions of writes do that."""
    if not is_local(root):
        yield
        return
    with filelock.FileLock(Path(root.path, f"{TAKEN}.lock"), timeout=PATIENCE):
        yield
