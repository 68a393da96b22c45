"""Pairs of item and next item, against plain Python."""

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.errors import InputError
from sid_assets.core.quality.next_items import next_items
from sid_assets.core.schema import PID_TYPES, PidType
from sid_assets_tests.core.quality.small_tables import interactions_in

PIDS = [2, 3, 5, 7]
histories = st.none() | st.lists(st.none() | st.integers(1, 7), max_size=6)


def found_in(interactions, pids=PIDS, lists=("hist_video_pid",), pid_type: PidType = "int"):
    """Users by pair of pids."""
    pairs = next_items(interactions, lists, pa.array(pids, PID_TYPES[pid_type]), pid_type)
    return {
        (pids[item], pids[following]): users
        for item, following, users in zip(pairs.items, pairs.nexts, pairs.users, strict=True)
    }


@given(
    st.lists(
        st.tuples(st.none() | st.integers(0, 2), st.sampled_from([0, 1, None]), histories),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=40, deadline=None)
def test_pairs_match_plain_python(rows):
    users, splits, lists = map(list, zip(*rows, strict=True))
    table = pa.table(
        {
            "uid": pa.array(users, pa.int64()),
            "split": pa.array(splits, pa.int64()),
            "hist_video_pid": pa.array(lists, pa.list_(pa.int64())),
        }
    )
    met = set()
    for number, (user, split, history) in enumerate(rows):
        for item, following in zip(history or [], (history or [])[1:], strict=False):
            if split == 0 and item in PIDS and following in PIDS and item != following:
                met.add((("row", number) if user is None else user, item, following))
    wanted = Counter((item, following) for _, item, following in met)
    with tempfile.TemporaryDirectory() as folder:
        assert found_in(interactions_in(Path(folder), table)) == wanted


def test_each_user_and_pair_counts_once_across_rows_files_and_lists(tmp_path):
    rows = {"uid": ["a", "a", "b"], "hist_video_pid": [[2, 3], [2, 3, 2, 3], [2, 3]]}
    more = {"uid": ["a"], "hist_video_pid": [[9, 2, 3]], "hist_ad_pid": [[2, 3, 5]]}
    interactions = interactions_in(
        tmp_path, pa.table({**rows, "hist_ad_pid": [None, [3, 2], []]}), pa.table(more)
    )
    found = found_in(interactions, lists=("hist_video_pid", "hist_ad_pid"))
    assert found == {(2, 3): 2, (3, 2): 1, (3, 5): 1}


def test_targets_and_other_splits_do_not_count(tmp_path):
    table = pa.table(
        {
            "uid": [1, 1],
            "split": [0, 1],
            "hist_video_pid": [[2, 3], [5, 7]],
            "target_video_pid": [[7, 2], [2, 5]],
        }
    )
    lists = ("hist_video_pid", "target_video_pid")
    assert found_in(interactions_in(tmp_path, table), lists=lists) == {(2, 3): 1}


def test_an_item_outside_of_the_sample_or_repeated_separates(tmp_path):
    table = pa.table({"uid": [1], "hist_video_pid": [[2, 4, 3, 3, 5]]})
    assert found_in(interactions_in(tmp_path, table)) == {(3, 5): 1}


def test_text_ids_and_no_user_column(tmp_path):
    table = pa.table({"hist_video_pid": [["x", "y"], ["x", "y"]]})
    found = found_in(interactions_in(tmp_path, table), ["x", "y"], pid_type="string")
    assert found == {("x", "y"): 2}


def test_a_user_column_of_lists_is_refused(tmp_path):
    table = pa.table({"uid": [[1]], "hist_video_pid": [[2, 3]]})
    with pytest.raises(InputError, match="column 'uid' holds"):
        found_in(interactions_in(tmp_path, table))
