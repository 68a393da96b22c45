from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.errors import InputError
from sid_assets.core.schema import CODES
from sid_assets.core.sids.convert import to_codes, to_text

CODE = st.integers(0, 8191)
SID = "<|sid_begin|><s_a_12><s_b_4071><s_c_9><|sid_end|>"
OTHER = "<|sid_begin|><s_a_0><s_b_8191><s_c_10><|sid_end|>"
CODES_OF_BOTH = [[12, 4071, 9], None, [0, 8191, 10]]
BOTH = [SID, None, OTHER]


@given(st.lists(st.none() | st.tuples(CODE, CODE, CODE).map(list)))
def test_there_and_back(codes: list[list[int] | None]):
    texts = to_text(codes)
    assert [text is None for text in texts] == [sid is None for sid in codes]
    assert to_codes(texts) == codes
    assert to_codes(pa.array(texts, pa.string())).to_pylist() == codes


def test_lists():
    assert to_text(CODES_OF_BOTH) == BOTH
    assert to_codes(BOTH) == CODES_OF_BOTH
    assert to_text([]) == to_codes([]) == []
    assert to_text([None]) == to_codes([None]) == [None]


def test_one_sid():
    assert (
        to_text([12, 4071, 9]) == to_text((12, 4071, 9)) == to_text(np.array([12, 4071, 9])) == SID
    )
    assert to_codes(SID) == [12, 4071, 9]


def test_numpy():
    codes = np.array([[12, 4071, 9], [-1, -1, -1], [0, 8191, 10]], np.int16)
    assert to_text(codes).tolist() == BOTH
    assert to_codes(np.array(BOTH, object)).tolist() == codes.tolist()
    assert to_codes(np.array([SID])).dtype == np.int64
    assert to_text(codes[:0]).shape == (0,)
    assert to_codes(to_text(codes[:0])).shape == (0, 3)


def test_pandas():
    codes = pd.Series(CODES_OF_BOTH, index=[7, 8, 9], name="sid")
    texts = to_text(codes)
    assert texts.loc[[7, 9]].tolist() == [SID, OTHER]
    assert texts.isna().tolist() == [False, True, False]
    back = to_codes(texts)
    assert back.loc[9].tolist() == [0, 8191, 10]
    assert back.isna().tolist() == [False, True, False]
    assert back.name == "sid"


def test_arrow():
    assert to_text(pa.array(CODES_OF_BOTH)).to_pylist() == BOTH
    assert to_text(pa.array(CODES_OF_BOTH, pa.large_list(pa.uint16()))).to_pylist() == BOTH
    codes = to_codes(pa.array(["x", *BOTH], pa.large_string()).slice(1))
    assert codes.type == CODES
    assert codes.to_pylist() == CODES_OF_BOTH
    assert to_codes(pa.array(BOTH).dictionary_encode()).to_pylist() == CODES_OF_BOTH


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "Alien",
        SID + OTHER,
        " " + SID,
        SID[:-1],
        "<|sid_begin|><s_a_012><s_b_4071><s_c_9><|sid_end|>",
        "<|sid_begin|><s_a_12><s_b_4071><s_c_8192><|sid_end|>",
    ],
)
def test_a_text_that_is_not_one_sid_is_named(bad: str):
    with pytest.raises(InputError) as error:
        to_codes([SID, bad, None, OTHER])
    assert f"1 of 3 values is not a SID; the first: {bad!r}." in str(error.value)


@pytest.mark.parametrize("bad", [[], [1], [1, 2, 3, 4], [1, 2, 8192], [1, -2, 3], [1, None, 3]])
def test_codes_that_are_not_a_sid_are_named(bad: list):
    with pytest.raises(InputError) as error:
        to_text([[1, 2, 3], bad, None])
    assert f"1 of 2 values is not a SID; the first: {bad!r}." in str(error.value)


def test_the_first_five_of_many_bad_values_are_named():
    with pytest.raises(
        InputError, match="8 of 9 values are not SIDs; the first: '0', '1', '2', '3', '4'"
    ):
        to_codes([SID, *map(str, range(8))])


@pytest.mark.parametrize(
    ("convert", "values", "words"),
    [
        (to_text, [SID], "these are of type string"),
        (to_codes, CODES_OF_BOTH, "these are of type list"),
        (to_text, np.array([[1.0, 2.0, 3.0]]), "these are of type"),
        (to_text, pa.array([1, 2, 3]), "these are of type int64"),
        (to_text, 5, "These codes cannot be read"),
    ],
)
def test_values_that_are_not_a_column_of_sids_are_refused(convert: Any, values: Any, words: str):
    with pytest.raises(InputError, match=words):
        convert(values)
