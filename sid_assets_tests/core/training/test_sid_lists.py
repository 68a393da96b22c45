"""Lists of SIDs: pids without a SID are dropped, and the others keep their order."""

import numpy as np

from sid_assets.core.sids.spelling import fragment_numbers
from sid_assets.core.training.sid_lists import SidLists, sids_where
from sid_assets_tests.core.training.one_file import sid


def lists(*rows: list[int]) -> SidLists:
    """Rows of SIDs (code, 0, 0)."""
    codes = np.array([[code, 0, 0] for row in rows for code in row]).reshape(-1, 3)
    return SidLists(fragment_numbers(codes), np.cumsum([0, *map(len, rows)]))


def test_texts_are_joined_without_a_separator():
    made = lists([1, 2], [], [3])
    assert made.text().to_pylist() == [sid(1) + sid(2), None, sid(3)]
    assert made.filled().tolist() == [True, False, True]


def test_contents_are_equal_where_the_texts_are():
    first, empty, again, other = lists([1, 2], [], [1, 2], [2, 1]).content().to_pylist()
    assert first == again != other
    assert (len(first), empty) == (12, b"")


def test_rows_are_split_into_equal_parts():
    parts = lists([1], [2, 3], [], [4]).split(2)
    assert [part.text().to_pylist() for part in parts] == [
        [sid(1), sid(2) + sid(3)],
        [None, sid(4)],
    ]
    assert [len(part.filled()) for part in SidLists.empty(0).split(3)] == [0, 0, 0]


def test_pids_without_a_sid_are_dropped():
    found = np.array([True, False, False, True, True])
    fragments = fragment_numbers(np.array([[7, 0, 0], [8, 0, 0], [9, 0, 0]]))
    made = sids_where(found, fragments, np.array([0, 2, 3, 5]))
    assert made.text().to_pylist() == [sid(7), None, sid(8) + sid(9)]


def test_rows_without_sids():
    assert SidLists.empty(2).text().to_pylist() == [None, None]
