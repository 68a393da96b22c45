"""Lists of pids become SIDs: cut to a length, those without a SID dropped, the others joined."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sid_assets.core.schema import CODE_LAYERS
from sid_assets.core.sids import joined_sid_text


@dataclass(frozen=True)
class SidLists:
    """The SIDs of each row.

    Attributes:
        fragments: uint16, shape (m, 3): the SIDs of all rows (see `sids.fragment_numbers`).
        bounds: int64, shape (n + 1,): row i has the SIDs bounds[i] to bounds[i + 1].
    """

    fragments: np.ndarray
    bounds: np.ndarray

    def filled(self) -> np.ndarray:
        """Which rows have a SID: bool, shape (n,)."""
        return self.bounds[1:] > self.bounds[:-1]

    def text(self) -> pa.StringArray:
        """The SIDs of each row joined with nothing between them."""
        return joined_sid_text(self.fragments, self.bounds)

    def content(self) -> pa.BinaryArray:
        """The SIDs of each row as bytes, six for each: shorter than the text, equal if it is."""
        offsets = (self.bounds * (CODE_LAYERS * self.fragments.itemsize)).astype(np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(self.fragments))]
        return pa.BinaryArray.from_buffers(pa.binary(), len(self.bounds) - 1, buffers)


def spans(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions start, start + 1, .. end - 1 of each row, one row behind the other.

    Args:
        starts: int64, shape (n,).
        ends: int64, shape (n,), none below its start.

    Returns:
        The positions, int64, shape (m,), and the bounds of the rows in them, shape (n + 1,).
    """
    lengths = ends - starts
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    return np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], lengths), bounds


def list_bounds(lists: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """Where each list starts and ends in `lists.values`: int64, shape (n,); null is empty."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    starts, ends = offsets[:-1], offsets[1:]
    if lists.null_count:
        ends = np.where(lists.is_valid().to_numpy(zero_copy_only=False), ends, starts)
    return starts, ends


def sids_where(found: np.ndarray, fragments: np.ndarray, bounds: np.ndarray) -> SidLists:
    """The rows again after pids without a SID are dropped.

    Args:
        found: bool, shape (m,): which of the pids have one.
        fragments: uint16, shape (k, 3): the SIDs of these.
        bounds: Shape (n + 1,): the bounds of the rows in the m pids.
    """
    if len(fragments) < len(found):
        bounds = np.concatenate([[0], np.cumsum(found)])[bounds]
    return SidLists(fragments, bounds)
