"""A section of the report: a picture, a table, and what is good and what is bad.

Each subject of the report that is not drawn by the page itself returns one of these. The page shows
all of them in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Bars:
    """A chart of bars, grouped by place.

    Plotly interprets some markup in labels, so no label may come from a catalog or a setting.

    Attributes:
        places: Labels below the groups of bars.
        series: Heights of the bars by name, one for each place; None: no bar.
        title: Title of the vertical axis.
        percent: Whether the heights are shares, shown in percent.
        logarithmic: Whether the vertical axis is logarithmic.
    """

    places: tuple[str, ...]
    series: Mapping[str, Sequence[float | None]]
    title: str
    percent: bool = False
    logarithmic: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        key: Its anchor on the page: lower case letters and hyphens.
        short: Its name in the list of sections.
        heading: Its heading.
        paragraphs: What is measured; the last paragraph says what is good and what is bad.
        caption: Caption of the picture.
        bars: The picture.
        header: Heads of the table: that of the names, those of the numbers, that of the notes.
        rows: Rows of the table, one cell for each head.
        notice: What a reader must know before using the figures; "" for nothing.
    """

    key: str
    short: str
    heading: str
    paragraphs: tuple[str, ...]
    caption: str
    bars: Bars
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notice: str = ""


class Subject(Protocol):
    """The result of a measure: numbers for the metadata, and a section of the report."""

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata plotted over refreshes."""
        ...

    def section(self) -> Section:
        """The section of the report."""
        ...


NOT_THERE = "–"
"""What a table shows where there is no number."""


def count_text(number: float) -> str:
    """Format a count: 17,472."""
    return f"{number:,.0f}"


def percent_text(share: float | None) -> str:
    """Format a share: 80.8%. Only exact shares read 0.0% or 100%; others <0.1% or >99.9%."""
    if share is None:
        return NOT_THERE
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return "100%" if share == 1 else f"{share:.1%}"


def decimal_text(number: float) -> str:
    """Format a figure: 0.503."""
    return f"{number:.3f}"
