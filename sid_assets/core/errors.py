"""Errors for the person who reads them: what is wrong, where, how many rows, what to do."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

IDS_SHOWN = 5


class SidAssetsError(Exception):
    """An error of this package, with a message that says what to do about it."""


class InputError(SidAssetsError):
    """An invalid input: a catalog, interactions, vectors, a checkpoint or a setting."""


class StoreError(SidAssetsError):
    """A table that cannot be read, written or committed."""


def offending_rows(
    problem: str,
    *,
    source: Any,
    column: str,
    rows: int,
    ids: Iterable[Any] = (),
    remedy: str,
) -> InputError:
    """The error for invalid rows.

    Args:
        problem: What is wrong with the rows, e.g. "the text is empty".
        source: The file, folder or table that contains them.
        column: The column with the problem.
        rows: The number of rows.
        ids: Their ids, in the order of the source; the first five are shown.
        remedy: What the reader can do.
    """
    shown = ", ".join(repr(pid) for pid in islice(ids, IDS_SHOWN))
    first = f" First ids: {shown}." if shown else ""
    plural = "row" if rows == 1 else "rows"
    return InputError(
        f"{source}: column {column!r}: {problem} ({rows:,} {plural}).{first} {remedy}"
    )


def did_you_mean(names: Iterable[str], known: Sequence[str]) -> str:
    """A question with the most similar known name for each unknown one, and a space; else ""."""
    found = [
        alike[0]
        for name in names
        if (alike := get_close_matches(name, known, n=1) or _beginnings(name, known))
    ]
    return f"Did you mean {', '.join(map(repr, dict.fromkeys(found)))}? " if found else ""


def _beginnings(name: str, known: Sequence[str]) -> list[str]:
    """The known names that a name begins with, the longest first."""
    return sorted((other for other in known if other and name.startswith(other)), key=len)[::-1]
