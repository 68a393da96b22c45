"""Counts and coverage of a training data set, as its checks see them."""

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.contracts.training import check_current_sids, check_data_set
from sid_assets.core.schema import pid2sid
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.write import draft_rows
from sid_assets.core.training_sets import DATA_SETS, PRETRAIN_ROWS

GOOD = {
    "rows": 3,
    "candidates": 2,
    "written": 0,
    "dropped_rows": {"no uid": 1},
    "dropped": {"no history": 2},
    "mask_lines": {},
    "pids": {"hist_video_pid": {"pids": 100, "with_sid": 95}},
}
NO_SIDS = np.empty(0, np.int64)


def _broken(tmp_path, details: dict) -> set[str]:
    """The checks that fail for an empty data set with these details, except `not_empty`."""
    store = Store(tmp_path)
    reader = PRETRAIN_ROWS.empty_table().to_reader()
    draft = draft_rows(store, "video_rec_dataset", reader, Provenance("video_rec_dataset"))
    draft.add_details(details)
    version = store.commit(draft)
    findings = check_data_set(version, DATA_SETS["video_rec"], NO_SIDS, None)
    broken = {name for name, finding in findings.items() if not finding.passed}
    assert "not_empty" in broken
    return broken - {"not_empty"}


def test_counts_that_add_up(tmp_path):
    assert _broken(tmp_path, {"counts": GOOD}) == set()


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": 4},
        {"candidates": 3},
        {"written": 1, "dropped": {"no history": 1}},
        {"dropped": {"no history": 1}},
        {"dropped_rows": {}},
    ],
)
def test_counts_that_do_not_add_up(tmp_path, wrong):
    assert _broken(tmp_path, {"counts": GOOD | wrong}) == {"rows_add_up"}


def test_missing_counts(tmp_path):
    assert _broken(tmp_path, {}) == {"rows_add_up"}


def test_too_few_pids_with_a_sid(tmp_path):
    pids = {"hist_video_pid": {"pids": 100, "with_sid": 94}}
    assert _broken(tmp_path, {"counts": GOOD | {"pids": pids}}) == {"coverage"}


def test_a_data_set_made_from_earlier_sids(tmp_path):
    store = Store(tmp_path)

    def sids(table: str, pid: int):
        rows = pa.table([[pid], [[0, 0, 0]]], schema=pid2sid("int"))
        return store.commit(draft_rows(store, table, rows.to_reader(), Provenance(table)))

    items, goods = sids("pid2sid", 1), sids("goods/pid2sid", 1)
    inputs = {"pid2sid": items.provenance.version, "goods/pid2sid": goods.provenance.version}
    made = Provenance("video_rec_dataset", inputs=inputs)
    reader = PRETRAIN_ROWS.empty_table().to_reader()
    version = store.commit(draft_rows(store, "video_rec_dataset", reader, made))
    assert check_current_sids(version, [items, goods])["current_sids"].passed
    assert check_current_sids(version, [items])["current_sids"].passed
    for later in ([sids("pid2sid", 2), goods], [items, sids("goods/pid2sid", 2)]):
        found = check_current_sids(version, later)["current_sids"]
        assert not found.passed
        assert "pid2sid; the current one is" in found.description
