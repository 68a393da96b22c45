"""The purity of a column: whether items that share codes also share a value, such as a category.

The share of a group is that of its pairs of items that have the same value. A share is averaged
over items, so it answers: if you take an item and another one of its group, how often do both have
the same value? Its value by chance is exact: were the values dealt at random to groups of the same
sizes, every pair would agree as often as any pair of the catalog. (The share of a group's most
frequent value, as purity is often defined, has no such simple chance: it is 1 for groups of one,
and high for small groups, whatever the values are.)

All items in one code give 0 above chance, and so do codes drawn at random, on average. Only groups
of two and more items count, so a tokenizer with few of them is judged by few items: the number of
items stands beside the share.
"""

from dataclasses import dataclass

import numpy as np

from sid_assets.core.arrow.columns import run_starts
from sid_assets.core.quality.items import NO_VALUE, SidGroups
from sid_assets.core.quality.section import NOT_THERE, Bars, Section, count_text, percent_text
from sid_assets.core.schema import CODE_LAYERS
from sid_assets.core.sids.spelling import prefix_of


@dataclass(frozen=True)
class PrefixPurity:
    """The purity of the groups of items that share a prefix of one length.

    Attributes:
        length: Codes in the prefix: 1, 2, or 3 for the whole SID.
        groups: Groups of two and more items that have a value (count).
        items: Items in these groups (count).
        share: Share of the other items of an item's group that have its value, mean over `items`
            (0 to 1); None if there are no such groups.
        above_chance: (`share` - chance) / (1 - chance): 0 is chance, 1 is pure, below 0 is worse
            than chance. None if `share` is, or if all items have the same value.
    """

    length: int
    groups: int
    items: int
    share: float | None
    above_chance: float | None


@dataclass(frozen=True)
class Purity:
    """The purity of a column by prefix length.

    Attributes:
        column: The column of the catalog.
        items: Items with a value (count).
        without: Items without a value: null, blank, or two rows that differ (count). They are left
            out.
        values: Different values (count).
        chance: Share of all pairs of items that have the same value (0 to 1): the expected share
            if values were dealt at random. None if fewer than two items have a value.
        prefixes: Prefixes of length 1, 2 and 3.
    """

    column: str
    items: int
    without: int
    values: int
    chance: float | None
    prefixes: tuple[PrefixPurity, ...]

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata plotted over refreshes."""
        figures: dict[str, int | float | None] = {
            "purity_chance": self.chance,
            "purity_values": self.values,
            "purity_without_value": self.without,
        }
        for prefix in self.prefixes:
            of = "sid" if prefix.length == CODE_LAYERS else f"prefix_{prefix.length}"
            figures[f"purity_{of}_above_chance"] = prefix.above_chance
            figures[f"purity_{of}_share"] = prefix.share
            figures[f"purity_{of}_items"] = prefix.items
        return {name: value for name, value in figures.items() if value is not None}

    def section(self) -> Section:
        """The section of the report."""
        shares = [prefix.share for prefix in self.prefixes]
        without = (
            f" {count_text(self.without)} items have no value and are left out."
            if self.without
            else ""
        )
        return Section(
            key="purity",
            short="Purity",
            heading=f"Purity of the column “{self.column}”",
            paragraphs=(
                "Take an item and another one with the same codes: how often do both have the same "
                f"value of this column? {count_text(self.items)} items have "
                f"{count_text(self.values)} different values.{without} Items that share their "
                "codes with no other item do not count.",
                "Good: well above chance for the first code already, and higher with each code. "
                "Bad: close to chance, which means that the codes say nothing about this column. A "
                "share alone says little: if most items have one value, it is high for any codes. "
                "So compare it with the share by chance, which is that of values dealt at random "
                "to groups of the same sizes. Where few items share a SID, the last bar rests on "
                "few items.",
            ),
            caption="Other items of the group with the same value",
            bars=Bars(
                places=("first code", "first two", "whole SID"),
                series={
                    "same value": shares,
                    "by chance": [None if share is None else self.chance for share in shares],
                },
                title="%",
                percent=True,
            ),
            header=("Figure", "First code", "First two", "Whole SID", "What it says"),
            rows=(
                (
                    "Same value",
                    *map(percent_text, shares),
                    "Of the other items in an item's group.",
                ),
                (
                    "By chance",
                    *(percent_text(self.chance) for _ in shares),
                    "If the values were dealt at random.",
                ),
                (
                    "Above chance",
                    *(_above(prefix.above_chance) for prefix in self.prefixes),
                    "(share − chance) / (1 − chance). 0: chance; 1: all the same.",
                ),
                (
                    "Groups",
                    *(count_text(prefix.groups) for prefix in self.prefixes),
                    "Of two and more items with a value.",
                ),
                (
                    "Items in them",
                    *(count_text(prefix.items) for prefix in self.prefixes),
                    f"Of {count_text(self.items)}.",
                ),
            ),
        )


def _above(figure: float | None) -> str:
    return NOT_THERE if figure is None else f"{figure:.3f}"


def measure_purity(groups: SidGroups, values: np.ndarray, column: str) -> Purity:
    """Measure the purity of a column.

    Args:
        groups: The items in groups of one SID.
        values: int64 (n,): keys of the values in the order of pids; `NO_VALUE` for none.
        column: The column of the catalog.
    """
    ordered = values[groups.order]
    known = ordered != NO_VALUE
    sids = np.repeat(groups.sids, groups.sizes)[known]
    distinct, labels = np.unique(ordered[known], return_inverse=True)
    counts = np.bincount(labels, minlength=1)
    items = len(sids)
    chance = float((counts * (counts - 1)).sum() / (items * (items - 1))) if items > 1 else None
    return Purity(
        column=column,
        items=items,
        without=len(values) - items,
        values=len(distinct),
        chance=chance,
        prefixes=tuple(
            _prefix_purity(length, sids, labels, len(distinct), chance)
            for length in range(1, CODE_LAYERS + 1)
        ),
    )


def _prefix_purity(
    length: int, sids: np.ndarray, labels: np.ndarray, values: int, chance: float | None
) -> PrefixPurity:
    """The purity at one prefix length.

    Args:
        length: Codes in the prefix.
        sids: int64 (m,): packed SIDs of the items with a value, ascending.
        labels: int64 (m,): their values, 0 to `values` - 1.
        values: Different values.
        chance: Share of all pairs that have the same value.
    """
    if chance is None:
        return PrefixPurity(length, 0, 0, None, None)
    starts = run_starts(prefix_of(sids, length))
    sizes = np.diff(starts, append=len(sids))
    # One sort of (group, value) gives the count of each value in each group.
    keys = np.repeat(np.arange(len(sizes)), sizes) * values + labels
    keys.sort()
    runs = run_starts(keys)
    counts = np.diff(runs, append=len(keys))
    agreeing = np.bincount(keys[runs] // values, weights=counts * (counts - 1))
    shared = sizes > 1
    items = int(sizes[shared].sum())
    if not items:
        return PrefixPurity(length, 0, 0, None, None)
    share = float((agreeing[shared] / (sizes[shared] - 1)).sum() / items)
    above = (share - chance) / (1 - chance) if chance < 1 else None
    return PrefixPurity(length, int(shared.sum()), items, share, above)
