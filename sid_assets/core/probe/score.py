"""Hit rate and NDCG of recommended items, by row."""

from dataclasses import dataclass

import numpy as np

from sid_assets.core.probe.rows import Lists

CUTOFFS = (10, 20)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of each row.

    Attributes:
        hits: float64 (n, 2): 1 where any target is among the first 10, and the first 20.
        ndcg: float64 (n, 2): normalised discounted cumulative gain at 10 and at 20.
    """

    hits: np.ndarray
    ndcg: np.ndarray


def score(recommended: np.ndarray, targets: Lists) -> Scores:
    """Score recommendations.

    All targets of a row are worth the same. NDCG is the sum of 1 / log2(rank + 1) over the targets
    that were found, by the largest sum that as many targets can have (Järvelin and Kekäläinen,
    2002).

    Args:
        recommended: Integers (n, k), k at least 20: best first; -1 where there is none. An item
            that is named twice counts at its first place.
        targets: The items of each row that are right; an item that is named twice counts once.
    """
    length = recommended.shape[1]
    rows, items = _distinct(targets)
    # The rank of each target among the recommendations of its row.
    found = recommended[rows] == items[:, None]
    rank = np.where(found.any(axis=1), found.argmax(axis=1), length)
    wanted = np.bincount(rows, minlength=len(recommended))
    gains = 1 / np.log2(np.arange(2, length + 2))
    best = np.append(0, np.cumsum(gains))
    hits, ndcg = [], []
    for cutoff in CUTOFFS:
        within = rank < cutoff
        gained = np.bincount(rows[within], weights=gains[rank[within]], minlength=len(recommended))
        hits.append(gained > 0)
        ndcg.append(gained / best[np.minimum(wanted, cutoff)])
    return Scores(np.stack(hits, axis=1).astype(np.float64), np.stack(ndcg, axis=1))


def _distinct(targets: Lists) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.unique(np.stack([targets.rows(), targets.items]), axis=1)
    return pairs[0], pairs[1]
