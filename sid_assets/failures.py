"""How errors reach the person who runs the graph: as one message, without a stack trace."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import dagster as dg
from dagster._core.errors import DagsterUserCodeProcessError
from dagster_shared.error import SerializableErrorInfo
from pydantic import ValidationError

from sid_assets.core.errors import InputError, SidAssetsError
from sid_assets.core.store.places import store_trouble
from sid_assets.settings import messages_of

# Dagster shows the frames of every error, except of one that came from another process: of that, it
# shows what the error says of itself. So refusals are of this class too.


class Refusal(DagsterUserCodeProcessError, dg.Failure):
    """A failed step, for a reason that another try would not change."""

    def __init__(self, message: str) -> None:
        """Take the message that the person reads."""
        super().__init__(message, user_code_process_error_infos=[_shown(message)])
        self.allow_retries = False


class RefusedToStart(DagsterUserCodeProcessError, InputError, click.ClickException):
    """The graph cannot be loaded, or a run cannot begin, with these settings.

    Dagster's commands print click's errors as a message.
    """

    def __init__(self, message: str) -> None:
        """Take the message that the person reads."""
        super().__init__(message, user_code_process_error_infos=[_shown(message)])


def clear_failures(body: Callable[..., Any]) -> Callable[..., Any]:
    """Make an asset fail with the message of its `SidAssetsError`. A retry would not help."""
    if inspect.isgeneratorfunction(body):

        @functools.wraps(body)
        def run_generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with _refusals_as_failures():
                yield from body(*args, **kwargs)

        return run_generator

    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        with _refusals_as_failures():
            return body(*args, **kwargs)

    return run


@contextmanager
def clear_refusals_to_start() -> Iterator[None]:
    """Make the loading of the graph, or the start of a run, fail with the message of a refusal.

    In a run, Dagster has wrapped the error of a setting that the run config gives.
    """
    try:
        yield
    except SidAssetsError as error:
        raise RefusedToStart(str(error)) from None
    except dg.DagsterError as error:
        if isinstance(error.__cause__, ValidationError):
            raise RefusedToStart(messages_of(error.__cause__)) from None
        raise


@contextmanager
def _refusals_as_failures() -> Iterator[None]:
    try:
        yield
    except SidAssetsError as error:
        raise Refusal(str(error)) from None
    except Exception as error:
        if message := store_trouble(error):
            raise Refusal(message) from None
        raise


def _shown(message: str) -> SerializableErrorInfo:
    return SerializableErrorInfo(message=f"{message}\n", stack=[], cls_name="Failure")
