"""Lookup of the items of a SID, and of the neighbours of an item: the table sid2pid in memory.

The SIDs are sorted, so SIDs that begin with the same codes are adjacent. A SID takes 16 bytes and
an item 16 bytes; a text pid also takes its text.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, codes_array, spans
from sid_assets.core.schema import CODE_LAYERS, MAX_CODEBOOK_SIZE, PID_TYPES, pid_type_of
from sid_assets.core.sids.spelling import pack


class ItemIndex:
    """The items of a catalog by SID; within a SID, the item with most interactions comes first."""

    def __init__(self, sid2pid: pa.RecordBatchReader) -> None:
        """Index the table sid2pid (columns `codes`, `pids` and `counts`)."""
        kind = PID_TYPES[pid_type_of(sid2pid.schema)]
        packed, lengths = [np.zeros(0, np.int64)], [np.zeros(1, np.int64)]
        pids, counts = [], [np.zeros(0, np.int64)]
        for batch in sid2pid:
            packed.append(pack(codes_array(batch["codes"])))
            lengths.append(batch["pids"].value_lengths().to_numpy().astype(np.int64))
            pids.append(batch["pids"].flatten())
            counts.append(batch["counts"].flatten().to_numpy())
        self._packed = np.concatenate(packed)
        self._bounds = np.cumsum(np.concatenate(lengths))
        self._pids = pa.chunked_array(pids, kind).combine_chunks()
        self._counts = np.concatenate(counts)

    def of_sids(self, codes: np.ndarray, valid: np.ndarray) -> pa.ListArray:
        """The items of SIDs: lists of pids, shape (n,); empty where no item has the SID.

        Args:
            codes: Integers, shape (m, 3).
            valid: bool, shape (n,): which SIDs are given; the result is null where one is missing.
        """
        wanted = pack(codes)
        starts = np.searchsorted(self._packed, wanted)
        ends = np.searchsorted(self._packed, wanted, side="right")
        items, bounds = spans(self._bounds[starts], self._bounds[ends])
        return _lists(self._pids.take(pa.array(items)), bounds, valid)

    def neighbours(
        self, pids: pa.Array, codes: np.ndarray, valid: np.ndarray, depth: int
    ) -> pa.ListArray:
        """The other items whose SIDs begin with the same codes: lists of pids, shape (n,).

        Items that share more codes come first; among these, the ones with most interactions.

        Args:
            pids: Pids of the items, shape (n,).
            codes: SIDs of the items, integers, shape (m, 3).
            valid: bool, shape (n,): which items have a SID; the result is null where one has none.
            depth: How many codes the neighbours must share, 1 to 3.
        """
        own = pack(codes)
        width = MAX_CODEBOOK_SIZE ** (CODE_LAYERS - depth)
        least = own // width * width
        starts = np.searchsorted(self._packed, least)
        ends = np.searchsorted(self._packed, least + width)
        sids, sid_bounds = spans(starts, ends)
        asked_of_sid = np.repeat(np.arange(len(own)), np.diff(sid_bounds))
        items, item_bounds = spans(self._bounds[sids], self._bounds[sids + 1])
        sid_of_item = np.repeat(np.arange(len(sids)), np.diff(item_bounds))
        asked = asked_of_sid[sid_of_item]

        found = self._pids.take(pa.array(items))
        asking = pids.filter(pa.array(valid)).take(pa.array(asked))
        others = ~as_bool(pc.equal(found, asking))
        unlike = _codes_not_shared(self._packed[sids[sid_of_item]], own[asked])
        order = np.lexsort((-self._counts[items], unlike, asked))
        order = order[others[order]]
        bounds = np.searchsorted(asked[order], np.arange(len(own) + 1))
        return _lists(found.take(pa.array(order)), bounds, valid)


def _codes_not_shared(packed: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many codes two packed SIDs do not share: 3 minus the length of their common prefix."""
    second, first = (MAX_CODEBOOK_SIZE**below for below in (1, 2))
    unlike = (packed != others).astype(np.int64)
    unlike += packed // second != others // second
    unlike += packed // first != others // first
    return unlike


def _lists(values: pa.Array, bounds: np.ndarray, valid: np.ndarray) -> pa.ListArray:
    """A list for each valid row, from bounds of shape (m + 1,); null for the other rows."""
    of_row = bounds[np.concatenate([[0], np.cumsum(valid)])]
    offsets = pa.array(of_row, pa.int32())
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array(~valid))
