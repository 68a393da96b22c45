"""The shape of the code tree: how many codes follow a prefix, and how even its branches are.

All items in one code give a fan-out of 1 at each level and one branch with all leaves. Codes drawn
at random give a large and even fan-out: this says how many choices a model has, not whether it can
learn them.
"""

from dataclasses import dataclass

import numpy as np

from sid_assets.core.arrow.columns import run_starts
from sid_assets.core.quality.figures import named
from sid_assets.core.quality.section import Bars, Section, count_text, percent_text
from sid_assets.core.schema import CODE_LAYERS
from sid_assets.core.sids.spelling import prefix_of


@dataclass(frozen=True)
class FanOut:
    """How many different codes of a level follow the prefixes before it.

    Attributes:
        level: 1, 2 or 3: the place of the code in the SID.
        nodes: Prefixes of `level` - 1 codes in use (count; 1 for level 1).
        mean: Mean number of different next codes of a prefix (1 to codebook_size).
        median: Median of the same (1 to codebook_size).
        max: Maximum of the same (count, 1 to codebook_size).
    """

    level: int
    nodes: int
    mean: float
    median: float
    max: int


@dataclass(frozen=True)
class CodeTree:
    """The shape of the code tree. A branch is all SIDs with one first code, a leaf is a SID.

    Attributes:
        codebook_size: Codes per layer (count).
        levels: The fan-out at level 1, 2 and 3.
        leaves: Distinct SIDs (count).
        largest_branch_leaves: Leaves of the branch that has the most (count, 1 to `leaves`).
        largest_branch_share: `largest_branch_leaves` / `leaves` (share, above 0 to 1; 1 / branches
            if all branches have equally many).
    """

    codebook_size: int
    levels: tuple[FanOut, ...]
    leaves: int
    largest_branch_leaves: int
    largest_branch_share: float

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata plotted over refreshes."""
        figures: dict[str, int | float] = {
            "largest_branch_leaves": self.largest_branch_leaves,
            "largest_branch_share": self.largest_branch_share,
        }
        for level in self.levels:
            figures |= named(level, f"fan_out_{level.level}_{{}}", leave_out=("level", "nodes"))
        return figures

    def section(self) -> Section:
        """The section of the report."""
        branches = self.levels[0].max
        if branches == 1:
            evenness = f"All {count_text(self.leaves)} distinct SIDs have the same first code."
        else:
            evenness = (
                f"The largest of the {count_text(branches)} first codes leads to "
                f"{count_text(self.largest_branch_leaves)} of the {count_text(self.leaves)} "
                f"distinct SIDs ({percent_text(self.largest_branch_share)}); if all had equally "
                f"many, each would lead to {percent_text(1 / branches)}."
            )
        return Section(
            key="fan-out",
            short="Fan-out",
            heading="Fan-out of the code tree",
            paragraphs=(
                "After each code, a model chooses the next one among the codes that occur there. "
                + evenness,
                f"Good: many first codes are in use (at most {count_text(self.codebook_size)}), "
                "several codes can follow each prefix, and no branch is much larger than the "
                "others. Bad: a fan-out near 1 before the last level, where the later codes tell "
                "nothing more; or a maximum far above the median, where a few branches hold most "
                "SIDs. Random codes look good here, so read this with reconstruction.",
            ),
            caption="Different codes that follow a prefix",
            bars=Bars(
                places=("first code", "second code", "third code"),
                series={
                    "mean": [level.mean for level in self.levels],
                    "median": [level.median for level in self.levels],
                    "maximum": [float(level.max) for level in self.levels],
                },
                title="codes",
                logarithmic=True,
            ),
            header=("Figure", "First code", "Second code", "Third code", "What it says"),
            rows=(
                (
                    "Prefixes before it",
                    *(count_text(level.nodes) for level in self.levels),
                    "In use; before the first code there is one, the empty prefix.",
                ),
                (
                    "Mean fan-out",
                    *(f"{level.mean:,.2f}" for level in self.levels),
                    "Different codes that follow a prefix.",
                ),
                (
                    "Median",
                    *(f"{level.median:,.1f}" for level in self.levels),
                    "Half of the prefixes have at most this many.",
                ),
                (
                    "Maximum",
                    *(count_text(level.max) for level in self.levels),
                    "Of the prefix with the most.",
                ),
            ),
        )


def measure_tree(sids: np.ndarray, codebook_size: int) -> CodeTree:
    """Measure the shape of the code tree.

    Args:
        sids: int64 (g,): the distinct SIDs, packed, ascending; at least one.
        codebook_size: Codes per layer.
    """
    fan_outs = [_fan_out(sids, level) for level in range(1, CODE_LAYERS + 1)]
    branches = run_starts(prefix_of(sids, 1))
    largest = int(np.diff(branches, append=len(sids)).max())
    return CodeTree(
        codebook_size=codebook_size,
        levels=tuple(fan_outs),
        leaves=len(sids),
        largest_branch_leaves=largest,
        largest_branch_share=largest / len(sids),
    )


def _fan_out(sids: np.ndarray, level: int) -> FanOut:
    prefixes = prefix_of(sids, level)
    prefixes = prefixes[run_starts(prefixes)]
    parents = run_starts(prefix_of(prefixes, CODE_LAYERS - 1))  # of each prefix, one code less
    children = np.diff(parents, append=len(prefixes))
    return FanOut(
        level=level,
        nodes=len(parents),
        mean=float(children.mean()),
        median=float(np.median(children)),
        max=int(children.max()),
    )
