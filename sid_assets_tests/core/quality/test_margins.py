"""Margins, against distances computed one by one."""

import numpy as np
import pytest

from sid_assets.core.quality.margins import measure_margins
from sid_assets_tests.core.quality.clustered_vectors import clustered_vectors, tokenizer


def brute_margins(vector: np.ndarray, codes: np.ndarray, centroids: np.ndarray) -> list[float]:
    margins = []
    for code, codebook in zip(codes, centroids, strict=True):
        distances = np.linalg.norm(codebook.astype(np.float64) - vector, axis=1)
        second = np.delete(distances, code).min()
        margins.append(1 - distances[code] / second)
        vector = vector - codebook[code]
    return margins


def test_margins_are_those_of_brute_force():
    centroids, codes = tokenizer("trained")
    vectors, queries = clustered_vectors(), np.arange(0, 600, 7)
    assert all(len(np.unique(codes[:, layer])) == centroids.shape[1] for layer in range(3))
    found = measure_margins(vectors, codes, queries, centroids)
    wanted = np.array([brute_margins(vectors[item], codes[item], centroids) for item in queries])
    assert [margin.mean for margin in found.layers] == pytest.approx(wanted.mean(axis=0), abs=1e-5)
    medians = [margin.median for margin in found.layers]
    assert medians == pytest.approx(np.median(wanted, axis=0), abs=1e-5)


def test_known_answer_on_a_line():
    centroids = np.array([[[0.0], [4.0]], [[1.0], [2.0]]], np.float32)
    vectors = np.array([[1.0], [4.0]], np.float32)
    codes = np.array([[0, 0], [1, 1]])
    found = measure_margins(vectors, codes, np.array([0]), centroids)
    assert [margin.mean for margin in found.layers] == pytest.approx([1 - 1 / 3, 1])


def test_centroids_that_no_item_uses_do_not_count():
    centroids = np.array([[[0.0], [4.0], [1.5]]], np.float32)
    vectors, codes = np.array([[1.0], [4.0]], np.float32), np.array([[0], [1]])
    found = measure_margins(vectors, codes, np.array([0]), centroids)
    assert found.layers[0].mean == pytest.approx(1 - 1 / 3)


def test_random_centroids_and_a_collapse_have_small_margins():
    vectors, queries = clustered_vectors(), np.arange(600)
    means = {
        name: [margin.mean for margin in measure_margins(vectors, codes, queries, centroids).layers]
        for name in ("trained", "random", "one code")
        for centroids, codes in [tokenizer(name)]
    }
    assert means["one code"] == [0, 0, 0]
    assert means["trained"][0] > 2 * means["random"][0]


def test_equal_centroids_have_no_margin():
    centroids = np.array([[[1.0], [1.0]]], np.float32)
    found = measure_margins(
        np.array([[1.0], [3.0]], np.float32), np.array([[0], [1]]), np.arange(2), centroids
    )
    assert found.layers[0].mean == 0
    assert found.figures()["margin_1_median"] == 0
    section = found.section()
    assert all(len(row) == len(section.header) for row in section.rows)
