"""The rows after a refresh: what changes in a row, and rows that are taken up again."""

import numpy as np
import pyarrow as pa

from sid_assets.core import schema
from sid_assets.core.registry.apply import NewSids, apply
from sid_assets.core.registry.decide import decide
from sid_assets.core.schema import TIME
from sid_assets_tests.core.registry.registry_model import rows_of
from sid_assets_tests.core.registry.small_registry import START, hash_of, items_of
from sid_assets_tests.core.registry.test_decide import A, B, C, row

NOW = pa.scalar(START.replace(day=9), TIME)


def applied(rows, catalog, sids=None, *, keep=False, error=0.0):
    """The rows of item 1 after a refresh that gives these SIDs, resolved ones if any are given."""
    table = pa.Table.from_pylist(rows, schema.sid_registry("int"))
    decision = decide(items_of(catalog), table, keep=keep)
    given = NewSids.of_codes(decision.codes[decision.new])
    if sids is not None:
        count = len(sids)
        given = NewSids(np.array(sids), np.ones(count, bool), np.full(count, error, np.float32))
    return apply(decision, given, "one", NOW)


def test_a_resolved_sid_says_what_it_costs():
    found = applied([], {1: ("a", A)}, [B], error=0.25)
    (made,) = found.rows.to_pylist()
    assert (made["sid"], made["codes"]) == ([2, 2, 2], [1, 1, 1])
    assert (made["made"], made["extra_error"]) == ("resolved", 0.25)
    assert made["published_at"] == NOW.as_py()
    assert (found.owned.tolist(), found.new.tolist()) == ([True], [True])


def test_a_new_sid_that_the_item_had_before_is_the_same_row_again():
    found = applied([row(B, "b", left=1, freed=2)], {1: ("a", A)}, [B], error=0.5)
    (made,) = found.rows.to_pylist()
    assert (made["left_at"], made["left_why"], made["freed_at"]) == (None, None, None)
    assert (made["made"], made["extra_error"]) == ("resolved", 0.5)
    assert (made["published_at"], made["text_hash"]) == (START, hash_of("a"))
    assert found.new.tolist() == [True]


def test_a_changed_text_leaves_its_row_and_adds_one():
    found = applied([row(A, "a")], {1: ("new", B)})
    before, now = rows_of(found.rows)[1]
    assert (before.sid, before.why, before.left) == (A, "text changed", 8)
    assert (now.sid, now.codes, now.made) == (B, B, "quantised")
    assert (found.owned.tolist(), found.new.tolist()) == ([False, True], [False, True])


def test_an_item_that_keeps_its_sid_says_so_until_its_codes_are_the_sid():
    kept = applied([row(A, "a")], {1: ("new", B)}, keep=True).rows
    (made,) = rows_of(kept)[1]
    assert (made.sid, made.codes, made.made) == (A, B, "kept")
    again = applied(kept.to_pylist(), {1: ("newer", A)}, keep=True).rows
    (made,) = rows_of(again)[1]
    assert (made.sid, made.codes, made.made) == (A, A, "quantised")


def test_an_unchanged_text_keeps_the_codes_it_was_published_with():
    (made,) = rows_of(applied([row(A, "a")], {1: ("a", C)}).rows)[1]
    assert (made.sid, made.codes, made.made) == (A, A, "quantised")


def test_an_unknown_text_takes_the_codes_of_today():
    (made,) = rows_of(applied([row(A, None)], {1: ("a", C)}).rows)[1]
    assert (made.sid, made.codes, made.made, made.text) == (A, C, "kept", hash_of("a"))
