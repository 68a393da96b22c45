"""The history of refreshes on the report page."""

import datetime as dt

import pyarrow as pa
import pytest

from sid_assets.core.quality.history import MOST_SHOWN, History
from sid_assets.core.schema import SID_REFRESHES

START = dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC)


def refreshes(count: int) -> pa.Table:
    rows = [
        {
            "at": START + dt.timedelta(days=day),
            **{"generation": "g1", "tokenizer": "t", "registry": "r", "items": 1000 + day},
            **{"new": day, "changed": 2, "removed": 0, "returned": 4, "resolved": 5},
            **{"distinct_sids": 900, "shared_sids": 7},
        }
        for day in range(count)
    ]
    return pa.Table.from_pylist(rows, SID_REFRESHES)


@pytest.mark.parametrize("count", [0, 1])
def test_there_is_no_history_of_fewer_than_two_refreshes(count):
    assert History.of(refreshes(count)) is None


def test_each_refresh_is_a_row_and_a_place_of_the_picture():
    history = History.of(refreshes(2))
    assert history is not None
    section = history.section()
    assert section.rows == (
        ("1: 2026-03-01 12:30 UTC", "1,000", "0", "2", "0", "4", "5", "7", "g1"),
        ("2: 2026-03-02 12:30 UTC", "1,001", "1", "2", "0", "4", "5", "7", "g1"),
    )
    assert {len(row) for row in section.rows} == {len(section.header)}
    assert section.bars.places == ("refresh 1", "refresh 2")
    assert section.bars.series == {"new": [None, 1], "removed": [None, None], "shared SIDs": [7, 7]}
    assert history.figures() == {}
    assert "latest" not in section.paragraphs[0]


def test_of_many_refreshes_the_latest_are_shown_with_their_numbers():
    history = History.of(refreshes(MOST_SHOWN + 5))
    assert history is not None
    section = history.section()
    assert len(section.rows) == MOST_SHOWN
    assert section.rows[0][0].startswith("6: 2026-03-06")
    assert section.bars.places[-1] == f"refresh {MOST_SHOWN + 5}"
    assert f"The {MOST_SHOWN} latest are shown." in section.paragraphs[0]
