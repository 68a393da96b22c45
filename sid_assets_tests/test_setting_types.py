"""Settings whose values have a form of their own: schedules, time zones, devices, URLs."""

import re

import pytest

from sid_assets.core.errors import InputError
from sid_assets.settings import Settings, variable

REFUSED = [
    ("device", "cuda:x", "must be a device of torch, such as cpu, cuda or cuda:1"),
    ("device", "GPU 0", "must be a device of torch, such as cpu, cuda or cuda:1"),
    ("schedule", "at noon", "must be a cron schedule, such as 0 3 * * *"),
    ("schedule", "61 3 * * *", "must be a cron schedule, such as 0 3 * * *"),
    ("timezone", "Mars/Olympus", "must be a time zone, such as UTC or Asia/Shanghai"),
    ("timezone", "../UTC", "must be a time zone, such as UTC or Asia/Shanghai"),
    ("timezone", "Asia", "must be a time zone, such as UTC or Asia/Shanghai"),
    ("embedding_url", "localhost:8000/v1", "must be a URL that begins with http:// or https://"),
    ("embedding_url", "http:///v1", "must be a URL that begins with http:// or https://"),
    ("embedding_url", "file:///v1", "must be a URL that begins with http:// or https://"),
]

ALLOWED = [
    ("device", "cuda:1"),
    ("device", "mps"),
    ("schedule", "*/15 8-18 * * MON-FRI"),
    ("schedule", "@daily"),
    ("timezone", "Asia/Kolkata"),
    ("embedding_url", "http://127.0.0.1:8000/v1"),
    ("embedding_url", "https://[::1]:8000/v1"),
    ("embedding_url", "https://models.example.com/openai/v1?version=2"),
]


@pytest.mark.parametrize(("name", "value", "words"), REFUSED)
def test_a_value_of_another_form_is_refused_with_an_example(name, value, words):
    with pytest.raises(InputError, match=re.escape(f"{variable(name)}={value}: {words}")):
        Settings.from_environment({variable(name): value})


@pytest.mark.parametrize(("name", "value"), ALLOWED)
def test_a_value_of_the_form_stays_as_it_is(name, value):
    assert getattr(Settings.from_environment({variable(name): value}), name) == value


def test_a_password_in_the_servers_url_is_refused_and_not_shown():
    """Settings are stored with every run."""
    with pytest.raises(InputError, match=r"without a user name and a password") as refused:
        Settings(embedding_url="http://me:hush@localhost/v1")
    assert "hush" not in str(refused.value)
