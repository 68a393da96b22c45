"""Conversion of whole arrays of SIDs from codes to text and back; invalid values are reported."""

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
"""An example SID as text, for messages."""


@dataclass(frozen=True)
class Sids:
    """A column of SIDs, some of which may be missing.

    Attributes:
        codes: int64, shape (m, 3): the codes of the SIDs that are present, in order.
        valid: bool, shape (n,): which SIDs are present.
    """

    codes: np.ndarray
    valid: np.ndarray

    def texts(self) -> pa.StringArray:
        """The SIDs as text, shape (n,); null where a SID is missing."""
        bounds = np.concatenate([[0], np.cumsum(self.valid)])
        return joined_sid_text(fragment_numbers(self.codes), bounds)

    def lists(self) -> pa.FixedSizeListArray:
        """The SIDs as lists of three codes, shape (n,); null where a SID is missing."""
        codes = np.zeros((len(self.valid), CODE_LAYERS), np.int64)
        codes[self.valid] = self.codes
        return pa.FixedSizeListArray.from_arrays(
            pa.array(codes.reshape(-1)), CODE_LAYERS, mask=pa.array(~self.valid)
        )


def to_text(codes: Any) -> Any:
    """Convert codes to SIDs as text, e.g. `<|sid_begin|><s_a_12><s_b_4071><s_c_9><|sid_end|>`.

    Args:
        codes: Three integers per SID, each in 0..8191: a list of lists, an integer numpy array of
            shape (n, 3), a pandas Series of lists or an Arrow array of lists; or one SID,
            `[12, 4071, 9]`. At most 37 million SIDs (2 GiB of text). A missing SID (None, null,
            NaN; in numpy a row of -1) has no text.

    Returns:
        The texts, in the same kind of container: a list, a numpy object array, a Series with the
        same index or an Arrow array; or one text.

    Raises:
        InputError: Some values are not three codes in 0..8191; the message shows the first five.
    """
    column = given(codes, "codes", _is_one_of_codes)
    return column.answer(sids_of_codes(column.values).texts())


def to_codes(texts: Any) -> Any:
    """Convert SIDs as text to codes. Each text must be one SID with nothing around it.

    Args:
        texts: A list, a numpy array, a pandas Series or an Arrow array of texts; or one text. A
            missing text (None, null, NaN) has no codes.

    Returns:
        The codes, in the same kind of container: lists of three in a list, a Series with the same
        index or an Arrow array; for a numpy array int64 of shape (n, 3), with -1 where a text is
        missing.

    Raises:
        InputError: Some texts are not SIDs; the message shows the first five.
    """
    column = given(texts, "texts", lambda value: isinstance(value, str))
    return column.answer(sids_of_texts(column.values).lists())


def sids_of_any(values: pa.Array) -> Sids:
    """Read a column of SIDs that are text or lists of codes.

    Raises:
        InputError: Some values are not SIDs; the message shows the first five.
    """
    return sids_of_texts(values) if is_text(values.type) else sids_of_codes(values)


def is_one_sid(value: Any) -> bool:
    """Whether this is a single SID (a text or a list of codes) rather than an array of SIDs."""
    return isinstance(value, str) or _is_one_of_codes(value)


def sids_of_codes(values: pa.Array) -> Sids:
    """Read a column of SIDs that are lists of codes.

    Raises:
        InputError: The type is wrong, or some values are not three codes in 0..8191.
    """
    valid = is_valid(values)
    if pa.types.is_null(values.type):
        return Sids(np.zeros((0, CODE_LAYERS), np.int64), valid)
    if not _is_list_of_integers(values.type):
        raise InputError(
            f"Codes must be lists of {CODE_LAYERS} integers per SID, or an array of shape "
            f"(n, {CODE_LAYERS}); these are of type {values.type}."
        )
    there = values.drop_null()
    bad = as_bool(pc.not_equal(pc.list_value_length(there), CODE_LAYERS))
    flat = there.filter(pa.array(~bad)).flatten().cast(pa.int64(), safe=False)
    codes = flat.fill_null(-1).to_numpy().reshape(-1, CODE_LAYERS)
    bad[~bad] = ((codes < 0) | (codes >= MAX_CODEBOOK_SIZE)).any(axis=1)
    _refuse(bad, there, f"A SID has {CODE_LAYERS} codes in 0..{MAX_CODEBOOK_SIZE - 1}.")
    return Sids(codes, valid)


def sids_of_texts(values: pa.Array) -> Sids:
    """Read a column of SIDs that are text.

    Raises:
        InputError: The type is wrong, or some texts are not exactly one SID.
    """
    valid = is_valid(values)
    if not is_text(values.type) and not pa.types.is_null(values.type):
        raise InputError(
            f"SIDs as text must be strings such as {SPELLING}; these are of type {values.type}."
        )
    there = values.drop_null().cast(pa.string())
    found = spelled_sids(there)
    bad: np.ndarray = found.counts != 1
    codes = found.codes[np.cumsum(found.counts)[~bad] - 1]
    beyond = codes.max(axis=1, initial=0) >= MAX_CODEBOOK_SIZE
    respelled = sid_text(np.where(beyond[:, None], 0, codes))
    # If anything surrounds the SID, the text differs from the SID's own.
    bad[~bad] = beyond | as_bool(pc.not_equal(respelled, there.filter(pa.array(~bad))))
    _refuse(bad, there, f"A SID as text looks like {SPELLING}, with nothing around it.")
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
    # The values of a list of empty lists have the type null.
    return pa.types.is_integer(kind.value_type) or pa.types.is_null(kind.value_type)
