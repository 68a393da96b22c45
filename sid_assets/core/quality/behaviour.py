"""behaviour@10: are items that users take one after the other near in the code tree?

All items in one code tie everything, and random SIDs tell nothing: both are poor here. The same
figure for the vectors alone, beside it, says how much of it quantising has kept.
"""

from dataclasses import dataclass

import numpy as np

from sid_assets.core.quality.next_items import NextItems
from sid_assets.core.quality.prefix_ranking import FIRST, chance_at_random, chances_of_first
from sid_assets.core.quality.section import Bars, Section, count_text, percent_text


@dataclass(frozen=True)
class Behaviour:
    """How often the next item of a history is among the first by SID, and by vector.

    Attributes:
        queries: Items whose next items were looked for (count).
        items: Items among which they were looked for (count).
        pairs: Pairs of item and next item, each once for each user (count).
        by_sid: Share of the pairs whose next item is among the first 10, 30 and 100 by shared
            prefix (share, 0 to 1).
        by_vector: The same for the nearest items by vector.
        at_random: The same for SIDs that tell nothing.
    """

    queries: int
    items: int
    pairs: int
    by_sid: tuple[float, ...]
    by_vector: tuple[float, ...]
    at_random: tuple[float, ...]

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata plotted over refreshes."""
        figures: dict[str, int | float] = {}
        shares = zip(FIRST, self.by_sid, self.by_vector, self.at_random, strict=True)
        for first, by_sid, by_vector, at_random in shares:
            figures[f"behaviour_in_first_{first}"] = by_sid
            figures[f"behaviour_by_vector_in_first_{first}"] = by_vector
            figures[f"behaviour_by_chance_in_first_{first}"] = at_random
        return figures | {
            "behaviour_queries": self.queries,
            "behaviour_items": self.items,
            "behaviour_pairs": self.pairs,
        }

    def section(self) -> Section:
        """The section of the report."""
        return Section(
            key="behaviour",
            short="Behaviour",
            heading="Next items that SIDs find",
            paragraphs=(
                f"{count_text(self.pairs)} times, an item follows one of "
                f"{count_text(self.queries)} items in a history of split 0 (each user and pair "
                f"once). Among {count_text(self.items)} items, ranked by the length of the prefix "
                "that they share with the item before, with ties in random order, is it one of "
                "the first?",
                "Good: near the share by vector, or above it; SIDs then keep what the vectors know "
                "of behaviour. Bad: near the share at random. If the share by vector is low too, "
                "the vectors say little about what users take next, and no tokenizer can help. "
                "Sizes matter: compare only figures for equally many queries and items.",
            ),
            caption="Next items among the first",
            bars=Bars(
                places=tuple(f"first {first}" for first in FIRST),
                series={  # in percent, on an axis that may end far below 100
                    "by SID": [100 * share for share in self.by_sid],
                    "by vector": [100 * share for share in self.by_vector],
                    "at random": [100 * share for share in self.at_random],
                },
                title="next items (%)",
            ),
            header=("Figure", *(f"First {first}" for first in FIRST), "What it says"),
            rows=(
                (
                    "By SID",
                    *(percent_text(share) for share in self.by_sid),
                    "Expected share, over the orders of ties.",
                ),
                (
                    "By vector",
                    *(percent_text(share) for share in self.by_vector),
                    "The vectors alone, without a tokenizer.",
                ),
                (
                    "At random",
                    *(percent_text(share) for share in self.at_random),
                    "If SIDs told nothing, or all items had the same.",
                ),
            ),
        )


def measure_behaviour(
    codes: np.ndarray, pairs: NextItems, queries: np.ndarray, nearest: np.ndarray
) -> Behaviour | None:
    """Measure how often next items are found.

    Args:
        codes: Integers, shape (n, 3): the SIDs of all items of the sample; at least two.
        pairs: Pairs of items; only those whose first item is a query are used.
        queries: int64 (q,): positions of the queries, ascending.
        nearest: Integers, shape (q, k): positions of the nearest items of each, nearest first.

    Returns:
        The figures; None if there are no pairs.
    """
    kept = np.isin(pairs.items, queries)
    items, nexts, users = pairs.items[kept], pairs.nexts[kept], pairs.users[kept]
    if not len(items):
        return None
    by_sid = chances_of_first(codes, items, nexts)
    found = nearest[np.searchsorted(queries, items)] == nexts[:, None]
    by_vector = np.stack([found[:, :first].any(axis=1) for first in FIRST], axis=1)

    def mean(chances: np.ndarray) -> tuple[float, ...]:
        return tuple((users @ chances / users.sum()).tolist())

    return Behaviour(
        queries=len(np.unique(items)),
        items=len(codes),
        pairs=int(users.sum()),
        by_sid=mean(by_sid),
        by_vector=mean(by_vector),
        at_random=tuple(chance_at_random(len(codes))),
    )
