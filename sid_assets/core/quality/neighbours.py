"""neighbours@10: are items with near vectors near in the code tree too?

All items in one code tie everything, and random centroids cut between near items: both are poor
here. SIDs that are drawn at random are as poor as a collapse.
"""

from dataclasses import dataclass

import numpy as np

from sid_assets.core.quality.prefix_ranking import FIRST, chance_at_random, chances_of_first
from sid_assets.core.quality.section import Bars, Section, count_text

NEIGHBOURS = 10


@dataclass(frozen=True)
class Neighbours:
    """How many of the ten nearest items by vector are found by SID.

    Attributes:
        queries: Items whose neighbours were looked for (count).
        items: Items among which they were looked for (count).
        neighbours: Nearest items of each query (count; 10, less with fewer items).
        found: Of these, the mean number among the first 10, 30 and 100 items by shared prefix
            (0 to `neighbours`).
        at_random: The same for SIDs that tell nothing.
    """

    queries: int
    items: int
    neighbours: int
    found: tuple[float, ...]
    at_random: tuple[float, ...]

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata plotted over refreshes."""
        return {
            **{
                f"neighbours_in_first_{first}": found
                for first, found in zip(FIRST, self.found, strict=True)
            },
            **{
                f"neighbours_by_chance_in_first_{first}": found
                for first, found in zip(FIRST, self.at_random, strict=True)
            },
            "neighbours_queries": self.queries,
            "neighbours_items": self.items,
        }

    def section(self) -> Section:
        """The section of the report."""
        return Section(
            key="neighbours",
            short="Neighbours",
            heading="Neighbours by vector that SIDs find",
            paragraphs=(
                f"Each of {count_text(self.queries)} items has {self.neighbours} nearest items by "
                f"vector among {count_text(self.items)}. The items are ranked by the length of the "
                "prefix that they share with it; ties are in random order. How many of its "
                "nearest stand among the first?",
                f"Good: many of the {self.neighbours} stand among the first 10 and nearly all "
                "among the first 100; similar items then have similar SIDs, which a model can "
                "learn. Bad: few more than at random. Sizes matter: compare only figures for "
                "equally many queries and items.",
            ),
            caption=f"Of the {self.neighbours} nearest items by vector, how many are found",
            bars=Bars(
                places=tuple(f"first {first}" for first in FIRST),
                series={"by SID": self.found, "at random": self.at_random},
                title="items",
            ),
            header=("Figure", *(f"First {first}" for first in FIRST), "What it says"),
            rows=(
                (
                    "Found by SID",
                    *(f"{found:.2f}" for found in self.found),
                    f"Mean of {count_text(self.queries)} items; at most {self.neighbours}.",
                ),
                (
                    "At random",
                    *(f"{found:.2f}" for found in self.at_random),
                    "If SIDs told nothing, or all items had the same.",
                ),
            ),
        )


def measure_neighbours(codes: np.ndarray, queries: np.ndarray, nearest: np.ndarray) -> Neighbours:
    """Measure how many of the nearest items by vector are found by SID.

    Args:
        codes: Integers, shape (n, 3): the SIDs of all items of the sample; at least two.
        queries: Integers (q,): positions of the queries; at least one.
        nearest: Integers, shape (q, k): positions of the nearest items of each, nearest first.
    """
    nearest = nearest[:, :NEIGHBOURS]
    chances = chances_of_first(
        codes, np.repeat(queries, nearest.shape[1]), np.ascontiguousarray(nearest).reshape(-1)
    )
    found = chances.sum(axis=0) / len(queries)
    return Neighbours(
        queries=len(queries),
        items=len(codes),
        neighbours=nearest.shape[1],
        found=tuple(found.tolist()),
        at_random=tuple(nearest.shape[1] * chance for chance in chance_at_random(len(codes))),
    )
