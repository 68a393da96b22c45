"""The contracts of sid2pid, sid_prefixes and sid_vocabulary find what is wrong."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.contracts.sids import (
    check_prefixes,
    check_reverse,
    check_sid2pid,
    check_sid_prefixes,
    check_sid_vocabulary,
)
from sid_assets.core.schema import VOCABULARY, pid2sid, sid2pid
from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.core.sids.sid2pid import json_chunks, reverse
from sid_assets.core.sids.spelling import pack, vocabulary_table
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows

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


def test_a_json_file_is_read_and_not_compared_byte_by_byte(tmp_path, right, monkeypatch):
    content = json.loads(b"".join(json_chunks(right.to_batches())))
    # Pieces end within an item.
    monkeypatch.setattr("sid_assets.core.contracts.sids.PIECE", 100)
    styles = (json.dumps(content), json.dumps(content, indent=2), json.dumps(content) + "\n")
    for number, written in enumerate(styles):
        assert broken(tmp_path / str(number), right, written.encode()) == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"pid": 1,', '"pid": 3,'),
        ('"pid": 1,', '"pid": "1",'),
        ('"pid": 1,', '"iid": 1,'),
        ('"count": 2,', '"count": 1,'),
        ('"count": 2,', ""),
        ('"count": 2,', '"count": 2, "more": 0,'),
        ('"335544321"', '"335544320"'),
        (', {"pid": 1,', '], "335544321": [{"pid": 1,'),
        ("}]}", '}], "335544323": []}'),
        ("}]}", "}]"),
        ("}]}", "}]}}"),
        ("}]}", "}]}\xff"),
    ],
)
def test_a_change_in_the_json_file_is_found(tmp_path, right, old, new):
    written = b"".join(json_chunks(right.to_batches())).decode("latin-1")
    assert written.count(old) == 1
    changed_file = written.replace(old, new).encode("latin-1")
    assert broken(tmp_path, right, changed_file) == {"json_file"}


@pytest.mark.parametrize("pid", ['}], "1": [{', "[]{},: ", '\\"', "影片", "a\nb"])
def test_ids_that_look_like_json_are_read(tmp_path, pid):
    items = pa.table({"pid": [pid], "sid": [[1, 2, 3]]}, schema=pid2sid("string"))
    rows = reverse(items.to_reader()).read_all()
    version = commit(Store(tmp_path), "sid2pid", rows)
    path = Store(tmp_path).root / "sid2pid.json"
    path.write_bytes(b"".join(json_chunks(rows.to_batches(), "iid")))
    findings = check_sid2pid(version, commit(Store(tmp_path), "pid2sid", items), path, "iid")
    assert all(finding.passed for finding in findings.values())


def test_an_empty_table_is_an_empty_object(tmp_path, right):
    version = commit(Store(tmp_path), "sid2pid", right.slice(0, 0))
    items = commit(Store(tmp_path), "pid2sid", ITEMS.slice(0, 0))
    path = Store(tmp_path).root / "sid2pid.json"
    for written, passed in ((b"{}", True), (b"", False), (b"[]", False), (b"{}{}", False)):
        path.write_bytes(written)
        assert check_sid2pid(version, items, path, "pid")["json_file"].passed == passed


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


@pytest.mark.parametrize(
    ("column", "row", "value", "found"),
    [
        (
            "pids",
            0,
            [1, 9],
            {"items of pid2sid that are missing": 1, "items that pid2sid does not have": 1},
        ),
        (
            "pids",
            1,
            [2, 2],
            {
                "items that pid2sid does not have": 1,
                "rows that do not have a count for each pid": 1,
            },
        ),
        (
            "codes",
            1,
            [2, 7, 8190],
            {
                "items of pid2sid that are missing": 1,
                "items that pid2sid does not have": 1,
                "rows whose text is not that of their codes": 1,
            },
        ),
        ("sid", 0, "<|sid_begin|>", {"rows whose text is not that of their codes": 1}),
        ("counts", 0, [0, 1], {"rows that are not by their counts": 1}),
    ],
)
def test_a_tampered_index_is_found(
    column: str, row: int, value: Any, found: dict[str, int]
) -> None:
    table = pa.table(
        {"pid": [1, 2, 3], "sid": [[1, 7, 8191], [2, 7, 8191], [1, 7, 8191]]}, schema=pid2sid("int")
    )
    rows = reverse(table.to_reader(), [pa.array([1])]).read_all().to_pylist()
    rows[row][column] = value
    tampered = pa.Table.from_pylist(rows, sid2pid("int"))
    assert check_reverse(tampered.to_reader(), table.to_reader()) == found


def test_prefixes_are_checked_against_the_catalog() -> None:
    rng = np.random.default_rng(0)
    catalog = np.unique(pack(rng.integers(0, 30, (5000, 3))))
    prefixes = SidPrefixes.of(catalog)
    assert check_prefixes(prefixes, catalog) == {}
    assert check_prefixes(prefixes, catalog[5:])["SIDs that no item has"] == 5
    assert check_prefixes(SidPrefixes.of(catalog[:-7]), catalog) == {
        "SIDs of the catalog that are missing": 7
    }
    unsorted = [codes.copy() for codes in prefixes.codes]
    unsorted[2] = unsorted[2][::-1].copy()
    tampered = SidPrefixes((unsorted[0], unsorted[1], unsorted[2]), prefixes.offsets)
    assert check_prefixes(tampered, catalog)
    assert check_prefixes(SidPrefixes.of(catalog[:0]), catalog[:0]) == {}
