"""What a contract is made of: its checks, and what each of them found.

A contract is a function that reads a table once and gives a finding for each of its checks. The
checks are declared beside it, with `contract`.
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
    """One thing that must hold of a table.

    Attributes:
        name: What the UI calls it.
        sentence: What holds where it passes.
        warns: Whether a failure only warns. The failure of any other check is an error, and stops
            what is downstream.
    """

    name: str
    sentence: str
    warns: bool = False


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        passed: Whether it holds.
        description: What was found, in words.
        metadata: Counts and first ids.
    """

    passed: bool
    description: str
    metadata: dict[str, Any] = field(default_factory=dict)


Findings = dict[str, Finding]
"""By the name of the check."""


class Contract(Generic[Given]):
    """A function that reads a table, and the checks that it gives findings for.

    Attributes:
        checks: In the order in which they are declared.
    """

    def __init__(self, checks: tuple[Check, ...], find: Callable[Given, Findings]) -> None:
        """Bind checks to a function; `contract` does the same as a decorator."""
        self.checks = checks
        self._find = find
        update_wrapper(self, find)

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Findings:
        """What the function finds.

        A finding is missing where another check has failed without which it cannot be looked at.

        Raises:
            LookupError: There is a finding of a check that is not declared.
        """
        findings = self._find(*args, **kwargs)
        if unknown := findings.keys() - {check.name for check in self.checks}:
            raise LookupError(
                f"{', '.join(sorted(unknown))}: found, but no check of the contract. "
                "Declare it beside the function."
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
        """Count the rows of a batch that are bad: bool, shape (n,)."""
        places = np.flatnonzero(bad)
        self.rows += places.size
        for place in places[: IDS_SHOWN - len(self.ids)]:
            self.ids.append(pids[int(place)].as_py())

    def finding(self, holds: str, broken: str) -> Finding:
        """The finding: `holds` in words where no row is bad, else `broken`, rows and first ids."""
        if not self.rows:
            return Finding(True, holds, {"rows_offending": 0})
        first = ", ".join(map(repr, self.ids))
        return Finding(
            False,
            f"{broken} ({self.rows:,} rows; first ids: {first})",
            {"rows_offending": self.rows, "first_ids": first},
        )
