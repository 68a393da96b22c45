import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.contracts.unmoved import SidChange, SidChanges, sid_changes
from sid_assets.core.schema import HASH
from sid_assets_tests.core.quality.small_tables import batches, codes_table, texts_table

versions = st.dictionaries(
    st.integers(0, 30),
    st.tuples(st.tuples(*[st.integers(0, 1)] * 3), st.sampled_from("ab")),
    max_size=20,
)
"""pid -> (SID, vector)."""


def version(items):
    ordered = sorted(items)
    return codes_table(
        [items[pid][0] for pid in ordered], pids=ordered, vectors=[items[pid][1] for pid in ordered]
    )


@given(versions, versions, st.integers(1, 9), st.integers(1, 9))
def test_counts_match_brute_force(before, after, rows_before, rows_after):
    found = sid_changes(batches(version(before), rows_before), batches(version(after), rows_after))
    both = before.keys() & after.keys()
    same = {pid for pid in both if before[pid][1] == after[pid][1]}
    other_sid = {pid for pid in both if before[pid][0] != after[pid][0]}
    assert found == SidChanges(
        added=len(after.keys() - both),
        removed=len(before.keys() - both),
        unchanged=len(same),
        edited=len(both) - len(same),
        moved=len(same & other_sid),
        edited_and_moved=len(other_sid - same),
        first_moved=tuple(
            SidChange(pid, before[pid][0], after[pid][0]) for pid in sorted(same & other_sid)[:5]
        ),
    )


def test_an_item_with_the_same_text_and_another_sid():
    columns = pa.schema([("text_hash", HASH)])
    before = joined(
        batches(codes_table([(0, 0, 0), (1, 1, 1)])), batches(texts_table(["a", "b"])), columns
    )
    after = joined(
        batches(codes_table([(0, 0, 7), (1, 1, 2)])), batches(texts_table(["a", "B"])), columns
    )
    found = sid_changes(before, after, compared="text_hash")
    assert (found.moved, found.edited_and_moved) == (1, 1)
    assert found.first_moved == (SidChange(0, (0, 0, 0), (0, 0, 7)),)


@pytest.mark.parametrize("pids", [["a", "b"], [1, 2]])
def test_the_first_version_adds_everything(pids):
    found = sid_changes([], batches(codes_table([(0, 0, 0)] * 2, pids=pids)))
    assert (found.added, found.removed, found.unchanged) == (2, 0, 0)
