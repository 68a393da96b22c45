"""Hit rate and NDCG, against their definitions in plain Python."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.probe.score import CUTOFFS, score
from sid_assets_tests.core.probe.random_rows import lists_of

ROWS = st.lists(
    st.tuples(
        st.permutations(range(25)).map(lambda items: items[:20]),
        st.lists(st.integers(0, 30), min_size=1, max_size=12),
        st.integers(0, 20),
    ),
    min_size=1,
    max_size=6,
)


def plain(recommended: list[int], targets: set[int], cutoff: int) -> tuple[float, float]:
    """Hit and NDCG of one row."""
    gained = [
        1 / math.log2(rank + 2) for rank, i in enumerate(recommended[:cutoff]) if i in targets
    ]
    best = sum(1 / math.log2(rank + 2) for rank in range(min(len(targets), cutoff)))
    return float(bool(gained)), sum(gained) / best


@given(ROWS)
def test_scores_are_those_of_the_definition(rows):
    recommended = np.array([[*items[:known], *[-1] * (20 - known)] for items, _, known in rows])
    found = score(recommended, lists_of([targets for _, targets, _ in rows]))
    for place, cutoff in enumerate(CUTOFFS):
        wanted = [
            plain([i for i in given_.tolist() if i >= 0], set(targets), cutoff)
            for given_, (_, targets, _) in zip(recommended, rows, strict=True)
        ]
        assert np.allclose(found.hits[:, place], [hit for hit, _ in wanted])
        assert np.allclose(found.ndcg[:, place], [ndcg for _, ndcg in wanted])


def test_a_known_row():
    recommended = np.arange(20)[None, :]
    found = score(recommended, lists_of([[9, 10, 99]]))
    assert found.hits.tolist() == [[1.0, 1.0]]
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert np.allclose(
        found.ndcg, [[1 / math.log2(11) / ideal, (1 / math.log2(11) + 1 / math.log2(12)) / ideal]]
    )
