"""Items ranked by the length of the prefix that they share with a query.

That is how near two items are, as far as their SIDs tell. Items that share equally long prefixes
are tied: each order of them is equally likely, and figures are expectations over these orders. So
a collapsed tokenizer, whose items are all tied, gains nothing.
"""

import numpy as np

from sid_assets.core.schema import CODE_LAYERS
from sid_assets.core.sids.spelling import pack, prefix_of

FIRST = (10, 30, 100)
"""How many items a list has that is looked at: the first 10, 30 and 100."""


def chances_of_first(codes: np.ndarray, queries: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The chances that an item stands among the first 10, 30 and 100 of a query.

    Args:
        codes: Integers, shape (n, 3): the SIDs of all items that are ranked.
        queries: Integers (m,): the position of the query in each pair. It is not ranked itself.
        others: Integers (m,): the position of the other item in each pair.

    Returns:
        float64, shape (m, 3), 0 to 1.
    """
    sids = pack(codes)
    alike = np.empty((len(queries), CODE_LAYERS + 2), np.int64)  # items that share at least l codes
    alike[:, 0], alike[:, -1] = len(codes) - 1, 0
    for length in range(1, CODE_LAYERS + 1):
        _, number, sizes = np.unique(
            prefix_of(sids, length), return_inverse=True, return_counts=True
        )
        alike[:, length] = sizes[number[queries]] - 1
    lengths = (codes[queries] == codes[others]).cumprod(axis=1).sum(axis=1)
    pairs = np.arange(len(queries))
    before = alike[pairs, lengths + 1][:, None]
    tied = alike[pairs, lengths][:, None] - before
    return np.clip((np.array(FIRST) - before) / tied, 0, 1)


def chance_at_random(items: int) -> list[float]:
    """The same chances if all items are tied, as after a collapse."""
    return [min(1.0, first / max(items - 1, 1)) for first in FIRST]
