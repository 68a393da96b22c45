"""The figures of how good semantic IDs are: what each says, in which unit and range.

Terms: a *SID group* is all items with one SID; an item *collides* if its group has others in it.
The *prefix* of length 1 or 2 is the first code, or the first two, of a SID; length 3 is the SID.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Uniqueness:
    """How far SIDs, or their prefixes of one length, tell items apart.

    Attributes:
        length: Codes in the prefix: 1, 2, or 3 for the whole SID.
        distinct: Different prefixes in use (count, 1 to items).
        distinct_share: `distinct` / items (share, above 0 to 1; 1: every item has its own).
        colliding_items: Items that share their prefix with another item (count, 0 to items).
        colliding_share: `colliding_items` / items (share, 0 to 1).
        largest_group: Items of the prefix that has most (count, 1 to items).
        gini: Gini coefficient of the group sizes, over the prefixes in use (0: all groups are
            equally large, towards 1: a few groups hold nearly all items).
        entropy: Entropy of the prefix of an item drawn at random (nats, 0 to ln items).
        entropy_share: `entropy` as a share of the largest possible: ln items, or for short
            prefixes length * ln codebook_size where that is less (0 to 1; 1 if there is one item).
    """

    length: int
    distinct: int
    distinct_share: float
    colliding_items: int
    colliding_share: float
    largest_group: int
    gini: float
    entropy: float
    entropy_share: float


@dataclass(frozen=True)
class ReconstructionError:
    """Relative reconstruction error: residual norm after a layer / norm of the vector.

    The square is the part of the vector's energy that the codes up to the layer leave out.
    Percentiles are nearest-rank: the smallest error that at least so many items do not exceed.

    Attributes:
        mean: Mean over the items (0: exact, 1: as good as no codes; above 1: worse than none).
        p50: Median (same range).
        p99: 99th percentile (same range).
    """

    mean: float
    p50: float
    p99: float


@dataclass(frozen=True)
class CodeUsage:
    """How the codes of one layer are used.

    Attributes:
        layer: 1, 2 or 3.
        used: Codes that at least one item has (count, 1 to codebook_size).
        dead: Codes that no item has: codebook_size - `used` (count).
        utilisation: `used` / codebook_size (share, above 0 to 1; at most items / codebook_size).
        entropy: Entropy of the code of an item drawn at random (nats, 0 to ln codebook_size).
        perplexity: exp(`entropy`): the number of codes that would give this entropy if all were
            used equally (1 to codebook_size).
        error: Relative reconstruction error after this layer; None if every vector is zero.
    """

    layer: int
    used: int
    dead: int
    utilisation: float
    entropy: float
    perplexity: float
    error: ReconstructionError | None


@dataclass(frozen=True)
class Collisions:
    """Why items have no SID of their own, where texts are known.

    A group of m items holds m - 1 collisions: items beyond its first. If the group has d distinct
    texts, m - d of them repeat a text (no tokenizer can separate these), d - 1 are other texts
    that quantisation put in one place (a larger or better fitting tokenizer might).

    Attributes:
        same_text: Collisions that repeat a text of their group (count, 0 to items - distinct).
        other_text: Collisions with a text of their own (count; both add up to items - distinct).
    """

    same_text: int
    other_text: int


@dataclass(frozen=True)
class SidGroup:
    """All items with one SID.

    Attributes:
        codes: The SID.
        items: Items that have it (count, at least 2).
        texts: Distinct texts among them (count, 1 to items); None where texts are not known.
    """

    codes: tuple[int, ...]
    items: int
    texts: int | None


@dataclass(frozen=True)
class WorstItem:
    """An item that its codes reconstruct badly.

    Attributes:
        pid: The item.
        codes: Its SID.
        error: Relative reconstruction error after the last layer.
    """

    pid: int | str
    codes: tuple[int, ...]
    error: float


@dataclass(frozen=True)
class Branch:
    """A node of the code tree: all items whose SID starts with some codes.

    Attributes:
        prefix: The codes (one to three of them).
        items: Items below it (count).
        distinct: Distinct SIDs below it (count, 1 to items).
    """

    prefix: tuple[int, ...]
    items: int
    distinct: int


@dataclass(frozen=True, eq=False)
class Distributions:
    """What the pictures are drawn from.

    Attributes:
        code_counts: int64 (3, codebook_size): items of each code, by layer.
        group_sizes: int64 (s,): the sizes that SID groups have, ascending.
        group_counts: int64 (s,): how many groups have each size.
        error_quantiles: float32 (3, 201): relative reconstruction error after each layer at the
            0, 0.5, ... 100 % of items; NaN if every vector is zero.
    """

    code_counts: np.ndarray
    group_sizes: np.ndarray
    group_counts: np.ndarray
    error_quantiles: np.ndarray


@dataclass(frozen=True, eq=False)
class SidQuality:
    """The quality of the SIDs of a catalog.

    Attributes:
        items: Items that have a SID (count, at least 1).
        codebook_size: Codes of a layer (count).
        prefixes: Uniqueness at prefix length 1, 2 and 3, the last being the whole SID.
        layers: Code usage and reconstruction error of each layer.
        zero_vectors: Items whose vector is zero, which have no relative error (count); the
            figures of reconstruction leave them out.
        collisions: What the collisions are made of; None where texts are not known.
        largest_groups: The largest SID groups (up to 20), largest first, then by SID.
        worst_items: The items with the largest reconstruction error (up to 20), worst first,
            then by pid.
        branches: The largest branches of the code tree, each after its parent.
        distributions: What the pictures are drawn from.
    """

    items: int
    codebook_size: int
    prefixes: tuple[Uniqueness, ...]
    layers: tuple[CodeUsage, ...]
    zero_vectors: int
    collisions: Collisions | None
    largest_groups: tuple[SidGroup, ...]
    worst_items: tuple[WorstItem, ...]
    branches: tuple[Branch, ...]
    distributions: Distributions

    @property
    def sids(self) -> Uniqueness:
        """Uniqueness of whole SIDs."""
        return self.prefixes[-1]

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata that is plotted over refreshes."""
        figures: dict[str, int | float] = {"items": self.items, "zero_vectors": self.zero_vectors}
        figures |= named(self.sids, "sid_{}", leave_out=("length",))
        for prefix in self.prefixes[:-1]:
            figures |= named(prefix, f"prefix_{prefix.length}_{{}}", leave_out=("length",))
        for usage in self.layers:
            figures |= named(usage, f"layer_{usage.layer}_{{}}", leave_out=("layer", "error"))
            if usage.error:
                figures |= named(usage.error, f"layer_{usage.layer}_error_{{}}")
        if self.collisions:
            figures |= named(self.collisions, "collisions_{}")
        return figures


def named(figures: Any, pattern: str, leave_out: tuple[str, ...] = ()) -> dict[str, int | float]:
    """The fields of a dataclass by name, but for some."""
    return {
        pattern.format(name): value
        for name, value in vars(figures).items()
        if name not in leave_out
    }
