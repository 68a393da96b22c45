"""What collisions cost at the end: the best item recall of a model that names every SID right.

A model names a SID, but a user sees items. Where several items have the SID, one of them is picked,
and the others are missed although the SID was right. All items in one code leave a ceiling of one
item's targets. Codes drawn at random may reach 100 %: the ceiling is what codes allow, not what a
model learns.
"""

from dataclasses import dataclass

import numpy as np

from sid_assets.core.quality.items import SidGroups
from sid_assets.core.quality.section import Bars, Section, count_text, percent_text


@dataclass(frozen=True)
class RecallCeiling:
    """The largest possible item recall at one pick for each SID, by the rule of picking.

    Each target counts once, so an item counts as often as it is a target. A target without a SID is
    missed.

    Attributes:
        split: The split whose targets count: 1, or 0 if split 1 has none. Popularity is counted in
            split 0, so with 0 the targets are part of it, and `most_popular` is too high.
        targets: Targets (count, at least 1).
        without_sid: Targets without a SID (count, 0 to `targets`).
        most_popular: Share of the targets that are the item of their SID with the most interactions
            in split 0, the lowest pid among equals (0 to 1).
        random: Expected share if any item of the SID is picked with equal chances: 1/n for a target
            whose SID has n items (0 to 1).
        largest_pid: Share of the targets that have the largest pid of their SID, as in a dictionary
            from SID to pid that is filled in the order of pids (0 to 1).
    """

    split: int
    targets: int
    without_sid: int
    most_popular: float
    random: float
    largest_pid: float

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata plotted over refreshes."""
        return {f"recall_ceiling_{name}": value for name, value in vars(self).items()}

    def section(self) -> Section:
        """The section of the report."""
        shares = (self.most_popular, self.random, self.largest_pid)
        missed = (
            f" {count_text(self.without_sid)} of them are with items that have no SID; no model "
            "can name these, so they count as missed."
            if self.without_sid
            else ""
        )
        return Section(
            key="recall-ceiling",
            short="Recall ceiling",
            heading="What collisions cost at the end",
            paragraphs=(
                "Suppose a model names the SID of every target, and one item of the SID is "
                "recommended. This is the share of the "
                f"{count_text(self.targets)} targets of split {self.split} that it would "
                f"hit.{missed}",
                "Good: close to 100%, where collisions cost nothing. Bad: far below it; no "
                "training can make up for this, only fewer collisions or a better rule. If "
                "“most popular” is far above “random”, collisions matter less than their number "
                "suggests, because one item of a SID has most of the interest. Codes without any "
                "meaning can reach 100% too.",
            ),
            caption="Targets that are hit if every SID is right",
            bars=Bars(
                places=("most popular", "random", "largest pid"),
                series={"targets that are hit": shares},
                title="% of targets",
                percent=True,
            ),
            header=("Item that is picked", "Targets hit", "What it says"),
            rows=(
                (
                    "Most popular",
                    percent_text(self.most_popular),
                    "The item of the SID with the most interactions in split 0.",
                ),
                (
                    "Random",
                    percent_text(self.random),
                    "Any item of the SID, with equal chances.",
                ),
                (
                    "Largest pid",
                    percent_text(self.largest_pid),
                    "What a plain dictionary from SID to pid keeps if it is filled by pid.",
                ),
            ),
            notice=""
            if self.split
            else "Split 1 has no targets, so those of split 0 are used. They are also counted as "
            "popularity, which makes “most popular” look better than it would be for new targets.",
        )


def measure_recall_ceiling(
    groups: SidGroups,
    trained: np.ndarray,
    targets: np.ndarray,
    *,
    split: int,
    all_targets: int,
) -> RecallCeiling | None:
    """Measure the recall ceiling; None if there are no targets.

    Args:
        groups: The items in groups of one SID.
        trained: Integers (n,): interactions of each item in split 0, in the order of pids.
        targets: Integers (n,): how often each item is a target.
        split: The split of the targets.
        all_targets: Targets, including those without a SID.
    """
    if not all_targets:
        return None
    trained, targets = trained[groups.order], targets[groups.order].astype(np.int64)
    ends = groups.starts + groups.sizes - 1
    by_group = np.add.reduceat(targets, groups.starts)
    return RecallCeiling(
        split=split,
        targets=all_targets,
        without_sid=all_targets - int(targets.sum()),
        most_popular=int(targets[_most_popular(groups, trained)].sum()) / all_targets,
        random=float((by_group / groups.sizes).sum() / all_targets),
        largest_pid=int(targets[ends].sum()) / all_targets,
    )


def _most_popular(groups: SidGroups, trained: np.ndarray) -> np.ndarray:
    """Position in `groups.order` of the first item of each group with the most interactions."""
    most = np.maximum.reduceat(trained, groups.starts)
    as_popular = np.flatnonzero(trained == np.repeat(most, groups.sizes))
    first = np.searchsorted(as_popular, groups.starts)
    return as_popular[first]
