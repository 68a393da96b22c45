"""How many items keep their codes when a new generation begins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sid_assets.core.schema import CODE_LAYERS
from sid_assets.core.sids.spelling import pack, prefix_of


@dataclass(frozen=True)
class KeptCodes:
    """The items of two generations, compared.

    Attributes:
        items: Items that have a SID in both (count).
        kept: Shares of them that keep the first one, two and three codes, 0 to 1.
        chance: The same shares if the new SIDs were dealt to the items at random.
        of_interactions: The shares of their interactions; None if there are none.
    """

    items: int
    kept: tuple[float, ...]
    chance: tuple[float, ...]
    of_interactions: tuple[float, ...] | None

    def describe(self) -> str:
        """One sentence for the log."""
        weighted = ""
        if self.of_interactions:
            weighted = f"; of their interactions {_percent(self.of_interactions)}"
        return (
            f"Of {self.items:,} items that had a SID before, {_percent(self.kept)} keep their "
            f"first 1 / 2 / 3 codes (by chance {_percent(self.chance)}){weighted}."
        )

    def figures(self) -> dict[str, float]:
        """The shares by name, for metadata."""
        shares = {"kept": self.kept, "chance_kept": self.chance}
        if self.of_interactions:
            shares["interactions_kept"] = self.of_interactions
        return {
            f"{name}_{length}_codes": share
            for name, of_lengths in shares.items()
            for length, share in enumerate(of_lengths, start=1)
        }


def kept_codes(before: np.ndarray, after: np.ndarray, users: np.ndarray | None = None) -> KeptCodes:
    """Compare the SIDs of the same items in two generations.

    Args:
        before: Integers, shape (n, 3).
        after: Integers, shape (n, 3).
        users: int64, shape (n,): how many users have interacted with each item; None if not known.
    """
    one, other = pack(before), pack(after)
    same = [
        prefix_of(one, length) == prefix_of(other, length) for length in range(1, CODE_LAYERS + 1)
    ]
    chance = [
        _chance(prefix_of(one, length), prefix_of(other, length))
        for length in range(1, CODE_LAYERS + 1)
    ]
    weighted = None
    if users is not None and users.any():
        weighted = tuple(float(users[kept].sum() / users.sum()) for kept in same)
    return KeptCodes(
        len(one),
        tuple(float(kept.mean()) if len(one) else 0.0 for kept in same),
        tuple(chance),
        weighted,
    )


def _chance(one: np.ndarray, other: np.ndarray) -> float:
    """The probability that two values, drawn from each, are equal."""
    if not len(one):
        return 0.0
    values, counts = np.unique(one, return_counts=True)
    others, other_counts = np.unique(other, return_counts=True)
    _, here, there = np.intersect1d(values, others, assume_unique=True, return_indices=True)
    both = counts[here].astype(np.float64) * other_counts[there]
    return float(both.sum() / len(one) ** 2)


def _percent(shares: Sequence[float]) -> str:
    return " / ".join(f"{100 * share:.1f}" for share in shares) + " %"
