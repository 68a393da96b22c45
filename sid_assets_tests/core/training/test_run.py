"""Making a data set as a draft, and which data sets on disk are up to date."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import PidColumn
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.schema import pid2sid
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets.core.training.counts import RowCounts
from sid_assets.core.training.inputs import IdSpace, TrainingInputs
from sid_assets.core.training.run import Sids, make_data_set, up_to_date
from sid_assets.core.training_sets import DATA_SETS

VIDEO_REC = DATA_SETS["video_rec"]
LOG = logging.getLogger("test")


def published(store: Store, codes: list[list[int]]) -> Version:
    """SIDs of the pids 0, 1, ..."""
    rows = pa.table([range(len(codes)), codes], schema=pid2sid("int"))
    draft = draft_rows(store, "pid2sid", rows.to_reader(), Provenance("pid2sid"))
    return store.commit(draft)


def inputs_of(path: Path, history: list[int]) -> TrainingInputs:
    """One user with a history whose target is pid 1, one of the catalog's two items."""
    rows = {"uid": [1], "split": [0], "hist_video_pid": [history], "target_video_pid": [[1]]}
    pq.write_table(pa.table(rows), path)
    index = SidIndex(pa.array([0, 1]), np.array([[1, 2, 3], [4, 5, 6]]))
    items = IdSpace(index, PidColumn("catalog", "pid", "int", 2))
    return TrainingInputs(items, interactions=ParquetInput(str(path)))


def test_data_sets_are_up_to_date_until_other_sids_are_published(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    sids = Sids(published(store, [[1, 2, 3], [4, 5, 6]]))
    inputs = inputs_of(tmp_path / "rows.parquet", [0, 7])
    assert up_to_date(DATA_SETS.values(), sids, store) == []
    made = make_data_set(VIDEO_REC, inputs, sids, store, LOG)
    assert made
    draft, counts = made
    assert (counts.written, counts.pids["hist_video_pid"].share) == (1, 0.5)
    version = store.commit(draft)
    assert RowCounts.of(version.provenance) == counts
    assert up_to_date(DATA_SETS.values(), sids, store) == [version]
    other = Sids(published(store, [[1, 2, 3], [6, 6, 6]]))
    assert up_to_date(DATA_SETS.values(), other, store) == []


def test_missing_input_is_logged_and_nothing_is_written(tmp_path: Path, caplog) -> None:
    store = Store(tmp_path / "data")
    sids = Sids(published(store, [[1, 2, 3]]))
    inputs = inputs_of(tmp_path / "rows.parquet", [0])
    with caplog.at_level(logging.INFO):
        assert make_data_set(DATA_SETS["sft_ad_rec"], inputs, sids, store, LOG) is None
    assert "sft_ad_rec_dataset is skipped: " in caplog.text
    assert "has no column 'target_ad_pid'" in caplog.text
    assert store.tables() == ["pid2sid"]


def test_video_rec_must_have_its_columns_and_a_row(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    sids = Sids(published(store, [[1, 2, 3]]))
    inputs = inputs_of(tmp_path / "rows.parquet", [7])
    for _ in range(2):  # and the table is not left locked
        with pytest.raises(InputError, match="none of the 1 rows of split 0 became a row of video"):
            make_data_set(VIDEO_REC, inputs, sids, store, LOG)
    pq.write_table(pa.table({"uid": [1]}), tmp_path / "other.parquet")
    other = dataclasses.replace(inputs, interactions=ParquetInput(str(tmp_path / "other.parquet")))
    with pytest.raises(InputError, match="there is no column 'split', 'hist_video_pid'"):
        make_data_set(VIDEO_REC, other, sids, store, LOG)


@pytest.mark.parametrize(
    ("catalog", "history", "said"),
    [
        (["0007", "0012", "x"], [7, 12, 9], "2 of 3 ids without an item"),
        (["0007", "0012", "x"], ["7", "12", "x"], "2 of 2 ids without an item"),
        ([7, 12, 13], ["0007", "0012", "13"], "2 of 2 ids without an item"),
    ],
)
def test_ids_that_lost_their_leading_zeros_are_told(
    catalog: list[Any], history: list[Any], said: str, tmp_path: Path, caplog
) -> None:
    """No row is left, so it is an error here; it is a warning where some rows are left."""
    store = Store(tmp_path / "data")
    codes = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    items = IdSpace(
        SidIndex(pa.array(catalog), codes), PidColumn("catalog.csv", "pid", "untyped", 3)
    )
    path = tmp_path / "rows.parquet"
    rows = {
        "uid": [1],
        "split": [0],
        "hist_video_pid": [history],
        "target_video_pid": [history[:1]],
    }
    pq.write_table(pa.table(rows), path)
    inputs = TrainingInputs(items, interactions=ParquetInput(str(path)))
    with pytest.raises(InputError, match=r"such as 0*7 here and 0*7 in the catalog"):
        make_data_set(VIDEO_REC, inputs, Sids(published(store, codes.tolist())), store, LOG)
    assert (
        f"{path}: column 'hist_video_pid': One side has lost leading zeros: {said}" in caplog.text
    )


def test_captions_that_lost_their_leading_zeros_are_told(tmp_path: Path, caplog) -> None:
    store = Store(tmp_path / "data")
    index = SidIndex(pa.array(["007", "008"]), np.array([[1, 2, 3], [4, 5, 6]]))
    items = IdSpace(index, PidColumn("catalog.csv", "pid", "untyped", 2))
    path = tmp_path / "captions.parquet"
    pq.write_table(pa.table({"pid": [7, 8], "dense_caption": ["a", "b"]}), path)
    inputs = TrainingInputs(items, captions=ParquetInput(str(path)))
    made = make_data_set(
        DATA_SETS["item_understand"], inputs, Sids(published(store, [[1, 2, 3]])), store, LOG
    )
    assert made
    assert made[1].written == 0
    assert "column 'pid': One side has lost leading zeros: 2 of 2 ids" in caplog.text
    assert "such as 7 here and 007 in the catalog" in caplog.text
