"""Charts of the quality of SIDs, small enough for the metadata of a materialisation."""

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sid_assets.core.quality.figures import Distributions, SidQuality

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (6.6, 3.6)
DPI = 100
LAYER_COLOURS = ("#2f5d8a", "#3a9188", "#c27d2c")
"""One per layer, distinguishable for colour-blind readers."""

INK, FAINT = "#26303a", "#d5dade"

FEW_CODES = 40
"""Up to this many codes are also drawn as points: a line through them may be too short to see."""

GROUP_SIZES = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 100), (101, None))
"""Ranges of SID group sizes, first and last, that are shown together; None: no upper limit."""


def pictures(quality: SidQuality) -> dict[str, bytes]:
    """The charts by name, as PNGs below 60 kB."""
    return {
        "code_usage": code_usage_png(quality),
        "group_sizes": group_sizes_png(quality),
        "reconstruction_error": reconstruction_error_png(quality),
        "uniqueness_by_prefix": uniqueness_by_prefix_png(quality),
    }


def markdown_image(alt: str, png: bytes) -> str:
    """A picture as Markdown with a data URI. `alt` is not escaped and must have no brackets."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})"


def items_by_group_size(distributions: Distributions) -> dict[str, int]:
    """How many items are in SID groups of each range of sizes, by label: `1`, `2`, `3–5`, ..."""
    items = distributions.group_sizes * distributions.group_counts
    counted = {}
    for first, last in GROUP_SIZES:
        within = distributions.group_sizes >= first
        if last is not None:
            within &= distributions.group_sizes <= last
        label = f">{first - 1}" if last is None else f"{first}–{last}"
        counted[str(first) if first == last else label] = int(items[within].sum())
    return counted


def code_usage_png(quality: SidQuality) -> bytes:
    """Items per code in use, by layer, most used first; even usage is a flat line."""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

        most_used = max(usage.used for usage in quality.layers)
        for usage, counts, colour in zip(
            quality.layers, quality.distributions.code_counts, LAYER_COLOURS, strict=True
        ):
            label = f"layer {usage.layer}: {usage.used:,} used, perplexity {usage.perplexity:,.0f}"
            items = np.sort(counts)[::-1][: usage.used]
            marker = "o" if usage.used <= FEW_CODES else None
            ranks = np.arange(1, usage.used + 1)
            axes.plot(
                ranks, items, color=colour, linewidth=1.8, label=label, marker=marker, markersize=4
            )
        axes.axhline(even_use(quality), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yscale("log")
        most = quality.distributions.code_counts.max()
        axes.set_ylim(0.7, max(3, 1.4 * most))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 50 else (1,)))
        axes.yaxis.set_major_formatter("{x:,.10g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(*((1, most_used) if most_used > FEW_CODES else (0.5, most_used + 0.5)))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        dead = quality.codebook_size - most_used
        rest = f"; {dead:,} are unused in every layer" if dead else ""
        axes.set_xlabel(f"codes of a layer, most used first (of {quality.codebook_size:,}{rest})")
        axes.set_ylabel("items")
        axes.legend(frameon=False, fontsize=8.5, loc="upper right")
        set_title(axes, "Items per code (dashed: if all codes were used equally)")

    return as_png(draw)


def even_use(quality: SidQuality) -> float:
    """Items per code if as many codes as possible were in use, all of them equally."""
    return max(1.0, quality.items / quality.codebook_size)


def group_sizes_png(quality: SidQuality) -> bytes:
    """Share of the items by the size of their SID group."""

    def draw(axes: "Axes") -> None:
        counted = items_by_group_size(quality.distributions)
        shares = [100 * items / quality.items for items in counted.values()]
        colours = [LAYER_COLOURS[0]] + [LAYER_COLOURS[2]] * (len(shares) - 1)
        bars = axes.bar(list(counted), shares, color=colours, width=0.66)
        labels = [f"{items:,}" for items in counted.values()]
        axes.bar_label(bars, labels, padding=3, color=INK, fontsize=8.5)
        axes.set_ylim(0, 108)
        axes.set_xlabel("items with the same SID")
        axes.set_ylabel("% of items")
        set_title(axes, "Items by the size of their SID group (1: a unique SID)")

    return as_png(draw)


def reconstruction_error_png(quality: SidQuality) -> bytes:
    """Share of the items with an error of at most x, after each layer."""

    def draw(axes: "Axes") -> None:
        curves = quality.distributions.error_quantiles
        share = np.linspace(0, 100, curves.shape[1])
        for usage, curve, colour in zip(quality.layers, curves, LAYER_COLOURS, strict=True):
            label = f"after layer {usage.layer}"
            if usage.error:
                label += f": median {usage.error.p50:.3f}, p99 {usage.error.p99:.3f}"
            axes.plot(curve, share, color=colour, linewidth=1.8, label=label)
        axes.set_xlim(left=0)
        axes.set_ylim(0, 100)
        axes.set_xlabel("relative reconstruction error (0: exact, 1: no better than no codes)")
        axes.set_ylabel("% of items with at most this error")
        axes.legend(frameon=False, fontsize=8.5, loc="upper left")
        set_title(axes, "Reconstruction error after each layer")

    return as_png(draw)


def uniqueness_by_prefix_png(quality: SidQuality) -> bytes:
    """How well one, two and three codes distinguish items."""

    def draw(axes: "Axes") -> None:
        places = np.arange(len(quality.prefixes))
        series = {
            "distinct prefixes, % of items": [100 * p.distinct_share for p in quality.prefixes],
            "items with a unique prefix, %": [
                100 * (1 - p.colliding_share) for p in quality.prefixes
            ],
        }
        for shift, (label, shares), colour in zip(
            (-0.19, 0.19), series.items(), LAYER_COLOURS, strict=False
        ):
            bars = axes.bar(places + shift, shares, width=0.34, color=colour, label=label)
            axes.bar_label(bars, fmt="%.1f", padding=3, color=INK, fontsize=8.5)
        axes.set_xticks(places, ["first code", "first two codes", "whole SID"])
        axes.set_ylim(0, 108)
        axes.set_ylabel("%")
        axes.legend(frameon=False, fontsize=8.5, loc="upper left")
        set_title(axes, "Uniqueness by prefix length")

    return as_png(draw)


def set_title(axes: "Axes", text: str) -> None:
    """Give a chart its title."""
    """Give a chart its title."""
    axes.set_title(text, loc="left", color=INK, fontsize=10.5, fontweight="bold", pad=10)


def as_png(draw: "Callable[[Axes], None]") -> bytes:
    """A chart as a PNG; `draw` draws it."""
    # Without pyplot, which keeps figures in a global list and is not thread-safe.
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8.5, length=0, which="both")
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    draw(axes)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=9)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
