"""The number of centroids per layer of a trained tokenizer: chosen from the items, or set.

A size that is set is judged before anything is embedded, because embedding may take days and
training comes after it.
"""

import math
from collections.abc import Mapping
from typing import Literal

from sid_assets.core.errors import InputError
from sid_assets.core.schema import MAX_CODEBOOK_SIZE

Method = Literal["balanced", "kmeans"]
"""How a tokenizer is trained; see `train`."""

HELD_OUT = 10
"""One in this many rows of the sample is held out from training, to measure the error on."""

CENTROIDS_PER_ROOT: Mapping[Method, int] = {"balanced": 4, "kmeans": 2}
"""A chosen size is about this many times the square root of the number of items
(`benchmarks/codebook_size.py`)."""

FEWEST_CENTROIDS: Mapping[Method, int] = {"balanced": 1, "kmeans": 256}
"""A chosen size is at least this, if there are enough items. Plain k-means uses its centroids
unevenly, so small catalogs need more of them."""

TOO_FEW_ITEMS = 3
"""With fewer items for each centroid, the first code tells nearly all items apart: SIDs share no
prefixes, and new items are reconstructed badly (`benchmarks/codebook_size.py`)."""

TOO_SMALL = 8
"""A size that would have to be this many times as large to be the chosen one is too small: many
items share their SID (`benchmarks/codebook_size.py`)."""


def chosen_codebook_size(items: int, method: Method) -> int:
    """Centroids per layer for this many items: a power of two, at most 8192.

    It is the power of two nearest to 4 times the square root of `items`, by ratio (for k-means 2
    times, but at least 256), if there are at least three items for each centroid. As a catalog
    grows, so do both the centroids and the items of each.
    """
    wanted = CENTROIDS_PER_ROOT[method] * math.sqrt(max(items, 1))
    wanted = max(wanted, FEWEST_CENTROIDS[method])
    most = max(min(items // TOO_FEW_ITEMS, MAX_CODEBOOK_SIZE), 1)
    return min(2 ** round(math.log2(wanted)), 2 ** (most.bit_length() - 1))


def rows_held_out(rows: int) -> int:
    """How many of the rows of a sample are held out from training."""
    return -(-rows // HELD_OUT)


def require_enough(rows: int, codebook_size: int) -> None:
    """Refuse to train on fewer vectors than there are centroids.

    Args:
        rows: Vectors, including those that are held out.
        codebook_size: Centroids per layer.

    Raises:
        InputError: There are too few.
    """
    held_out = rows_held_out(rows)
    trained = rows - held_out
    if trained < 1:
        raise InputError(
            f"{_vectors(rows)}: a tokenizer is trained on at least two, one of which is held out. "
            "Add items, or set SID_TOKENIZER to a tokenizer that is already trained."
        )
    if trained < codebook_size:
        raise InputError(
            f"{_vectors(rows)} leave {trained:,} to train on ({held_out:,} are held out), fewer "
            f"than the {codebook_size:,} centroids per layer. Set SID_CODEBOOK_SIZE to at most "
            f"{trained:,}, unset it, or set SID_TOKENIZER to a tokenizer that is already trained."
        )


def advice(items: int, codebook_size: int, method: Method) -> str:
    """What speaks against a size that was set by hand; "" if nothing does."""
    against = unsuitable(items, codebook_size, method)
    return against and (
        f"SID_CODEBOOK_SIZE={codebook_size} is {against} Without SID_CODEBOOK_SIZE it would be "
        f"{chosen_codebook_size(items, method):,}. It cannot be changed later without a new "
        "generation."
    )


def unsuitable(items: int, codebook_size: int, method: Method) -> str:
    """Why a size is too large or too small for this many items, a sentence without its subject;
    "" if it is neither.
    """
    if codebook_size > MAX_CODEBOOK_SIZE or codebook_size * TOO_FEW_ITEMS > items:
        return (
            f"too large for {items:,} items: the first code will tell nearly all items apart, and "
            "the others add little."
        )
    if codebook_size * TOO_SMALL <= chosen_codebook_size(items, method):
        return f"too small for {items:,} items: many of them will share their SID."
    return ""


def _vectors(count: int) -> str:
    return f"{count:,} {'vector' if count == 1 else 'vectors'}"
