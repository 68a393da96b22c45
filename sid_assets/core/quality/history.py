"""The refreshes of the SIDs over time: what was new, changed, removed, returned and resolved."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sid_assets.core.quality.section import Bars, Section, count_text

MOST_SHOWN = 30
"""Refreshes on the page: the latest."""

COUNTS = ("items", "new", "changed", "removed", "returned", "resolved", "shared_sids")


@dataclass(frozen=True)
class History:
    """The latest refreshes.

    Attributes:
        first: The number of the earliest one here, counted from 1.
        refreshes: Rows of `sid_refreshes`, the earliest first; at least two.
    """

    first: int
    refreshes: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, refreshes: pa.Table) -> "History | None":
        """The history of a table `sid_refreshes`; None if there is nothing to compare."""
        if refreshes.num_rows < 2:
            return None
        first = max(0, refreshes.num_rows - MOST_SHOWN)
        return cls(first + 1, tuple(refreshes.slice(first).to_pylist()))

    def figures(self) -> dict[str, int | float]:
        """None: the counts of each refresh are metadata of `sid_registry`."""
        return {}

    def section(self) -> Section:
        """The section of the report."""
        numbers = range(self.first, self.first + len(self.refreshes))
        left_out = f" The {MOST_SHOWN} latest are shown." if self.first > 1 else ""
        return Section(
            key="history",
            short="History",
            heading="Refreshes over time",
            paragraphs=(
                "Each refresh publishes SIDs for new items and for items whose codes changed with "
                f"their text; all other items keep theirs.{left_out}",
                "Good: new and removed items follow the catalog, few items change, and shared SIDs "
                "stay as they are or fall. Bad: many changed items in each refresh, each of which "
                "may leave a SID that models know; or shared or resolved SIDs that grow faster "
                "than the items, where the codes of the tokenizer run out.",
            ),
            caption="New and removed items, and SIDs of more than one item",
            bars=Bars(
                # Plotly reads a date as a point on a time axis, so refreshes are numbered.
                places=tuple(f"refresh {number}" for number in numbers),
                series={
                    label: [row[name] or None for row in self.refreshes]  # a logarithm has no 0
                    for label, name in (
                        ("new", "new"),
                        ("removed", "removed"),
                        ("shared SIDs", "shared_sids"),
                    )
                },
                title="count",
                logarithmic=True,
            ),
            header=(
                "Refresh",
                "Items",
                "New",
                "Changed",
                "Removed",
                "Returned",
                "Resolved",
                "Shared SIDs",
                "Generation",
            ),
            rows=tuple(
                (
                    f"{number}: {row['at']:%Y-%m-%d %H:%M} UTC",
                    *(count_text(row[name]) for name in COUNTS),
                    row["generation"],
                )
                for number, row in zip(numbers, self.refreshes, strict=True)
            ),
        )
