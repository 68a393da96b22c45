"""Stable integers for string ids."""

from pathlib import Path

import pyarrow as pa
import pytest

from sid_assets.core.errors import StoreError
from sid_assets.core.sids.pid_map import number_pids
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.write import draft_rows


def _refresh(store: Store, pids: list[str]) -> dict[str, int]:
    """Number the pids as a refresh would, and return the whole map."""
    reader = pa.table({"pid": pa.array(sorted(pids), pa.string())}).to_reader()
    rows = number_pids(reader, store.current("pid_map"))
    store.commit(draft_rows(store, "pid_map", rows, Provenance("pid_map")))
    table = store.require("pid_map").stream().read_all()
    return dict(zip(table["pid"].to_pylist(), table["number"].to_pylist(), strict=True))


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def test_numbers_start_at_1_in_the_order_of_the_ids(store):
    assert _refresh(store, ["b", "a", "ü", "007"]) == {"007": 1, "a": 2, "b": 3, "ü": 4}


def test_an_id_keeps_its_number_permanently(store):
    first = _refresh(store, ["b", "d"])
    second = _refresh(store, ["a", "d", "c"])
    assert second == {**first, "a": 3, "c": 4}
    assert _refresh(store, ["b", "e"]) == {**second, "e": 5}


def _empty_the_file(store: Store) -> None:
    Path(store.require("pid_map").paths[0].path).write_bytes(b"")


def test_numbers_of_a_damaged_map_are_taken_from_the_version_before(store):
    first = _refresh(store, ["a", "c"])
    assert _refresh(store, ["a"]) == first
    _empty_the_file(store)
    assert _refresh(store, ["a", "b"]) == {**first, "b": 3}


def test_lost_numbers_are_an_error_and_are_not_given_again(store):
    _refresh(store, ["a", "c"])
    _refresh(store, ["a", "b", "c"])
    _empty_the_file(store)
    with pytest.raises(StoreError, match=r"pid_map\.parquet: is damaged, and 1 of .* a backup"):
        _refresh(store, ["a", "b", "c"])
