"""Environment variables, including those in a file `.env` in the working folder."""

import os
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from sid_assets.core.errors import InputError


def merged_environment() -> dict[str, str]:
    """All variables. `.env` takes precedence over the environment, as in Dagster's commands.

    Raises:
        InputError: `.env` is not a text file, or a line in it cannot be parsed.
    """
    text = _env_file(Path(".env"))
    lines = dotenv_values(stream=StringIO(text)).items()
    return {**os.environ, **{name: value for name, value in lines if value is not None}}


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
