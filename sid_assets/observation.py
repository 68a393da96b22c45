"""Progress that is visible while an asset is being made."""

import time
from collections.abc import Callable
from typing import Protocol

import dagster as dg

SECONDS_BETWEEN_OBSERVATIONS = 30.0


class Progress(Protocol):
    """The progress of a run: the rows done, and a line for the log."""

    rows: int

    def describe(self) -> str:
        """One line for the log."""
        ...


def observer(context: dg.AssetExecutionContext) -> Callable[[Progress], None]:
    """Log and record progress, at most twice a minute.

    An observation is visible at once, survives a failure, and is plotted over time.
    """
    last = time.monotonic()

    def on_progress(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last < SECONDS_BETWEEN_OBSERVATIONS:
            return
        last = time.monotonic()
        context.log.info(progress.describe())
        context.log_event(
            dg.AssetObservation(context.asset_key, metadata={"rows_done": progress.rows})
        )

    return on_progress
