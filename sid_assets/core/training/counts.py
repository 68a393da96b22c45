"""Counts of what became of the input rows of a training data set.

Each block of rows is counted, and the counts are added up. The sum is stored with the table, for
its metadata and its checks.
"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sid_assets.core.store.provenance import Provenance


@dataclass(frozen=True)
class PidCount:
    """How many pids of a column were looked up, and how many of them have a SID.

    Attributes:
        pids: Pids.
        with_sid: Those that have a SID.
        removed: Those of these whose item is no longer in the catalog.
    """

    pids: int = 0
    with_sid: int = 0
    removed: int = 0

    @classmethod
    def of(cls, found: np.ndarray, removed: int = 0) -> "PidCount":
        """Count pids; `found`: bool, which of them have a SID."""
        return cls(len(found), int(found.sum()), removed)

    def __add__(self, other: "PidCount") -> "PidCount":
        """The sum of both counts."""
        return PidCount(
            self.pids + other.pids,
            self.with_sid + other.with_sid,
            self.removed + other.removed,
        )

    @property
    def share(self) -> float:
        """Share of the pids that have a SID; 1 if there are no pids."""
        return self.with_sid / self.pids if self.pids else 1.0


@dataclass(frozen=True)
class RowCounts:
    """Counts of what became of some rows of the input.

    Attributes:
        rows: Rows of split 0, or captions.
        candidates: Candidates for rows of the data set: one for each row of the input, but one for
            each keyword in interactive_rec and one for each target in label_pred.
        written: Rows of the data set.
        dropped_rows: Rows of the input without candidates, by reason.
        dropped: Candidates that are not written, by reason.
        mask_lines: Lines omitted because a label mask is not as long as its list, by column.
        pids: Pids looked up, by column.
    """

    rows: int = 0
    candidates: int = 0
    written: int = 0
    dropped_rows: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    mask_lines: Counter[str] = field(default_factory=Counter)
    pids: dict[str, PidCount] = field(default_factory=dict)

    def __add__(self, other: "RowCounts") -> "RowCounts":
        """The sums of all counts."""
        pids = dict(self.pids)
        for column, count in other.pids.items():
            pids[column] = pids.get(column, PidCount()) + count
        return RowCounts(
            rows=self.rows + other.rows,
            candidates=self.candidates + other.candidates,
            written=self.written + other.written,
            dropped_rows=self.dropped_rows + other.dropped_rows,
            dropped=self.dropped + other.dropped,
            mask_lines=self.mask_lines + other.mask_lines,
            pids=pids,
        )

    def adds_up(self) -> bool:
        """Whether every candidate was written or counted as dropped."""
        return self.candidates == self.written + self.dropped.total()

    def lost(self) -> Counter[str]:
        """Dropped rows and candidates, by reason."""
        return self.dropped_rows + self.dropped

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return {
            "rows": self.rows,
            "candidates": self.candidates,
            "written": self.written,
            "dropped_rows": dict(self.dropped_rows),
            "dropped": dict(self.dropped),
            "mask_lines": dict(self.mask_lines),
            "pids": {column: asdict(count) for column, count in self.pids.items()},
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "RowCounts":
        """Read the result of `to_json`."""
        return cls(
            rows=found["rows"],
            candidates=found["candidates"],
            written=found["written"],
            dropped_rows=Counter(found["dropped_rows"]),
            dropped=Counter(found["dropped"]),
            mask_lines=Counter(found["mask_lines"]),
            pids={column: PidCount(**count) for column, count in found["pids"].items()},
        )

    @classmethod
    def of(cls, provenance: Provenance) -> "RowCounts | None":
        """The counts stored with a training data set; None if there are none."""
        found = provenance.details.get("counts")
        return cls.from_json(found) if found is not None else None
