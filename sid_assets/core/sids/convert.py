"""Whole arrays of SIDs, from codes to text and back; values that are not SIDs are named."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, is_list, is_text, is_valid
from sid_assets.core.arrow.same_kind import given
from sid_assets.core.errors import IDS_SHOWN, InputError
from sid_assets.core.schema import CODE_LAYERS, MAX_CODEBOOK_SIZE
from sid_assets.core.sids.spelling import (
    fragment_numbers,
    joined_sid_text,
    sid_text,
    spelled_sids,
)

SPELLING = sid_text(np.array([[12, 4071, 9]]))[0].as_py()
"""A SID as text, to show in messages."""


@dataclass(frozen=True)
class Sids:
    """A column of SIDs, some of which may be missing.

    Attributes:
        codes: int64, shape (m, 3): of those that are there, in their order.
        valid: bool, shape (n,): which are there.
    """

    codes: np.ndarray
    valid: np.ndarray

    def texts(self) -> pa.StringArray:
        """Their texts, shape (n,); null where one is missing."""
        bounds = np.concatenate([[0], np.cumsum(self.valid)])
        return joined_sid_text(fragment_numbers(self.codes), bounds)

    def lists(self) -> pa.FixedSizeListArray:
        """Their codes as lists of three, shape (n,); null where one is missing."""
        codes = np.zeros((len(self.valid), CODE_LAYERS), np.int64)
        codes[self.valid] = self.codes
        return pa.FixedSizeListArray.from_arrays(
            pa.array(codes.reshape(-1)), CODE_LAYERS, mask=pa.array(~self.valid)
        )


def to_text(codes: Any) -> Any:
    """SIDs as text, e.g. `<|sid_begin|><s_a_12><s_b_4071><s_c_9><|sid_end|>`, from their codes.

    Args:
        codes: Three integers for each SID, each in 0..8191: a list of lists, an integer array
            of numpy of shape (n, 3), a pandas Series of lists or an Arrow array of lists; or
            one SID, `[12, 4071, 9]`. At most 37 million (2 GiB of text). A SID that is missing
            (None, null, NaN; in numpy a row of -1) has no text.

    Returns:
        The texts, as what came in: a list, an object array, a Series with the same index, an
        Arrow array; or one text.

    Raises:
        InputError: Some are not three codes in 0..8191; the first five are named.
    """
    column = given(codes, "codes", _is_one_of_codes)
    return column.answer(sids_of_codes(column.values).texts())


def to_codes(texts: Any) -> Any:
    """The codes of SIDs, from their texts. Each text is one SID and nothing around it.

    Args:
        texts: A list, an array of numpy, a pandas Series or an Arrow array of texts; or one text.
            A text that is missing (None, null, NaN) has no codes.

    Returns:
        The codes, as what came in: lists of three in a list, a Series with the same index or an
        Arrow array; of an array of numpy int64 of shape (n, 3), with -1 where a text is missing.

    Raises:
        InputError: Some are not SIDs; the first five are named.
    """
    column = given(texts, "texts", lambda value: isinstance(value, str))
    return column.answer(sids_of_texts(column.values).lists())


def sids_of_any(values: pa.Array) -> Sids:
    """A column of SIDs, as text or as codes.

    Raises:
        InputError: Some are not SIDs; the first five are named.
    """
    return sids_of_texts(values) if is_text(values.type) else sids_of_codes(values)


def is_one_sid(value: Any) -> bool:
    """Whether this is a single SID and no array of them: a text, or three codes."""
    return isinstance(value, str) or _is_one_of_codes(value)


def sids_of_codes(values: pa.Array) -> Sids:
    """A column of SIDs as lists of codes.

    Raises:
        InputError: It holds something else, or some are not three codes in 0..8191.
    """
    valid = is_valid(values)
    if pa.types.is_null(values.type):
        return Sids(np.zeros((0, CODE_LAYERS), np.int64), valid)
    if not _is_list_of_integers(values.type):
        raise InputError(
            f"Codes are lists of {CODE_LAYERS} integers for each SID, or of shape "
            f"(n, {CODE_LAYERS}); these are of type {values.type}."
        )
    there = values.drop_null()
    bad = as_bool(pc.not_equal(pc.list_value_length(there), CODE_LAYERS))
    flat = there.filter(pa.array(~bad)).flatten().cast(pa.int64(), safe=False)
    codes = flat.fill_null(-1).to_numpy().reshape(-1, CODE_LAYERS)
    bad[~bad] = ((codes < 0) | (codes >= MAX_CODEBOOK_SIZE)).any(axis=1)
    _refuse(bad, there, f"A SID has {CODE_LAYERS} codes, each in 0..{MAX_CODEBOOK_SIZE - 1}.")
    return Sids(codes, valid)


def sids_of_texts(values: pa.Array) -> Sids:
    """A column of SIDs as texts.

    Raises:
        InputError: It holds something else, or some texts are not one SID.
    """
    valid = is_valid(values)
    if not is_text(values.type) and not pa.types.is_null(values.type):
        raise InputError(
            f"SIDs as text are strings such as {SPELLING}; these are of type {values.type}."
        )
    there = values.drop_null().cast(pa.string())
    found = spelled_sids(there)
    bad: np.ndarray = found.counts != 1
    codes = found.codes[np.cumsum(found.counts)[~bad] - 1]
    beyond = codes.max(axis=1, initial=0) >= MAX_CODEBOOK_SIZE
    respelled = sid_text(np.where(beyond[:, None], 0, codes))
    # What lies around a SID makes the text another one than the SID's.
    bad[~bad] = beyond | as_bool(pc.not_equal(respelled, there.filter(pa.array(~bad))))
    _refuse(bad, there, f"As text a SID is {SPELLING}, with nothing around it.")
    return Sids(codes, valid)


def _refuse(bad: np.ndarray, values: pa.Array, remedy: str) -> None:
    count = int(bad.sum())
    if not count:
        return
    first = values.filter(pa.array(bad))[:IDS_SHOWN].to_pylist()
    shown = ", ".join(map(repr, first))
    what = "is not a SID" if count == 1 else "are not SIDs"
    raise InputError(f"{count:,} of {len(bad):,} values {what}; the first: {shown}. {remedy}")


def _is_one_of_codes(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and np.issubdtype(value.dtype, np.integer)
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(code, int | np.integer) for code in value)
    )


def _is_list_of_integers(kind: pa.DataType) -> bool:
    if not is_list(kind):
        return False
    # A list of empty lists has values of no type.
    return pa.types.is_integer(kind.value_type) or pa.types.is_null(kind.value_type)
