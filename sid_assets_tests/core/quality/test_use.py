"""How often items are used, against plain Python."""

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import PidColumn, PidTypeSetting
from sid_assets.core.quality.use import counted_use, id_lists
from sid_assets.core.schema import PidType
from sid_assets_tests.core.quality.small_tables import interactions_in

LISTS = ["hist_video_pid", "target_video_pid"]
INTEGERS = PidColumn("catalog.parquet", "pid", "int", rows=3)
pid_list = st.none() | st.lists(st.none() | st.integers(0, 6), max_size=4)


@pytest.fixture
def rows(tmp_path):
    """Writes interactions, given by column name."""
    return lambda **columns: interactions_in(tmp_path, pa.table(columns))


def counted(interactions, lists=LISTS, pid_type: PidType = "int", setting: PidTypeSetting = "auto"):
    """The split, its targets, and `(trained, targets)` by pid."""
    with counted_use(interactions, lists, pid_type, setting) as use:
        found = {
            row["pid"]: (row["trained"], row["targets"])
            for batch in use.batches
            for row in batch.to_pylist()
        }
        assert list(found) == sorted(found)
        return use.split, use.all_targets, found


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2, None]), pid_list, pid_list), min_size=1, max_size=8
    )
)
@settings(max_examples=40, deadline=None)
def test_counts_match_plain_python(samples):
    split, histories, targets = map(list, zip(*samples, strict=True))
    kind = pa.list_(pa.int64())
    table = pa.table(
        {
            "split": pa.array(split, pa.int64()),
            "hist_video_pid": pa.array(histories, kind),
            "target_video_pid": pa.array(targets, kind),
        }
    )
    trained, of = Counter(), (Counter(), Counter())
    for number, history, wanted in samples:
        given_pids = [pid for pid in wanted or [] if pid is not None]
        if number == 0:
            trained.update([pid for pid in history or [] if pid is not None] + given_pids)
        if number in (0, 1):
            of[number].update(given_pids)
    expected_split = 1 if of[1] else 0
    with tempfile.TemporaryDirectory() as folder:
        found_split, all_targets, found = counted(interactions_in(Path(folder), table))
    assert found_split == expected_split
    assert all_targets == of[expected_split].total()
    for pid in range(7):
        assert found.get(pid, (0, 0)) == (trained[pid], of[expected_split][pid])


def test_without_a_column_split_all_rows_are_of_split_0(rows):
    stored = rows(hist_video_pid=[[1, 2], [2]], target_video_pid=[[3], [3]])
    assert counted(stored) == (0, 2, {1: (1, 0), 2: (2, 0), 3: (2, 2)})


def test_targets_that_cannot_be_ids_of_the_catalog_are_counted(rows):
    stored = rows(
        split=[1, 1],
        hist_video_pid=[[], []],
        target_video_pid=[["7", "no id"], ["007", "9"]],
    )
    assert counted(stored)[:2] == (1, 4)
    assert counted(stored)[2] == {7: (0, 1), 9: (0, 1)}
    assert counted(stored, setting="int")[2] == {7: (0, 2), 9: (0, 1)}


@pytest.mark.parametrize("split", [[False, True], [0.0, 1.0]], ids=["booleans", "floats"])
def test_splits_may_be_written_as_other_numbers(rows, split):
    stored = rows(split=split, hist_video_pid=[[1], [1]], target_video_pid=[[2], [3]])
    found_split, all_targets, found = counted(stored)
    assert (found_split, all_targets) == (1, 1)
    assert found == {1: (1, 0), 2: (1, 0), 3: (0, 1)}


@pytest.mark.parametrize(
    ("split", "targets", "warns"),
    [([0, 0], [[2], [3]], True), ([0, 1], [[2], [3]], False), ([0, 0], [[], []], False)],
    ids=["of split 0", "of split 1", "none"],
)
def test_targets_of_split_0_are_a_warning(rows, split, targets, warns):
    stored = rows(split=split, hist_video_pid=[[1], [1]], target_video_pid=targets)
    with counted_use(stored, LISTS, "int") as use:
        assert ("no targets in split 1" in use.warning) is warns


def test_text_splits_are_refused(rows):
    stored = rows(split=["train"], hist_video_pid=[[1]], target_video_pid=[[2]])
    with pytest.raises(InputError, match="'split' holds string, not numbers"):
        counted(stored)


def test_files_with_and_without_splits_are_refused(tmp_path):
    with_split = pa.table({"split": [1], "target_video_pid": [[2]]})
    stored = interactions_in(tmp_path, with_split, pa.table({"target_video_pid": [[2]]}))
    with pytest.raises(InputError, match=r"1\.parquet: there is no column 'split'"):
        counted(stored, ["target_video_pid"])


def test_the_lists_that_are_there_are_named(rows):
    stored = rows(target_video_pid=[[2]], other=[1])
    assert id_lists(stored, LISTS, INTEGERS, "auto") == ["target_video_pid"]
    with pytest.raises(InputError, match="no column 'hist_ad_pid'"):
        id_lists(stored, ["hist_ad_pid"], INTEGERS, "auto")


def test_text_ids_never_match_integers(rows):
    stored = rows(hist_video_pid=[["7"]])
    with pytest.raises(InputError, match="SID_PID_TYPE"):
        id_lists(stored, LISTS, INTEGERS, "auto")
    assert id_lists(stored, LISTS, INTEGERS, "int") == ["hist_video_pid"]
