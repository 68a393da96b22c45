"""The quality figures of semantic IDs: the meaning, the unit and the range of each.

Terms: a *SID group* is all items with one SID; an item *collides* if its group has other items.
The *prefix* of length 1 or 2 is the first code, or the first two, of a SID; length 3 is the SID.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Uniqueness:
    """How well SIDs, or their prefixes of one length, separate items.

    Attributes:
        length: Codes in the prefix: 1, 2, or 3 for the whole SID.
        distinct: Different prefixes in use (count, 1 to items).
        distinct_share: `distinct` / items (share, above 0 to 1; 1: every prefix is unique).
        colliding_items: Items that share their prefix with another item (count, 0 to items).
        colliding_share: `colliding_items` / items (share, 0 to 1).
        largest_group: Items of the prefix with the most items (count, 1 to items).
        gini: Gini coefficient of the group sizes, over the prefixes in use (0: all groups are
            equally large, towards 1: a few groups hold nearly all items).
        entropy: Entropy of the prefix of an item drawn at random (nats, 0 to ln items).
        entropy_share: `entropy` / the largest possible entropy: ln items, or for short prefixes
            length * ln codebook_size if that is less (0 to 1; 1 if there is one item).
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

    Its square is the share of the vector's energy that the codes up to the layer do not explain.
    Percentiles are nearest-rank: the smallest error that at least this share of items does not
    exceed.

    Attributes:
        mean: Mean over the items (0: exact, 1: no better than no codes; above 1: worse than none).
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
        used: Codes of at least one item (count, 1 to codebook_size).
        dead: Codes of no item: codebook_size - `used` (count).
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
    """Why items do not have a unique SID, if texts are known.

    A group of m items has m - 1 collisions, one for each item after the first. If the group has d
    distinct texts, m - d collisions repeat a text (no tokenizer can separate these items). The
    other d - 1 are different texts with the same codes (a larger or better fitting tokenizer might
    separate them).

    Attributes:
        same_text: Collisions that repeat a text of their group (count, 0 to items - distinct).
        other_text: Collisions with another text (count; both add up to items - distinct).
    """

    same_text: int
    other_text: int


@dataclass(frozen=True)
class SidGroup:
    """All items with one SID.

    Attributes:
        codes: The SID.
        items: Items that have it (count, at least 2).
        texts: Distinct texts among these items (count, 1 to items); None if texts are not known.
    """

    codes: tuple[int, ...]
    items: int
    texts: int | None


@dataclass(frozen=True)
class WorstItem:
    """An item with a large reconstruction error.

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
    """A node of the code tree: all items whose SID starts with the same codes.

    Attributes:
        prefix: The one to three codes.
        items: Items below the node (count).
        distinct: Distinct SIDs below the node (count, 1 to items).
    """

    prefix: tuple[int, ...]
    items: int
    distinct: int


@dataclass(frozen=True, eq=False)
class Distributions:
    """The data of the charts.

    Attributes:
        code_counts: int64 (3, codebook_size): items per code, by layer.
        group_sizes: int64 (s,): the distinct sizes of SID groups, ascending.
        group_counts: int64 (s,): how many groups have each size.
        error_quantiles: float32 (3, 201): quantiles of the relative reconstruction error after each
            layer, at 0, 0.5, ... 100 % of the items; NaN if every vector is zero.
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
        codebook_size: Codes per layer (count).
        prefixes: Uniqueness at prefix length 1, 2 and 3; length 3 is the whole SID.
        layers: Code usage and reconstruction error of each layer.
        zero_vectors: Items whose vector is zero (count). They have no relative error, so the
            reconstruction figures exclude them.
        collisions: The kinds of collisions; None if texts are not known.
        largest_groups: The largest SID groups (up to 20), largest first, then by SID.
        worst_items: The items with the largest reconstruction error (up to 20), worst first,
            then by pid.
        branches: The largest branches of the code tree, each after its parent.
        distributions: The data of the charts.
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
        """The numbers by name, flat, for metadata plotted over refreshes."""
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
    """The fields of a dataclass by name, except those in `leave_out`."""
    return {
        pattern.format(name): value
        for name, value in vars(figures).items()
        if name not in leave_out
    }
