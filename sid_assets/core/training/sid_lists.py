"""The SIDs of lists of pids: pids without a SID are dropped, the other SIDs are joined."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sid_assets.core.schema import CODE_LAYERS
from sid_assets.core.sids.spelling import joined_sid_text


@dataclass(frozen=True)
class SidLists:
    """The SIDs of each row.

    Attributes:
        fragments: uint16, shape (m, 3): the SIDs of all rows (see `spelling.fragment_numbers`).
        bounds: int64, shape (n + 1,): row i has the SIDs bounds[i] to bounds[i + 1].
    """

    fragments: np.ndarray
    bounds: np.ndarray

    @classmethod
    def empty(cls, rows: int) -> "SidLists":
        """Rows without SIDs."""
        return cls(np.zeros((0, CODE_LAYERS), np.uint16), np.zeros(rows + 1, np.int64))

    def split(self, parts: int) -> list["SidLists"]:
        """The rows, split into this many parts of equal length."""
        rows = (len(self.bounds) - 1) // parts
        made = []
        for start in range(0, parts * rows, rows) if rows else [0] * parts:
            bounds = self.bounds[start : start + rows + 1]
            made.append(SidLists(self.fragments[bounds[0] : bounds[-1]], bounds - bounds[0]))
        return made

    def filled(self) -> np.ndarray:
        """Which rows have a SID: bool, shape (n,)."""
        return self.bounds[1:] > self.bounds[:-1]

    def text(self) -> pa.StringArray:
        """The SIDs of each row, joined without a separator; null for rows without SIDs."""
        return joined_sid_text(self.fragments, self.bounds)

    def content(self) -> pa.BinaryArray:
        """The SIDs of each row as bytes, six per SID: shorter than the text, equal if it is."""
        offsets = (self.bounds * (CODE_LAYERS * self.fragments.itemsize)).astype(np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(self.fragments))]
        return pa.BinaryArray.from_buffers(pa.binary(), len(self.bounds) - 1, buffers)


def sids_where(found: np.ndarray, fragments: np.ndarray, bounds: np.ndarray) -> SidLists:
    """The SIDs of each row, without the pids that have none.

    Args:
        found: bool, shape (m,): which of the pids have a SID.
        fragments: uint16, shape (k, 3): the SIDs found.
        bounds: Shape (n + 1,): the bounds of the rows in the m pids.
    """
    if len(fragments) < len(found):
        bounds = np.concatenate([[0], np.cumsum(found)])[bounds]
    return SidLists(fragments, bounds)
