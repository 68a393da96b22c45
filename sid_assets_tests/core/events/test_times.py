"""Times of every form become microseconds."""

import duckdb
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.events.times import moment, time_sql

NOON = 1_711_882_800_000_000
"""2024-03-31 11:00 UTC: 13:00 in Berlin, on the day on which summer time begins."""


def microseconds(time: str | int, form: str = "", timezone: str = "UTC") -> int | None:
    """A time as microseconds."""
    connection = duckdb.connect()
    kind = "BIGINT" if isinstance(time, int) else "VARCHAR"
    connection.execute(f"CREATE TABLE raw (file VARCHAR, row BIGINT, time {kind})")
    connection.execute("INSERT INTO raw VALUES ('a.csv', 1, $time)", {"time": time})
    expression = time_sql(connection, form, timezone, "timestamp")
    [(found,)] = connection.execute(f"SELECT {expression} FROM raw").fetchall()  # noqa: S608
    return found


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("form", ["", "named"])
def test_numbers_of_each_unit(unit: str, form: str) -> None:
    number = NOON * 1000 // {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[unit]
    named = unit if form else ""
    assert microseconds(number, named) == microseconds(str(number), named) == NOON


def test_fractions_and_exponents_are_not_cut() -> None:
    assert microseconds("1711882800.25") == NOON + 250_000
    assert microseconds("1.7118828e9") == NOON


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2024-03-31 13:00:00", ""),
        ("2024-03-31T13:00", ""),
        ("2024-03-31T11:00:00Z", ""),
        ("2024-03-31 20:00:00+09:00", ""),
        ("31.03.2024 13h", "%d.%m.%Y %Hh"),
    ],
)
def test_text_is_of_the_zone_of_the_setting_unless_it_names_one(text: str, form: str) -> None:
    assert microseconds(text, form, "Europe/Berlin") == NOON


def test_integers_may_be_days_of_a_format() -> None:
    assert microseconds(20240401, "%Y%m%d", "Europe/Berlin") == NOON + 11 * 3_600_000_000


@pytest.mark.parametrize("time", [10**17, "soon", "1e300", ""])
def test_what_is_no_time_is_null(time: str | int) -> None:
    assert microseconds(time, "s") is None


def test_a_setting_names_a_moment() -> None:
    assert moment("2024-03-31T13:00", "Europe/Berlin", "X") == NOON
    assert moment("2024-03-31T11:00+00:00", "Europe/Berlin", "X") == NOON
    with pytest.raises(InputError, match="X=soon: no time"):
        moment("soon", "UTC", "X")
