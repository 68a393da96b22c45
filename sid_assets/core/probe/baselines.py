"""What needs no training: popularity, the last item's successors, the last item's nearest vectors.

Everything comes from rows of split 0.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.probe.rows import Lists, Rows

RECOMMENDED = 20
MOST_PRODUCTS = 500_000_000
"""Products of vectors that are computed: on two cores about a minute at width 4096. Where last
items times items are more, fewer last items are looked at."""


def by_popularity(users: np.ndarray) -> np.ndarray:
    """The most popular items: integers (at most 20,).

    Args:
        users: Integers (items,): how many users have interacted with each item in split 0.
    """
    return np.lexsort((np.arange(len(users)), -users))[:RECOMMENDED]


def successors(trained: Rows, scored: Rows, users: np.ndarray) -> np.ndarray:
    """The items that followed the last item of a history most often; then the most popular ones.

    Each user and pair counts once. Of equally frequent successors the more popular is first.

    Args:
        trained: Rows of split 0.
        scored: Rows to recommend for.
        users: Integers (items,): how many users have interacted with each item in split 0.

    Returns:
        Integers (n, 20): items, best first; -1 where the catalog has fewer.
    """
    pairs, counts = _pairs(trained)
    order = np.lexsort((pairs[1], -users[pairs[1]], -counts, pairs[0]))
    firsts, items = pairs[:, order]
    lasts = scored.histories.items[scored.histories.offsets[1:] - 1]
    starts, ends = (np.searchsorted(firsts, lasts, side) for side in ("left", "right"))
    popular = by_popularity(users)
    found = np.full((len(scored), RECOMMENDED), -1)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        own = items[start : min(end, start + RECOMMENDED)]
        filled = np.append(own, popular[~np.isin(popular, own)])[:RECOMMENDED]
        found[row, : len(filled)] = filled
    return found


def _pairs(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Items and their successors, int64 (2, p), and the number of users of each pair."""
    histories, targets = rows.histories, rows.targets
    # A row's history and targets, one after the other.
    places = np.lexsort(
        (
            np.concatenate([np.arange(len(histories.items)), np.arange(len(targets.items))]),
            np.repeat([0, 1], [len(histories.items), len(targets.items)]),
            np.concatenate([histories.rows(), targets.rows()]),
        )
    )
    row_of = np.concatenate([histories.rows(), targets.rows()])[places]
    items = np.concatenate([histories.items, targets.items])[places].astype(np.int64)
    same = row_of[1:] == row_of[:-1]
    _, user_of = np.unique(rows.users, return_inverse=True)
    seen = np.stack([user_of[row_of[1:]][same], items[:-1][same], items[1:][same]])
    return np.unique(np.unique(seen, axis=1)[1:], axis=1, return_counts=True)


def nearest_vectors(
    read: Callable[[], Iterable[pa.RecordBatch]], pids: pa.Array, histories: Lists
) -> np.ndarray:
    """The items whose vectors are nearest to that of the last item of a history.

    Args:
        read: Reads rows of `pid` and `embedding` of all items, sorted by pid; called twice.
        pids: The ids of the items, sorted.
        histories: What users did, the earliest first.

    Returns:
        Integers (n, 20): items, nearest first, never the last item itself. -1 where there are
        none: the item has no vector, or it is not among the last items that are looked at.
    """
    lasts = histories.items[histories.offsets[1:] - 1]
    asked = np.unique(lasts)
    if len(asked) * len(pids) > MOST_PRODUCTS:
        draw = np.random.default_rng(0)
        asked = np.sort(draw.choice(asked, max(1, MOST_PRODUCTS // len(pids)), replace=False))
    queries = _Nearest.of(read(), pids, asked)
    for batch in read():
        queries.compare(_positions(batch, pids), vectors_of(batch["embedding"]))
    found = np.full((len(lasts), RECOMMENDED), -1)
    at = np.minimum(np.searchsorted(asked, lasts), len(asked) - 1)
    known = asked[at] == lasts
    found[known] = queries.items[at[known]]
    return found


class _Nearest:
    """The nearest items of some items so far."""

    def __init__(self, asked: np.ndarray, vectors: np.ndarray, known: np.ndarray) -> None:
        self._asked, self._vectors, self._known = asked, vectors, known
        self.items = np.full((len(asked), RECOMMENDED), -1)
        self._closeness = np.full((len(asked), RECOMMENDED), -np.inf, np.float32)

    @classmethod
    def of(cls, batches: Iterable[pa.RecordBatch], pids: pa.Array, asked: np.ndarray) -> "_Nearest":
        """Read the vectors of these items."""
        vectors, known = None, np.zeros(len(asked), bool)
        for batch in batches:
            positions = _positions(batch, pids)
            wanted = np.flatnonzero(np.isin(positions, asked))
            if not len(wanted):
                continue
            rows = vectors_of(batch["embedding"].take(pa.array(wanted)))
            if vectors is None:
                vectors = np.zeros((len(asked), rows.shape[1]), np.float32)
            at = np.searchsorted(asked, positions[wanted])
            vectors[at], known[at] = rows, True
        if vectors is None:
            vectors = np.zeros((len(asked), 1), np.float32)
        return cls(asked, vectors, known)

    def compare(self, positions: np.ndarray, vectors: np.ndarray) -> None:
        """Compare with some items."""
        if not self._known.any():
            return
        closeness = self._vectors @ vectors.T - np.vecdot(vectors, vectors) / 2
        closeness[self._asked[:, None] == positions[None, :]] = -np.inf
        closeness[:, positions < 0] = -np.inf
        closeness[~self._known] = -np.inf
        both = np.hstack([self._closeness, closeness])
        items = np.hstack([self.items, np.broadcast_to(positions, closeness.shape)])
        order = np.argsort(-both, axis=1, kind="stable")[:, :RECOMMENDED]
        self._closeness = np.take_along_axis(both, order, axis=1)
        self.items = np.take_along_axis(items, order, axis=1)
        self.items[np.isinf(self._closeness)] = -1


def _positions(batch: pa.RecordBatch, pids: pa.Array) -> np.ndarray:
    return pc.fill_null(pc.index_in(batch["pid"], value_set=pids), -1).to_numpy()
