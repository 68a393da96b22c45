"""Label masks: lists of 0 and 1 beside lists of pids, one for each kind of interaction.

OneRec's program takes only 1 for a label. So a mask with other values, such as counts, is refused:
whether 2 is a label or not is for the user to say.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, is_list, is_valid, list_bounds, spans
from sid_assets.core.errors import IDS_SHOWN, InputError
from sid_assets.core.inputs.parquet import ParquetInput
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

    Raises:
        InputError: A mask has other values than 0 and 1.
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
    mask = read_mask(rows, column)
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


def read_mask(rows: Block, column: str) -> pa.ListArray:
    """A mask of a block: numbers or booleans; null and NaN count as unknown.

    Raises:
        InputError: The mask has other values than 0 and 1.
    """
    mask = rows.lists(column)
    if pc.any(_other_values(mask.values), min_count=0).as_py():
        raise _other_values_of(rows.source, column)
    return mask


def require_masks(source: ParquetInput, columns: Iterable[str]) -> None:
    """Read the masks of split 0, before other work is done.

    Raises:
        InputError: A mask has other values than 0 and 1.
    """
    there = [name for name in columns if name in source.columns]
    for batch in source.train_batches(there) if there else ():
        for name in there:
            if not is_list(batch[name].type):
                continue
            if pc.any(_other_values(batch[name].flatten()), min_count=0).as_py():
                raise _other_values_of(source, name)


def _other_values(values: pa.Array) -> pa.BooleanArray:
    """Which values of a mask are neither 0 nor 1 nor unknown: shape (n,)."""
    if pa.types.is_null(values.type) or pa.types.is_boolean(values.type):
        return pa.repeat(False, len(values))
    other = pc.and_(pc.not_equal(values, 0), pc.not_equal(values, 1))
    if pa.types.is_floating(values.type):
        other = pc.and_not(other, pc.is_nan(values))
    return other.fill_null(False)


def _other_values_of(source: ParquetInput, column: str) -> InputError:
    """The error for a mask with other values, about the first file that has some."""
    file, rows, shown = "", 0, []
    for name, batch in source.batches_of_files([column]):
        if file and name != file:
            break
        lists = batch[column]
        if not is_list(lists.type):
            continue
        other = _other_values(lists.flatten())
        rows += len(pc.unique(pc.list_parent_indices(lists).filter(other)))
        if len(shown) < IDS_SHOWN:
            shown = list(dict.fromkeys([*shown, *lists.flatten().filter(other).to_pylist()]))
        file = name if rows else ""
    values = ", ".join(str(value) for value in shown[:IDS_SHOWN])
    return InputError(
        f"{file}: column {column!r}: values other than 0 and 1 ({rows:,} "
        f"{'row' if rows == 1 else 'rows'}). The first: {values}. A label mask has 1 where its "
        "item has the label, else 0. Convert counts, e.g. with DuckDB: "
        f"list_transform({column}, lambda n: CAST(n > 0 AS TINYINT))."
    )


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
