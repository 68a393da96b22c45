"""Environment variables, including those in a file `.env` in the working folder."""

import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from dotenv.variables import Variable, parse_variables

from sid_assets.core.errors import InputError

SHELL_QUOTES = ("$'", '$"')
"""Quotation marks of bash; other readers of a setting take them for a part of its value."""


def merged_environment() -> dict[str, str]:
    """All variables. `.env` takes precedence over the environment, as in Dagster's commands.

    Raises:
        InputError: `.env` is not a text file, or a line in it cannot be parsed.
    """
    text = _env_file(Path(".env"))
    merged = dict(os.environ)
    for name, value in dotenv_values(stream=StringIO(text), interpolate=False).items():
        if value is not None:
            merged[name] = _resolved(value, merged)
    return merged


def _resolved(value: str, environment: Mapping[str, str]) -> str:
    """A value of `.env` with `${NAME}` replaced.

    A reference to a variable that is not set stays as it is: it is a misspelt name, or `Price:
    ${price}` in a text template. dotenv would make it empty.
    """
    return "".join(
        f"${{{part.name}}}"
        if isinstance(part, Variable) and part.default is None and part.name not in environment
        else part.resolve(environment)
        for part in parse_variables(value)
    )


def refuse_shell_quotes(variable: str, value: str) -> None:
    """Refuse a value that still has the quotation marks of a shell; the message does not show it.

    Raises:
        InputError: The value begins with `$'` or `$"`.
    """
    if value.startswith(SHELL_QUOTES):
        raise InputError(
            f"{variable} begins with {value[:2]}, which only a shell reads as a quotation mark; in "
            'a file .env and in the launchpad it is part of the value. Write NAME="..." in .env, '
            r"without the $; \n in a text template is a new line."
        )


def _env_file(path: Path) -> str:
    """The text of the file, checked; "" if there is none."""
    if not path.exists() or path.is_dir():
        return ""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path.resolve()}: not UTF-8 text ({error}).") from error
    # dotenv would only log a warning and skip these lines. They may contain secrets.
    for statement in parse_stream(StringIO(text)):
        if statement.error:
            skipped = statement.original.string
            blank = skipped[: len(skipped) - len(skipped.lstrip())]
            raise InputError(
                f"{path.resolve()}, line {statement.original.line + blank.count(chr(10))}: cannot "
                "be parsed. Write NAME=value, and close every quotation mark; comments begin "
                "with #."
            )
    return text
