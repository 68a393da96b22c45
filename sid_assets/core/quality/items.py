"""The SIDs of all items as arrays: what the measures of codes alone are computed from.

An item takes 12 bytes, 8 more with its use and 8 more with the value of a column, and about 100
while SIDs are grouped.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sid_assets.core.arrow.columns import run_starts
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.errors import InputError
from sid_assets.core.quality.measure import code_rows, relative_errors
from sid_assets.core.schema import HASH
from sid_assets.core.sids.spelling import pack

USE_COLUMNS = pa.schema([("trained", pa.int64()), ("targets", pa.int64())])
VALUE_COLUMNS = pa.schema([("text_hash", HASH)])

NO_VALUE = 0
"""The key of an item without a value."""


@dataclass(frozen=True, eq=False)
class Items:
    """Numbers of all items, in the order of their pids.

    Attributes:
        sids: int64 (n,): packed SIDs.
        errors: float32 (n,): relative reconstruction errors after the last layer; NaN for zero
            vectors.
        trained: uint32 (n,): interactions in split 0; None without interactions.
        targets: uint32 (n,): how often each item is a target; None without interactions.
        values: int64 (n,): keys of the values of a column, equal if the values are; `NO_VALUE`
            for none. None without a column. Keys have 64 bits: among ten million different values,
            the chance that any two share one is below one in 100,000.
    """

    sids: np.ndarray
    errors: np.ndarray
    trained: np.ndarray | None = None
    targets: np.ndarray | None = None
    values: np.ndarray | None = None


def read_items(
    codes: Iterable[pa.RecordBatch],
    codebook_size: int,
    use: Iterable[pa.RecordBatch] | None = None,
    values: Iterable[pa.RecordBatch] | None = None,
) -> Items:
    """Read the numbers of all items, in one pass.

    Args:
        codes: Batches with the columns `pid`, `codes` and `residual_norms`, sorted by pid.
        codebook_size: Codes per layer of the tokenizer.
        use: Batches with the columns `pid`, `trained` and `targets`, sorted by pid.
        values: Batches with the columns `pid` and `text_hash`, sorted by pid.

    Raises:
        InputError: There are no items, or codes are outside the codebooks.
    """
    if use is not None:
        codes = joined(codes, use, USE_COLUMNS)
    if values is not None:
        codes = joined(codes, values, VALUE_COLUMNS)
    read: dict[str, list[np.ndarray]] = {"sids": [], "errors": []}
    for batch in codes:
        read["sids"].append(pack(code_rows(batch, codebook_size)))
        read["errors"].append(relative_errors(batch)[-1].copy())
        if use is not None:
            for name in USE_COLUMNS.names:
                times = batch[name].fill_null(0).to_numpy().astype(np.uint32)
                read.setdefault(name, []).append(times)
        if values is not None:
            read.setdefault("values", []).append(_keys(batch["text_hash"]))
    if not sum(map(len, read["sids"])):
        raise InputError("codes: no items. Measuring quality needs at least one item.")
    return Items(**{name: np.concatenate(read.pop(name)) for name in list(read)})


def _keys(hashes: pa.Array) -> np.ndarray:
    """The first 64 bits of each hash; `NO_VALUE` for null."""
    filled = hashes.fill_null(NO_VALUE.to_bytes(HASH.byte_width, "little"))
    start = filled.offset * HASH.byte_width
    stop = start + len(filled) * HASH.byte_width
    return np.frombuffer(filled.buffers()[1], np.int64)[start // 8 : stop // 8 : 2].copy()


@dataclass(frozen=True, eq=False)
class SidGroups:
    """The items in groups of one SID.

    Attributes:
        order: int64 (n,): positions of the items, group by group; by pid within a group.
        sids: int64 (g,): the SID of each group, packed, ascending.
        starts: int64 (g,): where each group starts in `order`.
        sizes: int64 (g,): items of each group.
    """

    order: np.ndarray
    sids: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


def group_by_sid(sids: np.ndarray) -> SidGroups:
    """Group items by SID.

    Args:
        sids: int64 (n,): packed SIDs in the order of pids.
    """
    order = np.argsort(sids, kind="stable")
    ordered = sids[order]
    starts = run_starts(ordered)
    return SidGroups(order, ordered[starts], starts, np.diff(starts, append=len(sids)))
