"""A tokenizer trained on the vectors fits them; one of another scale or space does not."""

import numpy as np
import pytest

from sid_assets.core.quantise.scale_fit import scale_fit
from sid_assets.core.quantise.train import TrainingSettings, train


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((30, 32))
    rows = np.asarray(
        centers[rng.integers(30, size=1200)] + rng.standard_normal((1200, 32)) * 0.3, np.float32
    )
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def centroids(vectors):
    return train([vectors], TrainingSettings(codebook_size=16, iterations=5)).centroids


def test_a_tokenizer_of_these_vectors_fits(vectors, centroids):
    fit = scale_fit(centroids, vectors)
    assert fit.vector_norm == pytest.approx(1, abs=1e-6)
    assert fit.centroid_norm == pytest.approx(np.median(np.linalg.norm(centroids[0], axis=1)))
    assert 0.5 < fit.ratio < 1
    assert 0 < fit.relative_error < 0.6


def test_vectors_of_another_scale_do_not_fit(vectors, centroids):
    fit = scale_fit(centroids, vectors * np.float32(40))
    assert fit.ratio < 0.03
    assert fit.relative_error > 0.9


def test_vectors_of_another_space_are_not_reconstructed(vectors, centroids):
    other = np.roll(vectors, 7, axis=1)
    fit = scale_fit(centroids, other)
    assert fit.relative_error > 1.5 * scale_fit(centroids, vectors).relative_error


def test_an_exact_tokenizer_has_no_error():
    rows = np.asarray([[3, 4], [0, 5]], np.float32)
    fit = scale_fit(np.stack([rows, rows * 0]), rows)
    assert (fit.ratio, fit.relative_error) == (1, 0)
