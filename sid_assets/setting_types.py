"""Types of settings whose values have a form of their own; an error says what a value must be."""

import re
from typing import Annotated
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import AfterValidator

DEVICE = re.compile(r"[a-z]+(:\d{1,3})?")
URL = re.compile(r"https?://[^/\s@]+[^\s@]*")


def _cron(value: str) -> str:
    try:
        dg.ScheduleDefinition("check", cron_schedule=value, job_name="check")
    except dg.DagsterInvalidDefinitionError:
        raise ValueError("a cron schedule, such as 0 3 * * *") from None
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, KeyError, ValueError):  # a folder of the database; not in it; a path
        raise ValueError("a time zone, such as UTC or Asia/Shanghai") from None
    return value


def _device(value: str) -> str:
    if value and not DEVICE.fullmatch(value):
        raise ValueError("a device of torch, such as cpu, cuda or cuda:1")
    return value


def _server_url(value: str) -> str:
    """Settings are stored with runs, so a password must not be in one."""
    if "@" in value:
        raise ValueError(
            "a URL without a user name and a password, which would be stored with every run; the "
            "server's key is read from OPENAI_API_KEY"
        )
    if value and not URL.fullmatch(value):
        raise ValueError(
            "a URL that begins with http:// or https://, such as http://localhost:8000/v1"
        )
    return value


Cron = Annotated[str, AfterValidator(_cron)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Device = Annotated[str, AfterValidator(_device)]
"""A device as torch writes it; whether this machine has it shows when torch uses it."""

ServerUrl = Annotated[str, AfterValidator(_server_url)]
