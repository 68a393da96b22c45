"""Drafts: unfinished work is found again, and the write lock is always released."""

import pyarrow as pa
import pytest

from sid_assets.core.errors import StoreError
from sid_assets.core.store.draft import STATE
from sid_assets.core.store.parts import PartWriter
from sid_assets.core.store.places import is_local
from sid_assets.core.store.provenance import Provenance
from sid_assets_tests.core.store.drafts import COLUMNS, commit, draft_of, pids


def test_unfinished_work_is_found_by_its_key(store):
    left = draft_of(store, [1], key="work")
    left.close()
    with store.draft("t") as other:
        other.begin("other work")
        assert other.folder != left.folder
    with store.draft("t") as found:
        found.begin("work")
        assert left.folder in (found.folder, *found.earlier_folders)
        assert (left.folder / "part-0.parquet").exists()
    assert {left.folder.name, other.folder.name} <= {
        run.folder.name for run in store.unfinished("t")
    }
    commit(store, [2])
    assert store.unfinished("t") == []


def test_a_folder_of_an_object_store_has_one_writer_for_ever(store):
    """Whoever wrote an unfinished draft may only have been cut off, and wake up."""
    drafts = []
    for _ in range(3):
        with store.draft("t") as draft:
            draft.begin("work", lambda: {"size": 3})
        drafts.append(draft)
    first, second, third = drafts
    assert third.state["size"] == 3
    if is_local(store.root):
        assert first.folder == second.folder == third.folder
        assert third.earlier_folders == []
    else:
        assert {path.name for path in third.earlier_folders} == {
            first.folder.name,
            second.folder.name,
        }


def test_work_without_a_key_starts_in_a_new_folder(store):
    with store.draft("t") as one:
        one.begin()
    with store.draft("t") as other:
        other.begin()
    assert one.folder != other.folder


def test_state_is_made_once_and_found_again(store):
    with store.draft("t") as draft:
        draft.begin("work", lambda: {"size": 3})

    def fail() -> dict:
        raise AssertionError("the state is there")

    with store.draft("t") as draft:
        draft.begin("work", fail)
        assert draft.state["size"] == 3


def test_a_state_that_fails_to_be_made_leaves_the_table_free(local):
    with pytest.raises(ZeroDivisionError), local.draft("t") as draft:
        draft.begin("work", lambda: {"size": 1 / 0})
    local.draft("t").close()


@pytest.mark.parametrize("state", ["{", "[]", "null"])
def test_unfinished_work_with_a_damaged_state_is_skipped(store, state):
    draft_of(store, [1], key="work").close()
    (run,) = store.unfinished("t")
    (run.folder / STATE).write_text(state)
    assert store.unfinished("t") == []
    assert store.leftovers("t") == [run.folder]
    commit(store, [1])
    assert store.leftovers("t") == []


def test_a_finished_draft_can_be_read_before_the_commit(store):
    draft = draft_of(store, [1], [2])
    assert draft.as_version().stream().read_all()["pid"].to_pylist() == [1, 2]
    draft.add_details({"a": 1})
    assert draft.provenance.details == {"a": 1}
    assert store.commit(draft).provenance.details == {"a": 1}


def test_a_draft_that_is_not_finished_is_not_committed_and_leaves_the_table_free(store):
    commit(store, [1])
    draft = store.draft("t")
    draft.begin()
    with pytest.raises(StoreError, match=r"t\.parquet: its draft is not finished"):
        store.commit(draft)
    assert pids(store) == [1]
    commit(store, [2])
    assert pids(store) == [2]


def test_a_block_that_raises_or_leaves_a_draft_unfinished_closes_it(local):
    with pytest.raises(StopIteration), local.draft("t") as draft:
        raise StopIteration
    assert draft.is_closed
    with local.draft("t") as draft:
        draft.begin()
    assert draft.is_closed
    with pytest.raises(StopIteration), draft_of(local, [1]) as draft:
        raise StopIteration
    assert draft.is_closed
    local.draft("t").close()


def test_a_finished_draft_stays_open_until_its_commit_succeeds_or_fails(local):
    draft = draft_of(local, [1])
    with pytest.raises(StoreError, match="another run is writing it"):
        local.draft("t")
    local.commit(draft)
    assert draft.is_closed
    draft = draft_of(local, [2])
    (draft.folder / "part-0.parquet").unlink()
    with pytest.raises(StoreError, match="has changed since it was written"):
        local.commit(draft)
    assert draft.is_closed
    assert pids(local) == [1]
    local.draft("t").close()


def test_a_closed_draft_is_not_committed(store):
    draft = draft_of(store, [1])
    draft.close()
    with pytest.raises(StoreError, match=r"t\.parquet: its draft is already closed\. Run again"):
        store.commit(draft)
    commit(store, [2])
    with pytest.raises(StoreError, match="is already closed"):
        store.commit(draft)
    assert pids(store) == [2]


def test_a_draft_that_nobody_holds_lets_others_write(local):
    draft_of(local, [1])
    local.draft("t").close()


def test_a_draft_holds_the_lock_before_it_has_a_folder(store):
    draft_of(store, [1], key="work").close()
    with store.draft("t") as draft:
        (left,) = draft.unfinished
        assert left.state == {"key": "work"}
        draft.begin("other work", lambda: {"found": left.folder.name})
    state = {"key": "other work", "found": left.folder.name}
    assert state in [run.state for run in store.unfinished("t")]


def test_a_folder_beside_is_found_again_and_removed_by_the_commit(store):
    with store.draft("t") as draft:
        beside = draft.folder_beside("on the way")
    with store.draft("t") as draft:
        assert draft.left_beside("on the way") == beside
        assert draft.left_beside("off the way") is None
        draft.begin("work")
        assert draft.folder != beside
        with PartWriter(draft.folder / "part-0.parquet", COLUMNS) as writer:
            writer.write(pa.table([[1]], schema=COLUMNS))
        draft.finish([writer.part], Provenance("t"))
    assert beside.exists()
    store.commit(draft)
    assert not beside.exists()
