"""A logger for a terminal: the time, the asset, and the message of each line.

Dagster's own console logger adds the date, the job and the id of the run, which are the same in
every line. A run uses this one if its config says `loggers: {short: {}}`; `sid-assets demo` does.
"""

import logging
from typing import Any

import dagster as dg

from sid_assets.console import Console, console

NAME = "short"
"""The name of the logger in a run's config."""


class ConsoleHandler(logging.Handler):
    """Prints what a step says, and of Dagster's own events only warnings and errors."""

    def __init__(self, target: Console) -> None:
        """Take the console to print to."""
        super().__init__()
        self._console = target

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record of a run, if it is for a person."""
        meta = vars(record)["dagster_meta"]
        event, step = meta["dagster_event"], meta["step_key"] or ""
        if event and event.event_type_value == dg.DagsterEventType.STEP_START.value:
            self._console.work_on(step)
        if record.levelno >= (logging.WARNING if event else logging.INFO):
            level = f"{record.levelname}: " if record.levelno >= logging.WARNING else ""
            message = meta["orig_message"].removeprefix(f"{step}: ")
            self._console.say(step, "\n".join([level + message, *_error(event, record)]))


def _error(event: Any, record: logging.LogRecord) -> list[str]:
    """The error of a failed step or run, as text; [] if there is none."""
    error = getattr(event.event_specific_data, "error", None) if event else None
    texts = [error.to_string().strip()] if error else []
    if record.exc_info:
        texts.append(logging.Formatter().formatException(record.exc_info))
    return texts


def _to_console(_: dg.InitLoggerContext) -> logging.Logger:
    # A logger of its own: Python's `getLogger` does not know it, and no other logger changes.
    logger = logging.Logger("sid_assets.short_log", logging.DEBUG)
    logger.addHandler(ConsoleHandler(console))
    return logger


short_log = dg.LoggerDefinition(
    _to_console, description="Short lines for a terminal: time, asset, message."
)
"""Logs to the console of this process."""
