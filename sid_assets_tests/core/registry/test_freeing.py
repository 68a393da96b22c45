"""Freeing SIDs that items have left: against a plain loop, and what must stay as it is."""

import datetime as dt
from collections import Counter
from itertools import count

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core import schema
from sid_assets.core.catalog.value_texts import NEWEST_RULES
from sid_assets.core.contracts.unmoved import check_unmoved
from sid_assets.core.errors import StoreError
from sid_assets.core.registry import freeing
from sid_assets.core.registry.freeing import free_sids, reserved_before
from sid_assets.core.registry.generation import Generation
from sid_assets.core.registry.making import (
    KnownGeneration,
    RefreshCounts,
    RefreshRecord,
    RegistryMaking,
    generation_details,
    refresh_details,
)
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets_tests.core.registry.on_disk import SPACE, commit, provenance
from sid_assets_tests.core.registry.small_registry import START, hash_of

TABLE = "goods/sid_registry"
DAYS = st.integers(1, 5)
FOLDERS = count()

Left = tuple[int | None, int | None]
"""The days on which an item left a SID, and on which that was freed."""


def day(number: int | None) -> dt.datetime | None:
    return None if number is None else START + dt.timedelta(days=number)


def registry_of(rows: list[tuple[str, int, Left]], *, strings: bool = False) -> pa.Table:
    """A registry whose rows have these generations, pids and days, in its order."""
    made = [
        {
            "generation": generation,
            "pid": f"{pid:02d}" if strings else pid,
            "sid": [number, 1, 2],
            "codes": [number, 1, 2],
            "text_hash": hash_of(str(number)),
            "made": "quantised",
            "published_at": START,
            "left_at": day(left),
            "left_why": "removed" if left else None,
            "freed_at": day(freed),
        }
        for number, (generation, pid, (left, freed)) in enumerate(sorted(rows, key=lambda r: r[:2]))
    ]
    return pa.Table.from_pylist(made, schema.sid_registry("string" if strings else "int"))


def commit_registry(store: Store, rows: pa.Table) -> Version:
    return commit(store, provenance(TABLE), rows)


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def rows_of(version: Version) -> list[dict]:
    return version.stream().read_all().to_pylist()


LIVE, LEFT = st.just((None, None)), st.tuples(DAYS, st.none() | st.integers(6, 7))
ROWS = st.lists(
    st.tuples(st.sampled_from(["one", "two"]), st.integers(1, 9), LIVE | LEFT),
    min_size=1,
    max_size=20,
)


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, before=DAYS, strings=st.booleans())
def test_only_sids_left_before_the_date_are_freed_and_only_that_changes(rows, before, strings):
    store = Store(f"memory://freeing{next(FOLDERS)}")
    earlier = commit_registry(store, registry_of(rows, strings=strings))
    date = START + dt.timedelta(days=before)
    expected = [
        row
        for row in rows_of(earlier)
        if row["left_at"] and row["left_at"] < date and row["freed_at"] is None
    ]
    listed = reserved_before(earlier, date)
    assert listed.by_generation == Counter(row["generation"] for row in expected)
    assert listed.pids == list(dict.fromkeys(row["pid"] for row in expected))[:5]
    assert store.require(TABLE) == earlier
    started = dt.datetime.now(dt.UTC)
    assert free_sids(store, TABLE, date) == listed
    now = store.require(TABLE)
    assert check_unmoved(now, earlier)["unmoved"].passed
    for row, was in zip(rows_of(now), rows_of(earlier), strict=True):
        if was in expected:
            assert started <= row["freed_at"] <= dt.datetime.now(dt.UTC)
            row["freed_at"] = None
        assert row == was
    assert reserved_before(now, date).sids == 0


@pytest.fixture
def store(tmp_path) -> Store:
    """A registry with one SID that is left, of three."""
    store = Store(tmp_path)
    rows = [("one", 1, (None, None)), ("one", 2, (1, None)), ("two", 2, (None, None))]
    commit_registry(store, registry_of(rows))
    return store


def test_without_such_sids_nothing_is_written(store):
    before = store.require(TABLE)
    assert free_sids(store, TABLE, START).sids == 0
    assert store.require(TABLE) == before
    assert store.leftovers(TABLE) == []


def test_the_version_before_is_kept_and_the_registry_says_the_same_of_its_making(tmp_path):
    store = Store(tmp_path)
    known = KnownGeneration(Generation(SPACE, "centroids", "{title}", NEWEST_RULES), "2026-01-01")
    at = "2026-01-01T00:00:00.000000+00:00"
    record = RefreshRecord(at, known.id, "centroids", RefreshCounts(3))
    of_manifest = refresh_details([record], 4)
    details = {**generation_details([known]), **of_manifest, "something": "else"}
    made = provenance(TABLE, **details)
    before = commit(store, made, registry_of([(known.id, 1, (1, None))]))
    free_sids(store, TABLE, START + dt.timedelta(days=2))
    now = store.require(TABLE)
    assert now.previous() == before
    assert now.provenance.version != before.provenance.version
    for name in ("asset", "inputs", "space", "tokenizer", "generation"):
        assert getattr(now.provenance, name) == getattr(before.provenance, name)
    assert now.provenance.details["something"] == "else"
    making = RegistryMaking.of(now.provenance)
    assert (making.generations, making.max_items_per_sid) == ((known,), 4)
    # sid_refreshes may have no row of this refresh yet; it names the version that was committed.
    assert [one.registry for one in making.refreshes] == [before.provenance.version]
    assert [one.counts.items for one in making.refreshes] == [3]


def test_a_registry_that_a_run_is_writing_is_left_alone(store):
    before = store.require(TABLE)
    with (
        store.draft(TABLE),
        pytest.raises(StoreError, match="another run is writing it"),
    ):
        free_sids(store, TABLE, START + dt.timedelta(days=9))
    assert store.require(TABLE) == before


def test_a_purge_that_stops_before_its_commit_changes_nothing_and_can_be_repeated(
    store, monkeypatch
):
    before = store.require(TABLE)
    with monkeypatch.context() as stopped:
        stopped.setattr(freeing, "require_unmoved", stop)
        with pytest.raises(KeyboardInterrupt):
            free_sids(store, TABLE, START + dt.timedelta(days=9))
    assert store.require(TABLE) == before
    assert free_sids(store, TABLE, START + dt.timedelta(days=9)).sids == 1
    assert store.require(TABLE).previous() == before
    assert store.leftovers(TABLE) == []


def test_a_damaged_registry_is_left_as_it_is_and_the_error_says_how_to_restore_it(store):
    path = store.require(TABLE).paths[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match="it cannot be made again"):
        free_sids(store, TABLE, START + dt.timedelta(days=9))
    assert store.require(TABLE).paths == [path]
