"""Uniqueness, collisions and error by popularity: do popular items have good SIDs?

All items in one code collide at every popularity. Random centroids have a large error at every
popularity; codes drawn at random may be unique.
"""

from dataclasses import dataclass

import numpy as np

from sid_assets.core.arrow.columns import run_starts
from sid_assets.core.quality.figures import ReconstructionError, named
from sid_assets.core.quality.items import SidGroups
from sid_assets.core.quality.measure import reconstruction_error
from sid_assets.core.quality.section import (
    NOT_THERE,
    Bars,
    Section,
    count_text,
    decimal_text,
    percent_text,
)

NAMES = ("first", "second", "last", "never_seen")
"""The names of the groups of items in metadata: three thirds of the interactions, and the rest."""

HEADS = ("First third", "Second third", "Last third", "Never seen")


@dataclass(frozen=True)
class PopularityGroup:
    """The items of one third of the interactions, or those without interactions.

    Attributes:
        items: Items (count).
        interactions: Their interactions in split 0 (count).
        distinct: Different SIDs among these items (count).
        distinct_share: `distinct` / `items` (share, above 0 to 1; 1: no two of them share a SID);
            None without items.
        colliding_items: Items that share their SID with any other item of the catalog (count).
        colliding_share: `colliding_items` / `items` (share, 0 to 1); None without items.
        error: Relative reconstruction error after the last layer; None if all vectors are zero.
    """

    items: int
    interactions: int
    distinct: int
    distinct_share: float | None
    colliding_items: int
    colliding_share: float | None
    error: ReconstructionError | None


@dataclass(frozen=True)
class Popularity:
    """The quality of SIDs by popularity.

    Items are ordered by their number of interactions in split 0, the most first, those with equally
    many by pid. An interaction is an occurrence of the item in a history or among the targets. An
    item is in the first third if the items before it have less than a third of the interactions, in
    the second if they have less than two thirds, else in the last: the item in which a third ends
    belongs to it. Items without interactions are a group of their own.

    Attributes:
        groups: First, second and last third, and the items that were never seen.
    """

    groups: tuple[PopularityGroup, ...]

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata plotted over refreshes."""
        figures: dict[str, int | float | None] = {}
        for name, group in zip(NAMES, self.groups, strict=True):
            figures |= named(group, f"popularity_{name}_{{}}", leave_out=("error",))
            if group.error:
                figures |= named(group.error, f"popularity_{name}_error_{{}}")
        return {name: value for name, value in figures.items() if value is not None}

    def section(self) -> Section:
        """The section of the report."""
        errors = [group.error for group in self.groups]
        return Section(
            key="popularity",
            short="Popularity",
            heading="By popularity",
            paragraphs=(
                "A few popular items make up much of what users do. The items that make up the "
                "first, the second and the last third of the "
                f"{count_text(sum(group.interactions for group in self.groups))} interactions of "
                "split 0 are measured apart, and so are those that never occur there.",
                "Good: popular items hardly share SIDs, and their error is no larger than that of "
                "other items. Bad: many shared SIDs in the first third, because each costs the "
                "most there. Shared SIDs among items that are never seen cost little today, but "
                "such items may become popular.",
            ),
            caption="Thirds of the interactions, and items that are never seen",
            bars=Bars(
                places=("first", "second", "last", "never"),
                series={
                    "items that share their SID": [g.colliding_share for g in self.groups],
                    "distinct SIDs / items": [g.distinct_share for g in self.groups],
                    "mean error": [error.mean if error else None for error in errors],
                },
                title="%",
                percent=True,
            ),
            header=("Figure", *HEADS, "What it says"),
            rows=(
                (
                    "Items",
                    *(count_text(group.items) for group in self.groups),
                    "The fewer, the more popular each of them.",
                ),
                (
                    "Interactions",
                    *(count_text(group.interactions) for group in self.groups),
                    "In split 0.",
                ),
                (
                    "Items that share",
                    *(percent_text(group.colliding_share) for group in self.groups),
                    "Their SID with any other item.",
                ),
                (
                    "Distinct SIDs / items",
                    *(percent_text(group.distinct_share) for group in self.groups),
                    "100%: no two of these items share a SID.",
                ),
                (
                    "Mean relative error",
                    *(decimal_text(error.mean) if error else NOT_THERE for error in errors),
                    "After the last layer. 0: exact; 1: no better than no codes.",
                ),
            ),
        )


def measure_popularity(groups: SidGroups, trained: np.ndarray, errors: np.ndarray) -> Popularity:
    """Measure the quality of SIDs by popularity.

    Args:
        groups: The items in groups of one SID.
        trained: Integers (n,): interactions of each item in split 0, in the order of pids.
        errors: float32 (n,): relative errors after the last layer; NaN for zero vectors.
    """
    numbers = np.empty(len(trained), np.int32 if len(trained) < 2**31 else np.int64)
    numbers[groups.order] = np.repeat(np.arange(len(groups.sizes)), groups.sizes)
    colliding = groups.sizes > 1
    return Popularity(
        tuple(_measure(items, numbers, colliding, trained, errors) for items in _thirds(trained))
    )


def _thirds(trained: np.ndarray) -> list[np.ndarray]:
    """The positions of the items of each third, and of those without interactions."""
    seen = np.flatnonzero(trained)
    seen = seen[np.argsort(-trained[seen].astype(np.int64), kind="stable")]
    up_to = np.cumsum(trained[seen], dtype=np.int64)
    before = up_to - trained[seen]
    total = int(up_to[-1]) if len(seen) else 0
    cuts = np.searchsorted(3 * before, [total, 2 * total])
    return [*np.split(seen, cuts), np.flatnonzero(trained == 0)]


def _measure(
    items: np.ndarray,
    numbers: np.ndarray,
    colliding: np.ndarray,
    trained: np.ndarray,
    errors: np.ndarray,
) -> PopularityGroup:
    """The figures of some items.

    Args:
        items: Integers (m,): their positions.
        numbers: Integers (n,): the number of each item's SID group.
        colliding: bool (g,): whether a SID group has other items.
        trained: Integers (n,): interactions.
        errors: float32 (n,): relative errors.
    """
    if not len(items):
        return PopularityGroup(0, 0, 0, None, 0, None, None)
    of_groups = numbers[items]
    shared = int(np.count_nonzero(colliding[of_groups]))
    of_groups.sort()
    distinct = len(run_starts(of_groups))
    return PopularityGroup(
        items=len(items),
        interactions=int(trained[items].sum(dtype=np.int64)),
        distinct=distinct,
        distinct_share=distinct / len(items),
        colliding_items=shared,
        colliding_share=shared / len(items),
        error=reconstruction_error(errors[items]),
    )
