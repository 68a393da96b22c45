"""The way back from a SID in the graph, what its checks find, and shuffled training data."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sid_assets.core.contracts.sids import (
    check_sid2pid,
    check_sid_prefixes,
    check_sid_vocabulary,
)
from sid_assets.core.schema import VOCABULARY, pid2sid
from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.core.sids.sid2pid import json_chunks, reverse
from sid_assets.core.sids.spelling import vocabulary_table
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets.purge import purge
from sid_assets_tests.graph import (
    failed_checks,
    failure_message,
    materialize,
    settings_for,
    table,
    write_catalog,
    write_interactions,
)

ITEMS = pa.table(
    {"pid": [1, 2, 3, 4], "sid": [[5, 0, 1], [5, 0, 1], [5, 0, 2], [0, 7, 7]]},
    schema=pid2sid("int"),
)


def commit(store: Store, name: str, rows: pa.Table) -> Version:
    return store.commit(draft_rows(store, name, rows.to_reader(), Provenance(name)))


def broken(tmp_path, rows: pa.Table, written: bytes | None = None) -> set[str]:
    """The checks that a table sid2pid of `ITEMS`, or its JSON file, fails."""
    store = Store(tmp_path)
    version, items = commit(store, "sid2pid", rows), commit(store, "pid2sid", ITEMS)
    path = store.root / "sid2pid.json"
    path.write_bytes(b"".join(json_chunks(rows.to_batches())) if written is None else written)
    findings = check_sid2pid(version, items, path, "pid")
    return {name for name, finding in findings.items() if not finding.passed}


@pytest.fixture
def right() -> pa.Table:
    return reverse(ITEMS.to_reader(), [pa.array([2, 2, 3])]).read_all()


def changed(rows: pa.Table, column: str, values: list) -> pa.Table:
    field = rows.schema.field(column)
    return rows.set_column(rows.schema.get_field_index(column), field, pa.array(values, field.type))


def test_a_right_reverse_index_passes(tmp_path, right):
    assert right["pids"].to_pylist() == [[4], [2, 1], [3]]
    assert broken(tmp_path, right) == set()


def test_a_reverse_index_that_is_wrong_is_found(tmp_path, right):
    other_item = changed(right, "pids", [[4], [2, 3], [1]])
    assert broken(tmp_path / "a", other_item) == {"inverts_pid2sid"}
    assert broken(tmp_path / "b", right.slice(1)) == {"inverts_pid2sid"}
    rising = changed(right, "counts", [[0], [0, 2], [1]])
    assert broken(tmp_path / "c", rising) == {"inverts_pid2sid"}
    assert broken(tmp_path / "d", right.take([1, 0, 2])) == {"sids_in_order"}


@pytest.mark.parametrize("end", [b"", b"{}", b"{}{}"])
def test_a_json_file_that_says_something_else_is_found(tmp_path, right, end):
    assert broken(tmp_path, right, end) == {"json_file"}


def test_prefixes_of_other_items_are_found(tmp_path):
    items = commit(Store(tmp_path), "pid2sid", ITEMS)
    passed = [
        check_sid_prefixes(SidPrefixes.of_table(rows.to_batches()), items)[
            "only_the_catalog"
        ].passed
        for rows in (ITEMS, ITEMS.slice(1), ITEMS.slice(0, 3))
    ]
    assert passed == [True, True, False]  # item 2 has the SID of item 1


def test_another_vocabulary_is_found(tmp_path):
    store, rows = Store(tmp_path), vocabulary_table()
    found = check_sid_vocabulary(commit(store, "sid_vocabulary", rows))
    assert all(finding.passed for finding in found.values())
    order = np.r_[1, 0, 2 : len(rows)]
    swapped = pa.table({"token": rows["token"].take(order), "id": rows["id"]}, schema=VOCABULARY)
    found = check_sid_vocabulary(commit(store, "sid_vocabulary", swapped))
    assert [finding.passed for finding in found.values()] == [False, True]
    found = check_sid_vocabulary(commit(store, "sid_vocabulary", rows.slice(0, 9)))
    assert [finding.passed for finding in found.values()] == [False, False]


def test_the_shuffled_rows_of_a_phase_are_what_the_loader_gets(folder):
    interactions = str(folder / "interactions.parquet")
    settings = settings_for(folder, interactions=interactions)
    assert materialize(settings).success
    orders = []
    for seed in ("0", "0", "1"):
        mixed = settings_for(folder, interactions=interactions, shuffle="true", seed=seed)
        result = materialize(mixed, "sft_video_rec_dataset", "video_rec_dataset")
        assert result.success, failure_message(result)
        listed = json.loads(Path(settings.data_dir, "pretrain_file_list.json").read_text())
        assert all("pretrain_shuffled.parquet" in path for path in listed)
        orders.append(pd.concat(map(pd.read_parquet, listed)))
    plain = table(settings, "video_rec_dataset")
    first, again, other = (list(rows.segments) for rows in orders)
    assert sorted(first) == sorted(plain.segments)
    assert first == again
    assert first != list(plain.segments)
    assert first != other


def test_shuffled_rows_are_withdrawn_when_they_are_no_longer_made(folder):
    interactions = str(folder / "interactions.parquet")
    mixed = settings_for(folder, interactions=interactions, shuffle="true")
    assert materialize(mixed).success
    visible = folder / "data" / "pretrain_shuffled.parquet"
    assert visible.exists()
    settings = settings_for(folder, interactions=interactions)
    assert materialize(settings, "video_rec_dataset").success
    assert not visible.is_symlink()
    assert (folder / "data" / "sft_shuffled.parquet").exists()
    listed = json.loads((folder / "data" / "pretrain_file_list.json").read_text())
    assert listed
    assert all("video_rec_dataset.parquet" in path for path in listed)
    assert all(Path(path).exists() for path in listed)
    assert any(one.table == "pretrain_shuffled" for one in purge(settings.store(), True)[0])
    assert materialize(mixed, "video_rec_dataset").success
    assert visible.exists()


def test_string_ids_and_a_catalog_alone_have_a_reverse_index_too(tmp_path):
    write_catalog(tmp_path / "catalog.parquet", pids=[f"ä{number:03d}" for number in range(60)])
    settings = settings_for(tmp_path)
    result = materialize(settings)
    assert result.success, failure_message(result)
    assert not {name for name in failed_checks(result) if "sid_quality" not in name}
    rows = table(settings, "sid2pid")
    assert sorted(rows.pids.explode()) == [f"ä{number:03d}" for number in range(60)]
    assert set(rows.counts.explode()) == {0}


def test_interactions_whose_ids_are_of_another_type_are_refused(folder):
    settings = settings_for(folder)
    assert materialize(settings).success
    write_interactions(folder / "interactions.parquet", ["a", "b", "c"])
    settings = settings_for(folder, interactions=str(folder / "interactions.parquet"))
    result = materialize(settings, "sid2pid")
    assert not result.success
    assert "SID_PID_TYPE" in failure_message(result)
    assert materialize(settings_for(folder), "sid2pid").success  # nothing is left locked
