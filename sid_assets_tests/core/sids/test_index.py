from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.errors import InputError
from sid_assets.core.schema import pid2sid
from sid_assets.core.sids import index as sid_index
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.sids.spelling import codes_of_fragments

INTEGERS = (
    st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 50)
    | st.integers(0, 30).map(lambda i: i << 56)
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def codes_for(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 8192, (n, 3))


@pytest.mark.parametrize(("type_", "values"), [(pa.int64(), INTEGERS), (pa.string(), TEXTS)])
@given(data=st.data())
def test_finds_the_same_as_a_dictionary(
    type_: pa.DataType, values: Any, data: st.DataObject
) -> None:
    known = data.draw(st.lists(values, unique=True, max_size=60))
    asked = data.draw(st.lists(st.none() | values | st.sampled_from([*known, None]), max_size=60))
    codes = codes_for(len(known))
    expected = dict(zip(known, codes.tolist(), strict=True))

    index = SidIndex(pa.array(known, type_), codes)
    found = index.find(pa.array(asked, type_))

    assert len(index) == len(known)
    assert found.found.tolist() == [pid in expected for pid in asked]
    assert codes_of_fragments(found.fragments).tolist() == [
        expected[pid] for pid in asked if pid in expected
    ]


@pytest.mark.parametrize("type_", [pa.int64(), pa.string()])
def test_many_pids_in_blocks(type_: pa.DataType) -> None:
    rng = np.random.default_rng(0)
    pids = rng.permutation(np.unique(rng.integers(-(2**62), 2**62, 100_000)))
    codes = codes_for(len(pids))
    index = SidIndex(pa.array(pids).cast(type_), codes)
    asked = rng.integers(0, len(pids), 3 * sid_index._BLOCK)
    known = rng.random(len(asked)) < 0.9

    found = index.find(pa.array(np.where(known, pids[asked], 7)).cast(type_))

    assert (found.found == known).all()
    assert (codes_of_fragments(found.fragments) == codes[asked[known]]).all()


def test_texts_with_the_same_key_are_distinguished(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_letters(pids: pa.Array, salt: int) -> np.ndarray:
        width = 1 + salt  # With this salt the keys of the catalog are distinct.
        return np.array([sum(map(ord, (p or "")[:width])) for p in pids.to_pylist()], np.uint64)

    monkeypatch.setattr(sid_index, "_keys", first_letters)
    index = SidIndex(pa.array(["ab", "ac"]), np.array([[1, 2, 3], [4, 5, 6]]))
    assert index.find(pa.array(["ac", "abx", "ba", None, "ab"])).found.tolist() == [
        *(True, False, False, False, True)
    ]


def test_of_a_table_of_batches() -> None:
    rows = pa.table(
        {"pid": [3, 1, 2], "sid": [[1, 2, 3], [4, 5, 6], [7, 8, 9]]}, schema=pid2sid("int")
    )
    for table in (rows, pa.Table.from_batches(rows.to_batches(max_chunksize=2)).to_reader(2)):
        found = SidIndex.from_table(table).find(pa.array([2, 9, 3]))
        assert codes_of_fragments(found.fragments).tolist() == [[7, 8, 9], [1, 2, 3]]
    assert len(SidIndex.from_table(rows.slice(0, 0))) == 0


@pytest.mark.parametrize("pids", [[1, 2, 1], ["a", "b", "a"]])
def test_a_duplicate_pid_is_refused(pids: list[Any]) -> None:
    with pytest.raises(InputError, match="the same pid twice"):
        SidIndex(pa.array(pids), codes_for(3))


@pytest.mark.parametrize("pids", [[5, -(2**63), 2**63 - 1, 0], ["b", "007", ""]])
def test_all_pids_can_be_listed(pids: list[Any]) -> None:
    listed = SidIndex(pa.array(pids), codes_for(len(pids))).pids.to_pylist()
    assert sorted(listed) == sorted(pids)
