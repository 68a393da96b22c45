"""Conditions of labels are comparisons joined by and/or, and nothing else."""

import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.events.labels import parse_labels


def test_conditions_are_read_and_and_binds_more_tightly_than_or() -> None:
    found = parse_labels("like: a >= 4; longview: a = 1 or b == 'x; ''y' and \"c d\" != -2.5")
    assert list(found) == ["longview", "like"]
    row = {"a": "0", "b": "x; 'y", "c d": "3"}
    assert found["longview"].holds(row)
    assert not found["longview"].holds({**row, "c d": "-2.5"})
    assert found["longview"].holds({**row, "a": "1", "b": None})
    assert not found["like"].holds(row)
    assert found["like"].holds({**row, "a": "4.0"})


def test_no_labels_are_no_conditions() -> None:
    assert parse_labels(" ; ") == {}


@pytest.mark.parametrize(
    "text",
    [
        "love: a > 1",
        "like a > 1",
        "like: a > 1; like: b > 1",
        "like:",
        "like: a",
        "like: a > b",
        "like: a > 1 and",
        "like: a > 1 b > 2",
        "like: (a > 1)",
        "like: a + 1 > 2",
        "like: not a > 1",
        "like: a > 1 -- x",
        "like: a in (1, 2)",
        "like: a == 'x",
        "like: sleep(1) > 0",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="SID_EVENT_LABELS"):
        parse_labels(text)
