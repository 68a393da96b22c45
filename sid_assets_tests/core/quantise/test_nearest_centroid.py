"""The nearest centroid is that of exact arithmetic, for any scale, precision and tie."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.quantise import nearest_centroid
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets_tests.core.quantise.exact_codes import (
    CODEBOOK,
    DIM,
    made_centroids,
    made_vectors,
    nearest_by_float64,
    nearest_by_fractions,
    reference,
)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("scale", [1e-20, 1e-9, 1.0, 1e9, 1e18])
def test_huge_and_tiny_norms_in_both_precisions(dtype, scale, monkeypatch):
    monkeypatch.setattr(nearest_centroid, "coarse_dtype", lambda device: dtype)
    vectors = made_vectors("clustered", rows=500)
    centroids = made_centroids(vectors, layers=2)
    codes = (
        Encoder(np.asarray(centroids * scale, np.float32))
        .encode(np.asarray(vectors * scale, np.float32))
        .codes
    )
    expected = reference(
        np.asarray(vectors * scale, np.float32), np.asarray(centroids * scale, np.float32)
    )
    np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-20, 1e-6, 1e6, 1e18, 1e30])
def test_vectors_of_another_scale_than_the_codebook(scale):
    vectors = made_vectors("power law", rows=300)
    centroids = made_centroids(vectors, layers=1)
    scaled = np.asarray(vectors * scale, np.float32)
    np.testing.assert_array_equal(
        Encoder(centroids).encode(scaled).codes, reference(scaled, centroids)
    )


def test_centroids_of_many_scales_in_one_codebook():
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-20, 18, size=(CODEBOOK, 1))
    codebook = np.asarray(rng.standard_normal((CODEBOOK, DIM)) * sizes, np.float32)
    vectors = np.concatenate([codebook * np.float32(1.01), np.zeros((1, DIM), np.float32)])
    np.testing.assert_array_equal(
        Encoder(codebook[None]).encode(vectors).codes, reference(vectors, codebook[None])
    )


def test_subnormal_values_count():
    """Only values that matrix products flush to zero distinguish these centroids."""
    tiny = np.float32(1e-42)
    codebook = np.zeros((3, DIM), np.float32)
    codebook[1, 0], codebook[2, 0] = tiny, -tiny
    vectors = np.zeros((40, DIM), np.float32)
    vectors[:, 0] = np.where(np.arange(40) % 2, 2 * tiny, -tiny)
    np.testing.assert_array_equal(
        Encoder(codebook[None]).encode(vectors).codes[:, 0], np.where(np.arange(40) % 2, 1, 2)
    )


def test_equal_centroids_get_the_lowest_index():
    vectors = made_vectors("clustered", rows=600)
    codebook = made_centroids(vectors, layers=1)[0]
    doubled = np.concatenate([codebook, codebook, codebook])
    np.testing.assert_array_equal(
        Encoder(doubled[None]).encode(vectors).codes[:, 0], nearest_by_float64(vectors, codebook)
    )


def test_exact_ties_of_different_centroids_get_the_lowest_index():
    """Each vector is as far from c as from its mirror image: no floating-point sum can decide."""
    rng = np.random.default_rng(0)
    half = np.asarray(rng.standard_normal((100, DIM)), np.float32)
    mirrored = half.copy()
    mirrored[:, ::2] *= -1
    codebook = np.concatenate([half, mirrored])[rng.permutation(200)]
    vectors = np.repeat(half, 5, axis=0)
    vectors[:, ::2] = 0
    codes = Encoder(codebook[None]).encode(vectors).codes[:, 0]
    np.testing.assert_array_equal(codes, nearest_by_float64(vectors, codebook))


def test_ties_one_unit_in_the_last_place_apart():
    rng = np.random.default_rng(0)
    base = np.asarray(rng.standard_normal((50, DIM)), np.float32)
    codebook = np.repeat(base, 6, axis=0)
    for copy in range(1, 6):
        column = rng.integers(DIM)
        away = np.float32(np.inf if copy % 2 else -np.inf)
        codebook[copy::6, column] = np.nextafter(codebook[copy::6, column], away)
    vectors = np.asarray(
        np.repeat(base, 8, axis=0) + rng.standard_normal((400, DIM)) * 1e-3, np.float32
    )
    vectors = np.concatenate([vectors, base])
    codes = Encoder(codebook[None]).encode(vectors).codes[:, 0]
    np.testing.assert_array_equal(codes, nearest_by_float64(vectors, codebook))


def test_crowds_of_almost_equal_centroids():
    """With thousands of candidates per row, the float64 product is used."""
    rng = np.random.default_rng(0)
    center = rng.standard_normal(DIM)
    codebook = np.asarray(center + rng.standard_normal((3000, DIM)) * 1e-6, np.float32)
    vectors = np.asarray(center + rng.standard_normal((700, DIM)) * 1e-3, np.float32)
    codes = Encoder(codebook[None]).encode(vectors).codes[:, 0]
    np.testing.assert_array_equal(codes, nearest_by_float64(vectors, codebook))


def test_zero_vectors_get_the_shortest_centroid():
    rng = np.random.default_rng(0)
    codebook = np.asarray(rng.standard_normal((CODEBOOK, DIM)), np.float32)
    codebook /= np.linalg.norm(codebook, axis=1, keepdims=True)
    zeros = np.zeros((5, DIM), np.float32)
    codes = Encoder(codebook[None]).encode(zeros).codes
    np.testing.assert_array_equal(codes, reference(zeros, codebook[None]))


@st.composite
def small_cases(draw):
    dim = draw(st.integers(1, 6))
    values = st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0 + 2**-23, 0.5, 2.0**60, 2.0**-60, 3e-20]),
        st.floats(width=32, allow_nan=False, min_value=-(2.0**62), max_value=2.0**62),
    )
    codebook = draw(hnp.arrays(np.float32, (draw(st.integers(1, 9)), dim), elements=values))
    chosen = draw(st.lists(st.integers(0, len(codebook) - 1), min_size=1, max_size=4))
    nudges = draw(hnp.arrays(np.float32, (len(chosen), dim), elements=values))
    with np.errstate(over="ignore"):
        vectors = np.asarray(
            codebook[chosen] + nudges * draw(st.sampled_from([0, 2**-24, 1])), np.float32
        )
    return codebook, vectors


@settings(max_examples=250, deadline=None)
@given(small_cases())
def test_codes_are_those_of_rational_arithmetic(case):
    codebook, vectors = case
    expected = [nearest_by_fractions(vector, codebook) for vector in vectors]
    assert Encoder(codebook[None]).encode(vectors).codes[:, 0].tolist() == expected


def test_a_lower_precision_of_matrix_products_does_not_matter(monkeypatch):
    monkeypatch.setattr(nearest_centroid, "coarse_dtype", lambda device: torch.float32)
    vectors = made_vectors("isotropic")
    centroids = made_centroids(vectors)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        codes = Encoder(centroids).encode(vectors).codes
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(codes, reference(vectors, centroids))


def test_coarse_scores_keep_their_bound():
    """Against float64, over spectra and with values chosen to round badly in bfloat16."""
    rng = np.random.default_rng(0)
    for spectrum in ("isotropic", "power law", "common mean"):
        left = made_vectors(spectrum, rows=256, dim=2048)
        right = made_vectors(spectrum, seed=9, rows=512, dim=2048)
        # Half a unit in the last place of bfloat16, all in one direction: the worst rounding.
        worst = np.float32(1 + 2.0**-8 - 2.0**-20)
        left[:64] = worst * 2.0 ** rng.integers(-3, 3, size=(64, 2048))
        right[:64] = worst * 2.0 ** rng.integers(-3, 3, size=(64, 2048))
        a, b = torch.tensor(left).bfloat16(), torch.tensor(right).bfloat16()
        score = (a @ b.T).double().numpy()
        left, right = torch.tensor(left).double(), torch.tensor(right).double()
        bound = nearest_centroid.error_bound(
            2048,
            left.norm(dim=1)[:, None],
            (left - a).norm(dim=1)[:, None],
            right.norm(dim=1),
            (right - b).norm(dim=1),
        ).numpy()
        bound += nearest_centroid.FINAL_ROUNDING * np.abs(score)
        error = np.abs(score - (left @ right.T).numpy())
        assert (error <= bound).all()
        assert (error / bound).max() > 0.45  # the worst cases come near the bound
