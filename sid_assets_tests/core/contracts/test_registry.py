"""Contracts of the registry: for each, a file that breaks it, and the finding that says so."""

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from sid_assets.core import schema
from sid_assets.core.contracts.registry import (
    check_pid2sid,
    check_sid_moves,
    check_sid_refreshes,
    check_sid_registry,
)
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets_tests.core.registry.on_disk import (
    commit,
    commit_codes,
    commit_registry,
    commit_sids,
    provenance,
)
from sid_assets_tests.core.registry.small_registry import START, codes_of_text, refreshed

CATALOG = {pid: (f"text {pid % 4}", codes_of_text(f"text {pid % 4}", 8)) for pid in range(1, 7)}
LATER = {
    pid: ("new", codes_of_text("new", 8)) if pid == 3 else item
    for pid, item in CATALOG.items()
    if pid != 5
}


@pytest.fixture
def store(tmp_path) -> Store:
    """A registry after two refreshes, in which item 3 changed and item 5 vanished."""
    store = Store(tmp_path)
    registry, _ = refreshed(None, CATALOG, 0)
    registry, _ = refreshed(registry, LATER, 1)
    commit_codes(store, LATER)
    commit_registry(store, registry)
    commit_sids(store, "pid2sid", ["pid", "sid"])
    return store


def broken(findings: dict[str, Any]) -> set[str]:
    return {name for name, finding in findings.items() if not finding.passed}


def check(store: Store, rows: list[dict[str, Any]] | None = None, most: int = 0) -> dict[str, Any]:
    """The findings of the registry, or of one with other rows."""
    registry = store.require("sid_registry")
    if rows is not None:
        table = pa.Table.from_pylist(rows, registry.schema())
        registry = commit_registry(store, table, most)
    return check_sid_registry(registry, store.require("codes"))


def rows_of(store: Store) -> list[dict[str, Any]]:
    return store.require("sid_registry").stream().read_all().to_pylist()


def test_all_hold_if_nothing_is_wrong(store):
    assert broken(check(store)) == set()
    assert set(check(store)) == {each.name for each in check_sid_registry.checks}
    rows = rows_of(store)
    assert [(row["pid"], row["left_why"]) for row in rows] == [
        *[(1, None), (2, None), (3, "text changed"), (3, None)],
        *[(4, None), (5, "removed"), (6, None)],
    ]
    registry = store.require("sid_registry")
    assert broken(check_pid2sid(store.require("pid2sid"), registry)) == set()
    moves = commit_sids(store, "sid_moves", ["pid", "codes", "sid", "extra_error"], "resolved")
    assert broken(check_sid_moves(moves, registry)) == set()


@pytest.mark.parametrize(
    ("row", "values", "expected"),
    [
        (0, {"made": "guessed"}, {"values"}),
        (0, {"made": "resolved"}, {"values"}),
        (0, {"extra_error": 0.5}, {"values"}),
        (0, {"left_at": START}, {"values", "same_items"}),
        (0, {"left_at": START, "left_why": "bored"}, {"values", "same_items"}),
        (0, {"left_at": START, "left_why": "removed"}, {"same_items"}),
        (0, {"left_why": "removed"}, {"values"}),
        (0, {"freed_at": START}, {"values"}),
        (0, {"sid": [1, 2, 8192]}, {"values"}),
        (0, {"sid": [1, 2, 3]}, {"values"}),
        (0, {"sid": [1, 2, 3], "codes": [1, 2, 3]}, {"same_codes"}),
        (2, {"left_at": None, "left_why": None}, {"one_sid"}),
        (5, {"left_at": None, "left_why": None}, {"same_items"}),
        (1, {"pid": 1}, {"same_items", "one_sid"}),
        (1, {"pid": 9}, {"rows_in_order", "same_items"}),
        (2, {"published_at": START + dt.timedelta(9)}, {"rows_in_order"}),
    ],
    ids=lambda value: "-".join(map(str, sorted(value))) if isinstance(value, set) else str(value),
)
def test_a_row_that_is_wrong(store, row, values, expected):
    rows = rows_of(store)
    rows[row] |= values
    assert broken(check(store, rows)) >= expected
    assert broken(check(store, rows)) - expected <= {
        *("same_codes", "rows_in_order", "one_sid", "same_items")
    }


def test_a_row_without_three_codes_is_reported_alone(store):
    rows = rows_of(store)
    rows[1]["sid"] = [1, 2]
    findings = check(store, rows)
    assert broken(findings) == {"values"}
    assert "(1 rows; first ids: 2)" in findings["values"].description


def test_a_sid_that_repeats(store):
    rows = rows_of(store)
    rows[3]["sid"] = rows[3]["codes"] = rows[2]["sid"]
    assert "rows_in_order" in broken(check(store, rows))


def test_generations_that_are_not_together(store):
    rows = rows_of(store)
    rows[1]["generation"] = "two"
    assert "rows_in_order" in broken(check(store, rows))


def test_more_items_than_may_have_a_sid(store):
    findings = check(store, rows_of(store), most=1)
    assert broken(findings) == {"room"}
    assert findings["room"].metadata == {"items_over": 1, "sids_over": 1}
    assert broken(check(store, rows_of(store), most=2)) == set()


def changed(version: Version, store: Store, **values: Any) -> Version:
    """A version with other values in the first row."""
    rows = version.stream().read_all().to_pylist()
    rows[0] |= values
    table = pa.Table.from_pylist(rows, version.schema())
    return commit(store, version.provenance, table)


def test_a_sid_that_the_registry_does_not_say(store):
    version = changed(store.require("pid2sid"), store, sid=[7, 7, 7])
    findings = check_pid2sid(version, store.require("sid_registry"))
    assert broken(findings) == {"equal_to_registry"}
    assert findings["equal_to_registry"].metadata == {"rows_offending": 1, "first_ids": "1"}


def test_sids_of_an_earlier_registry_say_so(store):
    rows = [row for row in rows_of(store) if row["pid"] != 6]
    table = pa.Table.from_pylist(rows, store.require("sid_registry").schema())
    registry = commit_registry(store, table)
    findings = check_pid2sid(store.require("pid2sid"), registry)
    assert broken(findings) == {"equal_to_registry"}
    said = findings["equal_to_registry"].description
    assert "The next run makes it from sid_registry. 5 rows; sid_registry says 4" in said


@pytest.mark.parametrize("values", [{"extra_error": 0.5}, {"sid": [1, 2, 4]}, {"pid": 2}], ids=str)
def test_moves_that_the_registry_does_not_say(store, values):
    rows = rows_of(store)
    rows[0] |= {"sid": [1, 2, 3], "made": "resolved", "extra_error": 0.25}
    registry = commit_registry(store, pa.Table.from_pylist(rows, schema.sid_registry("int")))
    moves = commit_sids(store, "sid_moves", ["pid", "codes", "sid", "extra_error"], "resolved")
    assert moves.rows == 1
    assert broken(check_sid_moves(moves, registry)) == set()
    other = changed(moves, store, **values)
    assert broken(check_sid_moves(other, registry)) == {"equal_to_registry"}


def refresh_row(number: int) -> dict[str, Any]:
    counts = dict.fromkeys(schema.SID_REFRESHES.names[4:], number)
    words = {"generation": "one", "tokenizer": "t", "registry": "r"}
    return {"at": START + dt.timedelta(days=number), **words, **counts}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([0, 1], set()), ([1, 0], {"times"}), ([0], {"last_refresh"}), ([], {"last_refresh"})],
    ids=str,
)
def test_the_rows_of_refreshes(store, numbers, expected):
    rows = pa.Table.from_pylist([refresh_row(number) for number in numbers], schema.SID_REFRESHES)
    version = store.commit(
        draft_rows(store, "sid_refreshes", rows.to_reader(), Provenance("sid_refreshes"))
    )
    remembered = [{"at": (START + dt.timedelta(days=1)).isoformat()}]
    made = provenance("sid_registry", refreshes=remembered)
    registry = commit(store, made, store.require("sid_registry").stream().read_all())
    assert broken(check_sid_refreshes(version, registry)) == expected
