"""Each rule by itself: which row an item has from now on."""

import datetime as dt

import pyarrow as pa
import pytest

from sid_assets.core import schema
from sid_assets.core.registry.decide import NOBODY, decide
from sid_assets_tests.core.registry.small_registry import START, hash_of, items_of

A, B, C = (1, 1, 1), (2, 2, 2), (3, 3, 3)


def row(sid, text, *, codes=None, left=None, freed=None) -> dict:
    """A row of item 1; `left` and `freed` are days."""
    return {
        "generation": "one",
        "pid": 1,
        "sid": list(sid),
        "codes": list(codes or sid),
        "text_hash": hash_of(text) if text else None,
        "made": "quantised",
        "published_at": START,
        "left_at": left and START + dt.timedelta(days=left),
        "left_why": left and "removed",
        "freed_at": freed and START + dt.timedelta(days=freed),
    }


@pytest.mark.parametrize(
    ("rows", "text", "codes", "expected"),
    [
        ([row(A, "a")], "a", B, 0),
        ([row(A, None)], "a", B, 0),
        ([row(A, "a")], "new", A, 0),
        ([row(A, "a", codes=B)], "new", B, 0),
        ([row(A, "a", codes=B)], "new", A, 0),
        ([row(A, "a")], "new", B, NOBODY),
        ([row(A, "a", left=1), row(B, "b")], "a", A, 0),
        ([row(A, "a", left=1), row(B, "b")], "a", B, 1),
        ([row(A, None, left=1)], "a", B, 0),
        ([row(A, "a", left=1)], "new", A, 0),
        ([row(A, "a", left=2), row(B, "b", codes=A, left=1)], "new", A, 0),
        ([row(A, "a", left=1), row(B, "b", codes=A, left=2)], "new", A, 1),
        ([row(A, "a", left=1, freed=2)], "a", A, NOBODY),
        ([], "a", A, NOBODY),
    ],
    ids=[
        *(
            "same-text",
            "unknown-text",
            "same-codes",
            "codes-of-a-resolved-row",
            "codes-are-the-sid",
        ),
        *("changed", "text-of-a-row-that-was-left", "live-codes-before-text-that-was-left"),
        *("unknown-text-of-a-row-that-was-left", "codes-of-a-row-that-was-left"),
        *("the-row-left-last", "the-row-left-last-by-its-codes", "freed", "nothing"),
    ],
)
def test_the_first_rule_that_fits_decides(rows, text, codes, expected):
    table = pa.Table.from_pylist(rows, schema.sid_registry("int"))
    found = decide(items_of({1: (text, codes)}), table)
    assert found.row.tolist() == [expected]
    assert found.new.tolist() == ([0] if expected == NOBODY else [])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(A, "a")], 0),
        ([row(A, "a", left=1), row(B, "b")], 1),
        ([row(A, "a", left=2), row(B, "b", left=1)], 0),
        ([row(A, "a", left=1, freed=2)], NOBODY),
    ],
    ids=["live", "live-before-left", "left-last", "freed"],
)
def test_an_item_that_keeps_its_sid_takes_the_live_row_or_the_one_it_left_last(rows, expected):
    table = pa.Table.from_pylist(rows, schema.sid_registry("int"))
    assert decide(items_of({1: ("new", C)}), table, keep=True).row.tolist() == [expected]
    assert decide(items_of({1: ("new", C)}), table).row.tolist() == [NOBODY]


def test_a_row_whose_item_is_gone_is_nobodys():
    table = pa.Table.from_pylist([row(A, "a")], schema.sid_registry("int"))
    assert decide(items_of({2: ("a", A)}), table).item.tolist() == [NOBODY]
    assert decide(items_of({}), table).item.tolist() == [NOBODY]
