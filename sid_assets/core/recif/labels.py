"""Label masks: lists of 0 and 1 beside lists of pids, one for each kind of interaction."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.recif.columns import as_bool, is_valid, list_bounds, spans
from sid_assets.core.recif.inputs import IdSpace
from sid_assets.core.recif.sid_lists import SidLists
from sid_assets.core.recif.stretch import Stretch


@dataclass(frozen=True)
class Labelled:
    """The items of each row that have a label.

    Attributes:
        sids: Their SIDs.
        positive: bool, shape (n,): whether a row has such an item, with a SID or without.
    """

    sids: SidLists
    positive: np.ndarray


def labelled(
    rows: Stretch,
    pids: str,
    mask: str,
    items: IdSpace,
    *,
    first: int | None = None,
    last: int | None = None,
) -> Labelled:
    """The items of a list of pids where the mask is 1, the first or the last of them.

    A mask that is not as long as its list has no items, and is counted.
    """
    if not rows.has(mask):
        return Labelled(SidLists.empty(len(rows)), np.zeros(len(rows), bool))
    pid_lists, mask_lists = rows.lists(pids), rows.lists(mask)
    pid_starts, _ = list_bounds(pid_lists)
    starts, ends = list_bounds(mask_lists)
    fits = aligned(pid_lists, mask_lists)
    rows.counts.mask_lines[mask] += int((~fits & is_valid(pid_lists) & is_valid(mask_lists)).sum())
    ends = np.where(fits, ends, starts)

    ones = np.flatnonzero(is_one(mask_lists.values))
    low, high = np.searchsorted(ones, starts), np.searchsorted(ones, ends)
    positive = high > low
    if first is not None:
        high = np.minimum(high, low + first)
    if last is not None:
        low = np.maximum(low, high - last)
    chosen, bounds = spans(low, high)
    positions = ones[chosen] + np.repeat(pid_starts - starts, high - low)
    return Labelled(rows.sids_at(pid_lists.values, positions, bounds, pids, items), positive)


def aligned(pids: pa.ListArray, mask: pa.ListArray) -> np.ndarray:
    """Which rows have both a list of pids and a mask, of one length: bool, shape (n,)."""
    same = pc.equal(pc.list_value_length(pids), pc.list_value_length(mask))
    return as_bool(same.fill_null(False))


def is_one(values: pa.Array) -> np.ndarray:
    """Which values of a mask are 1; null, NaN and all else are not: bool, shape (n,)."""
    if pa.types.is_null(values.type):
        return np.zeros(len(values), bool)
    return as_bool(pc.equal(as_numbers(values), 1).fill_null(False))


def as_numbers(values: pa.Array) -> pa.Array:
    """The values of a mask, truth values as 0 and 1."""
    return values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
