"""Environment variables, including those in a file `.env` in the working folder."""

import os

from dotenv import dotenv_values


def merged_environment() -> dict[str, str]:
    """All variables. The environment takes precedence over `.env`."""
    lines = dotenv_values(".env").items()
    return {name: value for name, value in lines if value is not None} | dict(os.environ)
