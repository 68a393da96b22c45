"""Collisions before and after resolving, side by side, and what resolving cost."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sid_assets.core.quality.figures import SidQuality, named
from sid_assets.core.quality.section import (
    NOT_THERE,
    Bars,
    Section,
    count_text,
    decimal_text,
    percent_text,
)


@dataclass(frozen=True)
class Cost:
    """What resolving cost: extra error is in units of the relative reconstruction error.

    Attributes:
        moved: Items whose third code was replaced because their SID was taken (count).
        mean_extra_error: Mean over these items; 0 if there are none.
        largest_extra_error: The largest of them; 0 if there are none.
    """

    moved: int
    mean_extra_error: float
    largest_extra_error: float


def measure_cost(moves: Iterable[pa.RecordBatch]) -> Cost:
    """Add up the extra errors.

    Args:
        moves: Batches with the column `extra_error` of the table `sid_moves`.
    """
    moved, total, largest = 0, 0.0, -np.inf
    for batch in moves:
        errors = batch["extra_error"].drop_null().to_numpy()
        if len(errors):
            moved += len(errors)
            total += float(errors.sum(dtype=np.float64))
            largest = max(largest, float(errors.max()))
    return Cost(moved, total / moved, largest) if moved else Cost(0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Resolving:
    """Codes and published SIDs, compared.

    Attributes:
        before: The quality of the codes.
        after: The quality of the published SIDs, of the same items.
        differing: Items whose SID is not their codes (count): moved, or kept from before.
        cost: What resolving cost.
    """

    before: SidQuality
    after: SidQuality
    differing: int
    cost: Cost

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata plotted over refreshes."""
        sids = self.before.sids
        figures: dict[str, int | float] = {
            "before_resolving_distinct": sids.distinct,
            "before_resolving_colliding_items": sids.colliding_items,
            "before_resolving_colliding_share": sids.colliding_share,
            "before_resolving_largest_group": sids.largest_group,
        }
        if self.before.collisions:
            figures |= named(self.before.collisions, "before_resolving_collisions_{}")
        return figures | {"sids_not_codes": self.differing} | named(self.cost, "resolving_{}")

    def section(self) -> Section:
        """The section of the report."""
        both = (self.before, self.after)
        cost = self.cost
        return Section(
            key="resolving",
            short="Resolving",
            heading="Before and after resolving",
            paragraphs=(
                f"{count_text(self.differing)} items have a SID that is not their codes. "
                f"{count_text(cost.moved)} of them were moved to another third code because the "
                "SID of their codes was taken; the others kept a published SID when their codes "
                "changed. All other figures of this page are of published SIDs, except margins.",
                "Good: no or few items share a SID afterwards, and the extra error is small beside "
                "the reconstruction error. Bad: a large extra error, where the third code says "
                "little of its item, or many moved items of identical text, which nothing but "
                "popularity tells apart; give them richer texts.",
            ),
            caption="Items that share their SID",
            bars=Bars(
                places=("before", "after"),
                series={"items": [quality.sids.colliding_items for quality in both]},
                title="items",
            ),
            header=("Figure", "Before", "After", "What it says"),
            rows=(
                _counts(
                    "Items that share", [q.sids.colliding_items for q in both], "With another item."
                ),
                (
                    "Their share",
                    *(percent_text(quality.sids.colliding_share) for quality in both),
                    "Of all items.",
                ),
                _counts(
                    "Distinct SIDs",
                    [q.sids.distinct for q in both],
                    f"Of {count_text(self.after.items)} items.",
                ),
                _counts(
                    "Largest group",
                    [q.sids.largest_group for q in both],
                    "Items of the most frequent SID.",
                ),
                *self._kinds(),
                ("Moved items", NOT_THERE, count_text(cost.moved), "Have another third code."),
                (
                    "Mean extra error",
                    NOT_THERE,
                    decimal_text(cost.mean_extra_error),
                    "Of moved items; in units of the relative reconstruction error.",
                ),
                (
                    "Largest extra error",
                    NOT_THERE,
                    decimal_text(cost.largest_extra_error),
                    "Of any moved item.",
                ),
            ),
        )

    def _kinds(self) -> list[tuple[str, ...]]:
        """The rows of collisions by kind, if texts are known."""
        kinds = [q.collisions for q in (self.before, self.after) if q.collisions]
        if len(kinds) < 2:
            return []
        return [
            _counts(
                "Collisions of identical text",
                [kind.same_text for kind in kinds],
                "No tokenizer can separate these items.",
            ),
            _counts(
                "Collisions of other texts",
                [kind.other_text for kind in kinds],
                "A larger or better fitting tokenizer might.",
            ),
        ]


def _counts(label: str, counts: list[int], note: str) -> tuple[str, ...]:
    return (label, *map(count_text, counts), note)
