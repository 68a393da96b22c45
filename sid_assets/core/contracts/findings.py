"""The parts of a contract: its checks, and the finding of each check.

A contract is a function that reads a table once and returns a finding for each of its checks. The
decorator `contract` declares the checks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import Any, Generic, ParamSpec

import numpy as np
import pyarrow as pa

from sid_assets.core.errors import IDS_SHOWN

Given = ParamSpec("Given")


@dataclass(frozen=True)
class Check:
    """One condition that a table must meet.

    Attributes:
        name: Its name in the UI.
        sentence: The condition in words.
        warns: Whether a failure is only a warning. Otherwise it is an error, and blocks
            everything downstream.
    """

    name: str
    sentence: str
    warns: bool = False


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        passed: Whether the condition holds.
        description: What was found, in words.
        metadata: Counts and first ids.
    """

    passed: bool
    description: str
    metadata: dict[str, Any] = field(default_factory=dict)


Findings = dict[str, Finding]
"""Findings by check name."""


class Contract(Generic[Given]):
    """A function that reads a table, and the checks that it returns findings for.

    Attributes:
        checks: The checks, in order of declaration.
    """

    def __init__(self, checks: tuple[Check, ...], find: Callable[Given, Findings]) -> None:
        """Bind checks to a function; `contract` does the same as a decorator."""
        self.checks = checks
        self._find = find
        update_wrapper(self, find)

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Findings:
        """Return the findings of the function.

        A finding is missing if a check that it depends on has failed.

        Raises:
            LookupError: A finding belongs to no declared check.
        """
        findings = self._find(*args, **kwargs)
        if unknown := findings.keys() - {check.name for check in self.checks}:
            raise LookupError(
                f"{', '.join(sorted(unknown))}: a finding of an undeclared check. "
                "Declare the check with @contract."
            )
        return findings


def contract(*checks: Check) -> Callable[[Callable[Given, Findings]], Contract[Given]]:
    """Declare the checks of the function below."""
    return lambda find: Contract(checks, find)


@dataclass
class Offenders:
    """Counts the rows that break a contract, and keeps the first five ids."""

    rows: int = 0
    ids: list[Any] = field(default_factory=list)

    def add(self, bad: np.ndarray, pids: pa.Array) -> None:
        """Count the bad rows of a batch; `bad` is bool, shape (n,)."""
        places = np.flatnonzero(bad)
        self.rows += places.size
        for place in places[: IDS_SHOWN - len(self.ids)]:
            self.ids.append(pids[int(place)].as_py())

    def extend(self, later: "Offenders") -> None:
        """Count those of later rows, too."""
        self.rows += later.rows
        self.ids += later.ids[: IDS_SHOWN - len(self.ids)]

    def finding(self, holds: str, broken: str) -> Finding:
        """Describe as `holds` if no row is bad, else as `broken` with row count and first ids."""
        if not self.rows:
            return Finding(True, holds, {"rows_offending": 0})
        first = ", ".join(map(repr, self.ids))
        return Finding(
            False,
            f"{broken} ({self.rows:,} rows; first ids: {first})",
            {"rows_offending": self.rows, "first_ids": first},
        )
