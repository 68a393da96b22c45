"""How refusals reach the person who runs the graph: one message, no stack of library frames."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import dagster as dg

from sid_assets.core.errors import SidAssetsError

P = ParamSpec("P")
R = TypeVar("R")


def clear_failures(body: Callable[P, R]) -> Callable[P, R]:
    """Let an asset end with the message of what it refused, which no retry would mend."""

    @functools.wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return body(*args, **kwargs)
        except SidAssetsError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from None

    return run
