"""Two versions of the registry, compared: what a refresh may do, and what it must not."""

import datetime as dt

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sid_assets.core import schema
from sid_assets.core.contracts.unmoved import check_unmoved
from sid_assets.core.store.store import Store
from sid_assets_tests.core.registry.on_disk import commit, provenance
from sid_assets_tests.core.registry.small_registry import START, codes_of_text, refreshed

TEXTS = st.sampled_from(["a", "b", "c"])
CATALOGS = st.dictionaries(st.integers(1, 9), TEXTS, min_size=1, max_size=9)


def catalog(texts):
    return {pid: (text, codes_of_text(text, 8)) for pid, text in texts.items()}


def found(folder, *registries: pa.Table):
    """The finding for the last of some registries, each committed after the other."""
    store = Store(folder)
    *_, version = [commit(store, provenance("sid_registry"), rows) for rows in registries]
    return check_unmoved(version, version.previous())["unmoved"]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=CATALOGS, second=CATALOGS, keep=st.booleans())
def test_no_refresh_moves_a_published_sid(tmp_path_factory, first, second, keep):
    one, _ = refreshed(None, catalog(first), 0)
    two, _ = refreshed(one, catalog(second), 1, keep=keep)
    finding = found(tmp_path_factory.mktemp("registry"), one, two)
    assert finding.passed, finding.description
    assert finding.description == f"all {len(one):,} published SIDs are where they were"


def test_nothing_was_published_before(tmp_path):
    registry, _ = refreshed(None, catalog({1: "a"}), 0)
    assert found(tmp_path, registry).description == "no SIDs were published before"


def edited(rows: pa.Table, number: int, **values) -> pa.Table:
    """The rows with other values in one of them; without it if there are none."""
    edited = rows.to_pylist()
    if values:
        edited[number] |= values
    else:
        del edited[number]
    return pa.Table.from_pylist(edited, rows.schema)


LEFT = START + dt.timedelta(days=3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "a published SID vanished"),
        ({"sid": [7, 7, 7]}, "a published SID vanished"),
        ({"pid": 4}, "a published SID vanished"),
        ({"generation": "two"}, "a published SID vanished"),
        ({"published_at": LEFT}, "a SID has another time of publication"),
        ({"left_at": LEFT}, "an item with unchanged text lost its SID"),
        ({"left_at": LEFT, "left_why": "text changed"}, "an item with unchanged text lost its SID"),
    ],
    ids=str,
)
def test_a_published_sid_that_moved_is_named(tmp_path, values, said):
    registry, _ = refreshed(None, catalog({1: "a", 2: "b", 3: "c"}), 0)
    finding = found(tmp_path, registry, edited(registry, 2, **values))
    assert finding.description == f"{said} (1 rows; first ids: 3)"


@pytest.mark.parametrize(
    ("text", "why", "passes"),
    [
        ("new", "text changed", True),
        ("c", "text changed", False),
        ("new", "removed", False),
        (None, "removed", True),
    ],
    ids=["text-changed", "text-unchanged", "not-removed", "removed"],
)
def test_an_item_may_leave_its_sid_for_a_reason(tmp_path, text, why, passes):
    texts = {1: "a", 2: "b", 3: "c"}
    before, _ = refreshed(None, catalog(texts), 0)
    left = edited(before, 2, left_at=LEFT, left_why=why)
    if text:
        fresh, _ = refreshed(None, {3: (text, (7, 7, 6))}, 4)
        left = pa.concat_tables([left, fresh])
    assert found(tmp_path, before, left).passed == passes


def test_rows_of_other_generations_are_compared_too(tmp_path):
    one, _ = refreshed(None, catalog({1: "a", 2: "b"}), 0)
    rows = [{**row, "generation": "two"} for row in one.to_pylist()]
    two = pa.Table.from_pylist(rows, schema.sid_registry("int"))
    both = pa.concat_tables([one, two])
    assert found(tmp_path, both, both).passed
    assert found(tmp_path, both, edited(both, 1)).description == (
        "a published SID vanished (1 rows; first ids: 2)"
    )
