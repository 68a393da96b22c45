"""Vectors to codes and back: all layers, in any batches, against exact arithmetic."""

import math

import numpy as np
import pytest
import torch

from sid_assets.core.errors import InputError
from sid_assets.core.quantise.residual_kmeans import Encoder, NotFiniteError, decode
from sid_assets_tests.core.quantise.exact_codes import ROWS, made_centroids, made_vectors, reference


@pytest.mark.parametrize("unit_norm", [True, False])
@pytest.mark.parametrize("spectrum", ["isotropic", "power law", "clustered", "common mean"])
def test_codes_are_those_of_exact_arithmetic(spectrum, unit_norm):
    vectors = made_vectors(spectrum)
    if unit_norm:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centroids = made_centroids(vectors)
    encoded = Encoder(centroids).encode(vectors)
    assert encoded.codes.dtype == np.int64
    np.testing.assert_array_equal(encoded.codes, reference(vectors, centroids))


def test_batch_order_and_threads_do_not_matter():
    vectors = made_vectors("isotropic", rows=4500)
    centroids = made_centroids(vectors[:ROWS])
    encoder = Encoder(centroids)
    whole = encoder.encode(vectors)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for size in (1, 7, 256, 4096):
                rows = np.arange(min(len(vectors), size * 60))
                parts = [encoder.encode(vectors[some]) for some in np.split(rows, rows[size::size])]
                codes = np.concatenate([part.codes for part in parts])
                norms = np.concatenate([part.residual_norms for part in parts])
                np.testing.assert_array_equal(codes, whole.codes[rows])
                np.testing.assert_array_equal(norms, whole.residual_norms[rows])
    finally:
        torch.set_num_threads(before)
    backwards = encoder.encode(vectors[::-1])
    np.testing.assert_array_equal(backwards.codes[::-1], whole.codes)
    np.testing.assert_array_equal(backwards.residual_norms[::-1], whole.residual_norms)


def test_residual_norms_are_those_before_and_after_each_layer():
    vectors = made_vectors("clustered", rows=200)
    centroids = made_centroids(vectors)
    encoded = Encoder(centroids).encode(vectors)
    residual = vectors.copy()
    expected = [[math.sqrt(math.fsum(row.astype(np.float64) ** 2)) for row in residual]]
    for layer, codebook in enumerate(centroids):
        residual = residual - codebook[encoded.codes[:, layer]]
        expected.append([math.sqrt(math.fsum(row.astype(np.float64) ** 2)) for row in residual])
    assert encoded.residual_norms.dtype == np.float32
    np.testing.assert_array_equal(encoded.residual_norms, np.asarray(expected, np.float32).T)


def test_decoding_sums_the_chosen_centroids():
    vectors = made_vectors("clustered", rows=200)
    centroids = made_centroids(vectors)
    encoded = Encoder(centroids).encode(vectors)
    decoded = decode(encoded.codes, centroids)
    assert decoded.dtype == np.float32
    chosen = np.stack([centroids[layer][encoded.codes[:, layer]] for layer in range(3)])
    np.testing.assert_allclose(decoded, chosen.sum(0), rtol=1e-5, atol=1e-6)
    error = np.linalg.norm(vectors - decoded, axis=1)
    np.testing.assert_allclose(error, encoded.residual_norms[:, 3], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(decode(encoded.codes[:, :1], centroids), chosen[0])


def test_vectors_that_are_not_finite_are_counted_and_named():
    vectors = made_vectors("isotropic", rows=2500)
    centroids = made_centroids(vectors[:ROWS])
    vectors[[3, 2300], [0, 5]] = np.nan, np.inf
    with pytest.raises(
        NotFiniteError, match=r"2 of 2,500 vectors hold NaN.*rows: 3, 2300"
    ) as error:
        Encoder(centroids).encode(vectors)
    assert error.value.rows.tolist() == [3, 2300]


def test_a_residual_that_overflows_is_not_finite():
    codebook = np.full((1, 4), -3e38, np.float32)
    with pytest.raises(NotFiniteError, match="1 of 2 vectors"):
        Encoder(codebook[None]).encode(np.asarray([[3e38, 0, 0, 0], [1, 1, 1, 1]], np.float32))


def test_vectors_of_another_width_are_refused():
    with pytest.raises(InputError, match=r"shape \(3, 5\); this tokenizer takes \(n, 4\)"):
        Encoder(np.zeros((1, 2, 4), np.float32)).encode(np.zeros((3, 5), np.float32))


def test_no_vectors():
    encoded = Encoder(np.zeros((3, 2, 4), np.float32)).encode(np.zeros((0, 4), np.float32))
    assert encoded.codes.shape == (0, 3)
    assert encoded.residual_norms.shape == (0, 4)
