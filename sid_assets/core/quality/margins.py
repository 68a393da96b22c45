"""Margins: how much nearer the chosen centroid is than the second, by layer.

A vector near the border of two centroids gets another code after a small change of its text. Only
centroids that are in use are compared: a layer that gives all items one code has no second, and its
margin counts as 0. A layer with few centroids that are far apart has large margins, so this figure
alone does not tell which of two tokenizers is better. Random centroids are about equally far from
every vector, which gives small margins.
"""

from dataclasses import dataclass

import numpy as np

from sid_assets.core.quality.section import Bars, Section, count_text, percent_text
from sid_assets.core.quantise.row_blocks import distances, subtract_rows


@dataclass(frozen=True)
class Margin:
    """The margins of one layer; a margin is 1 - distance to the chosen / to the second centroid.

    Attributes:
        layer: 1, 2 or 3.
        mean: Mean margin (0: both are equally near; 1: the chosen centroid is the vector itself).
        p10: A tenth of the items have a smaller margin than this.
        median: Median margin.
    """

    layer: int
    mean: float
    p10: float
    median: float


@dataclass(frozen=True)
class Margins:
    """The margins of all layers.

    Attributes:
        queries: Items that were measured (count).
        items: Items whose codes count as in use (count).
        layers: By layer.
    """

    queries: int
    items: int
    layers: tuple[Margin, ...]

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata plotted over refreshes."""
        figures: dict[str, int | float] = {}
        for margin in self.layers:
            figures[f"margin_{margin.layer}_mean"] = margin.mean
            figures[f"margin_{margin.layer}_p10"] = margin.p10
            figures[f"margin_{margin.layer}_median"] = margin.median
        return figures | {"margin_queries": self.queries, "margin_items": self.items}

    def section(self) -> Section:
        """The section of the report."""
        heads = tuple(f"Layer {margin.layer}" for margin in self.layers)
        return Section(
            key="margins",
            short="Margins",
            heading="Margins of codes",
            paragraphs=(
                "How much nearer the chosen centroid is than the second: 0% if both are equally "
                "near, 100% if the chosen one is the vector itself. Measured on "
                f"{count_text(self.queries)} items, with the centroids that "
                f"{count_text(self.items)} items use.",
                "Good: margins well above 0, most of all in the first layer; a small change of a "
                "text then leaves the code as it is. Bad: a median near 0, where codes depend on "
                "chance. A layer with few, far centroids has large margins too, so read this with "
                "code usage.",
            ),
            caption="Margin by layer",
            bars=Bars(
                places=heads,
                series={
                    "mean": [100 * margin.mean for margin in self.layers],
                    "median": [100 * margin.median for margin in self.layers],
                    "10th percentile": [100 * margin.p10 for margin in self.layers],
                },
                title="margin (%)",
            ),
            header=("Figure", *heads, "What it says"),
            rows=(
                (
                    "Mean margin",
                    *(percent_text(margin.mean) for margin in self.layers),
                    "0%: both centroids equally near; 100%: exactly at the chosen one.",
                ),
                (
                    "Median",
                    *(percent_text(margin.median) for margin in self.layers),
                    "Half of the items have less.",
                ),
                (
                    "10th percentile",
                    *(percent_text(margin.p10) for margin in self.layers),
                    "A tenth of the items have less.",
                ),
            ),
        )


def measure_margins(
    vectors: np.ndarray, codes: np.ndarray, queries: np.ndarray, centroids: np.ndarray
) -> Margins:
    """Measure the margins of some items.

    Args:
        vectors: float32, shape (n, dim): of all items of the sample.
        codes: Integers, shape (n, layers): their codes.
        queries: Integers (q,): positions of the items to measure; at least one.
        centroids: float32, shape (layers, codebook_size, dim).
    """
    residuals = np.array(vectors[queries], np.float32)
    layers = []
    for layer, codebook in enumerate(centroids):
        chosen = codes[queries, layer]
        margins = _margins(residuals, codebook, chosen, np.unique(codes[:, layer]))
        p10, median = np.quantile(margins, [0.1, 0.5])
        layers.append(Margin(layer + 1, float(margins.mean()), float(p10), float(median)))
        subtract_rows(residuals, codebook, chosen)
    return Margins(len(queries), len(vectors), tuple(layers))


def _margins(
    residuals: np.ndarray, codebook: np.ndarray, chosen: np.ndarray, in_use: np.ndarray
) -> np.ndarray:
    """The margin of each residual: float64 (q,)."""
    rows = np.arange(len(residuals))
    if len(in_use) == 1:
        return np.zeros(len(residuals))
    used = codebook[in_use]
    closeness = residuals @ used.T - np.vecdot(used, used) / 2
    closeness[rows, np.searchsorted(in_use, chosen)] = -np.inf
    second = in_use[closeness.argmax(axis=1)]
    nearer = distances(residuals, rows, codebook, chosen)
    farther = distances(residuals, rows, codebook, second)
    share = np.divide(nearer, farther, out=np.ones(len(rows)), where=farther > 0)
    return np.clip(1 - share, 0, 1)
