"""The nearest items, against every distance computed on its own."""

import numpy as np
import pytest

from sid_assets.core.quality import nearest
from sid_assets.core.quality.nearest import nearest_items


def brute_nearest(vectors: np.ndarray, query: int, count: int) -> list[int]:
    distances = np.linalg.norm(vectors.astype(np.float64) - vectors[query], axis=1)
    order = sorted(range(len(vectors)), key=lambda item: (distances[item], item))
    return [item for item in order if item != query][:count]


@pytest.mark.parametrize("values_at_once", [1, 500, 10**6])
def test_they_are_those_of_brute_force_in_any_portions(monkeypatch, values_at_once):
    monkeypatch.setattr(nearest, "VALUES_AT_ONCE", values_at_once)
    vectors = np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)
    queries = np.array([3, 50, 51, 119])
    found = nearest_items(vectors, queries, 7)
    assert found.tolist() == [brute_nearest(vectors, query, 7) for query in queries]


def test_lengths_matter_and_equal_distances_go_by_position():
    vectors = np.array([[1, 0], [2, 0], [0, 0], [9, 0], [2, 0]], np.float32)
    assert nearest_items(vectors, np.array([0, 4]), 4).tolist() == [[1, 2, 4, 3], [1, 0, 2, 3]]


def test_a_small_catalog_has_only_its_other_items():
    vectors = np.eye(3, dtype=np.float32)
    assert nearest_items(vectors, np.arange(3)).tolist() == [[1, 2], [0, 2], [0, 1]]
