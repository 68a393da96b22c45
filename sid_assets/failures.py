"""How errors reach the person who runs the graph: as one message, without a stack trace."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from sid_assets.core.errors import SidAssetsError


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
def _refusals_as_failures() -> Iterator[None]:
    try:
        yield
    except SidAssetsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
