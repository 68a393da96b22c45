"""Label masks: lists of 0 and 1 beside lists of pids, one for each kind of interaction."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, is_valid, list_bounds, spans
from sid_assets.core.training.block import Block
from sid_assets.core.training.counts import RowCounts
from sid_assets.core.training.inputs import IdSpace
from sid_assets.core.training.sid_lists import SidLists
from sid_assets.core.training_sets import LABELS


@dataclass(frozen=True)
class Labelled:
    """The items of each row that have a label, for each of `LABELS`.

    Attributes:
        sids: The SIDs of these items.
        positive: bool, shape (n,): whether a row has such an item, with or without a SID.
    """

    sids: list[SidLists]
    positive: list[np.ndarray]


def labelled(
    rows: Block,
    side: Literal["hist", "target"],
    items: IdSpace,
    *,
    first: int | None = None,
    last: int | None = None,
) -> Labelled:
    """The first or last items of histories or targets where the mask of a label is 1.

    A mask that is not as long as its list selects no items and is counted. A missing mask selects
    no items.
    """
    column = f"{side}_video_pid"
    pids = rows.lists(column)
    positions, lengths, positive = [], [], []
    for label in LABELS:
        ones, low, high = _ones(rows, pids, f"{side}_video_{label}")
        positive.append(high > low)
        if first is not None:
            high = np.minimum(high, low + first)
        if last is not None:
            low = np.maximum(low, high - last)
        chosen, _ = spans(low, high)
        positions.append(ones[chosen])
        lengths.append(high - low)
    bounds = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    found = rows.sids_at(pids.values, np.concatenate(positions), bounds, column, items)
    return Labelled(found.split(len(LABELS)), positive)


def _ones(
    rows: Block, pids: pa.ListArray, column: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a mask is 1: positions in `pids.values`, and the bounds of each row in the positions.

    Returns:
        int64, shape (m,), and two of shape (n,): row i has the positions low[i] to high[i].
    """
    none = np.zeros(len(rows), np.int64)
    if not rows.has(column):
        return none[:0], none, none
    mask = rows.lists(column)
    fits = aligned(pids, mask)
    other_length = int((~fits & is_valid(pids) & is_valid(mask)).sum())
    rows.counts += RowCounts(mask_lines=Counter({column: other_length}))
    starts, ends = list_bounds(mask)
    ones = np.flatnonzero(is_one(mask.values))
    low, high = np.searchsorted(ones, starts), np.searchsorted(ones, np.where(fits, ends, starts))
    # The values of a row can start at different positions in the mask and in the pids.
    shift = np.zeros(len(ones), np.int64)
    of_rows, _ = spans(low, high)
    shift[of_rows] = np.repeat(list_bounds(pids)[0] - starts, high - low)
    return ones + shift, low, high


def aligned(pids: pa.ListArray, mask: pa.ListArray) -> np.ndarray:
    """Which rows have a list of pids and a mask of the same length: bool, shape (n,)."""
    same = pc.equal(pc.list_value_length(pids), pc.list_value_length(mask))
    return as_bool(same.fill_null(False))


def is_one(values: pa.Array) -> np.ndarray:
    """Which values of a mask are 1, not null, NaN or any other value: bool, shape (n,)."""
    if pa.types.is_null(values.type):
        return np.zeros(len(values), bool)
    return as_bool(pc.equal(as_numbers(values), 1).fill_null(False))


def as_numbers(values: pa.Array) -> pa.Array:
    """The values of a mask, with booleans as 0 and 1."""
    return values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
