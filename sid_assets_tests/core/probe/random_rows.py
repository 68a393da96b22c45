"""Rows of interactions for tests of the probe."""

from collections.abc import Sequence

import numpy as np

from sid_assets.core.probe.rows import Lists, Rows


def lists_of(lists: Sequence[Sequence[int]]) -> Lists:
    """Lists of items."""
    flat = [item for items in lists for item in items]
    return Lists.of(np.array(flat, np.int32), np.array([len(items) for items in lists], np.int64))


def rows_of(rows: Sequence[tuple[int, Sequence[int], Sequence[int]]]) -> Rows:
    """Rows of (user, history, targets), sorted by user."""
    ordered = sorted(rows, key=lambda row: row[0])
    users = np.array([user for user, _, _ in ordered], np.uint64)
    histories = lists_of([history for _, history, _ in ordered])
    return Rows(users, histories, lists_of([targets for _, _, targets in ordered]), 0, len(rows))


def random_rows(count: int, items: int, seed: int, users: int | None = None) -> Rows:
    """Rows whose items are drawn at random."""
    draw = np.random.default_rng(seed)
    return rows_of(
        [
            (
                int(draw.integers(users)) if users else row,
                draw.integers(0, items, draw.integers(1, 7)).tolist(),
                draw.integers(0, items, draw.integers(1, 4)).tolist(),
            )
            for row in range(count)
        ]
    )
