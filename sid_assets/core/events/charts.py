"""The picture of `interactions`: how long the histories are."""

from typing import TYPE_CHECKING

import numpy as np

from sid_assets.core.events.rules import Summary
from sid_assets.core.quality.charts import INK, LAYER_COLOURS, as_png, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LENGTHS = ((1, 1), (2, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, 200), (201, None))
"""Ranges of lengths, first and last, that are shown together; None: no upper limit."""


def rows_by_length(summary: Summary) -> dict[str, int]:
    """How many rows have a history of each range of lengths, by label: `1`, `2–5`, ..."""
    counts = np.array(summary.history_lengths or [0], np.int64)
    counted = {}
    for first, last in LENGTHS:
        label = f">{first - 1}" if last is None else str(first) if first == last else ""
        end = None if last is None else last + 1
        counted[label or f"{first}–{last}"] = int(counts[first:end].sum())
    return counted


def history_lengths_png(summary: Summary) -> bytes:
    """Rows by the length of their history, as a PNG."""

    def draw(axes: "Axes") -> None:
        counted = rows_by_length(summary)
        bars = axes.bar(list(counted), list(counted.values()), color=LAYER_COLOURS[0], width=0.66)
        labels = [f"{rows:,}" for rows in counted.values()]
        axes.bar_label(bars, labels, padding=3, color=INK, fontsize=8.5)
        axes.set_ylim(0, 1.1 * max(1, *counted.values()))
        axes.set_xlabel("items in the history")
        axes.set_ylabel("rows")
        set_title(axes, "Rows by the length of their history")

    return as_png(draw)
