"""Environment variables, including those in a file `.env` in the working folder."""

import os
from pathlib import Path

from dotenv import dotenv_values

from sid_assets.core.errors import InputError


def merged_environment() -> dict[str, str]:
    """All variables. The environment takes precedence over `.env`.

    Raises:
        InputError: `.env` is not a text file.
    """
    try:
        lines = dotenv_values(".env").items()
    except UnicodeDecodeError as error:
        raise InputError(f"{Path('.env').resolve()}: not UTF-8 text ({error}).") from error
    return {name: value for name, value in lines if value is not None} | dict(os.environ)
