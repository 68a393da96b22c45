"""Lookup of the SIDs of many pids at a time: the table pid2sid in memory.

The index is a hash table in arrays. Every pid has a 64-bit key. The keys are sorted, and the upper
bits of a key give the position where the search begins. A pid takes 8 bytes for its key, 6 for its
SID and about 4 to 8 for the start positions; a text pid also takes its text. A lookup takes tens of
nanoseconds, even if the pids are far apart; a binary search over a million takes ten times longer.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, codes_array, is_valid
from sid_assets.core.arrow.duck import computed
from sid_assets.core.errors import InputError
from sid_assets.core.schema import CODE_LAYERS, PidType
from sid_assets.core.sids.spelling import fragment_numbers

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: multiplying by it is one to one
_INVERSE = np.uint64(pow(int(_ODD), -1, 2**64))
_BLOCK = 65_536  # Pids looked up at a time: the intermediate arrays stay in the processor's cache.


@dataclass(frozen=True)
class FoundSids:
    """The SIDs of some pids.

    Attributes:
        fragments: uint16, shape (m, 3): the SIDs found, in order (see `spelling.fragment_numbers`).
        found: bool, shape (n,): which of the pids have a SID.
        removed: How many of these pids are of items that are no longer in the catalog.
    """

    fragments: np.ndarray
    found: np.ndarray
    removed: int = 0

    def filled(self, removed: "FoundSids") -> "FoundSids":
        """The same pids, with the SIDs of items that were removed.

        Args:
            removed: What was found for the pids without a SID, in their order.
        """
        missing = np.flatnonzero(~self.found)
        fragments = np.empty((len(self.found), CODE_LAYERS), np.uint16)
        found = self.found.copy()
        found[missing[removed.found]] = True
        fragments[self.found] = self.fragments
        fragments[missing[removed.found]] = removed.fragments
        return FoundSids(fragments[found], found, len(removed.fragments))


class SidIndex:
    """The SIDs of a catalog by pid. Pids are unique and not null, as pid2sid guarantees.

    Attributes:
        pid_type: `int` or `string`.
    """

    def __init__(self, pids: pa.Array, codes: np.ndarray) -> None:
        """Index a catalog.

        Args:
            pids: int64 or string, shape (n,).
            codes: Integers, shape (n, 3).
        """
        self.pid_type: PidType = "int" if pids.type == pa.int64() else "string"
        self._salt, order, self._sorted_keys = _distinct_keys(pids)
        self._fragments = fragment_numbers(codes)[order]
        self._pids = pids.take(pa.array(order)) if self.pid_type == "string" else None

        bits = max(1, len(pids) - 1).bit_length()
        self._shift = np.uint64(64 - bits)
        firsts = np.arange(1 << bits, dtype=np.uint64) << self._shift
        self._starts = np.searchsorted(self._sorted_keys, firsts).astype(
            np.int32 if len(pids) < 2**31 else np.int64
        )

    @classmethod
    def from_table(cls, pid2sid: pa.Table | pa.RecordBatchReader) -> "SidIndex":
        """Index the table pid2sid (`pid` int64 or string, `sid` lists of three codes)."""
        batches = pid2sid.to_batches() if isinstance(pid2sid, pa.Table) else pid2sid
        pids, codes = [], [np.zeros((0, CODE_LAYERS), np.uint16)]
        for batch in batches:
            pids.append(batch["pid"])
            codes.append(codes_array(batch["sid"]).astype(np.uint16))
        kind = pid2sid.schema.field("pid").type
        return cls(pa.chunked_array(pids, kind).combine_chunks(), np.concatenate(codes))

    @property
    def pids(self) -> pa.Array:
        """All pids, in no particular order."""
        if self._pids is not None:
            return self._pids
        return pa.array((self._sorted_keys * _INVERSE).view(np.int64))

    def __len__(self) -> int:
        """Pids in the index."""
        return len(self._sorted_keys)

    def find(self, pids: pa.Array) -> FoundSids:
        """The SIDs of pids, which must have the type of the index; a null pid has no SID."""
        if not len(self) or not len(pids):
            return FoundSids(np.zeros((0, CODE_LAYERS), np.uint16), np.zeros(len(pids), bool))
        blocks = [self._find(pids.slice(i, _BLOCK)) for i in range(0, len(pids), _BLOCK)]
        fragments, found = zip(*blocks, strict=True)
        return FoundSids(np.concatenate(fragments), np.concatenate(found))

    def _find(self, pids: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        keys = _keys(pids, self._salt)
        position, found = self._position(keys)
        if pids.null_count:
            found &= is_valid(pids)
        if self._pids is not None:  # Another text may have the same key.
            same = pc.equal(
                self._pids.take(pa.array(position[found])), pids.filter(pa.array(found))
            )
            found[found] = as_bool(same)
        return self._fragments.take(position[found], axis=0), found

    def _position(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The position of each key in the sorted keys, and whether the key is there."""
        position = self._starts.take(keys >> self._shift)
        there = self._sorted_keys.take(position, mode="clip")
        # On average a bucket holds at most one key, so only a few keys need further steps.
        behind = np.flatnonzero(there < keys)
        while len(behind):
            position[behind] += 1
            behind = behind[position[behind] < len(self._sorted_keys)]
            there[behind] = self._sorted_keys.take(position[behind])
            behind = behind[there[behind] < keys[behind]]
        return position, there == keys


def _distinct_keys(pids: pa.Array) -> tuple[int, np.ndarray, np.ndarray]:
    """A salt with which all pids have different keys, the order of the keys, the sorted keys."""
    for salt in range(3):
        keys = _keys(pids, salt)
        order = np.argsort(keys)
        ordered = keys[order]
        if not (ordered[1:] == ordered[:-1]).any():
            return salt, order, ordered
    raise InputError("pid2sid: column 'pid': the same pid twice. Each item must have one row.")


def _keys(pids: pa.Array, salt: int) -> np.ndarray:
    """The 64-bit keys of pids: one to one for integers, a hash for texts."""
    if pids.type == pa.int64():
        return pids.fill_null(0).to_numpy().view(np.uint64) * _ODD
    return computed(pa.table({"pid": pids}), f"hash(pid, {salt:d}) AS key")["key"].to_numpy()
