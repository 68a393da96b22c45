"""Arithmetic on rows, against torch and exact sums."""

import math

import numpy as np
import pytest
import torch

from sid_assets.core.quantise.row_blocks import distances, round_rows, row_norms, subtract_rows

ROWS, DIM = 300, 700


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return np.float32(rng.standard_normal((ROWS, DIM)) * 10.0 ** rng.uniform(-20, 18, (ROWS, 1)))


@pytest.mark.parametrize("scale", [1.0, 2.0**-40, 2.0**60])
def test_rounding_is_the_same_as_in_torch(vectors, scale):
    halfway = np.float32(1 + 2.0**-8)  # between two bfloat16 values
    vectors[0, :6] = [halfway, -halfway, 3 * halfway, np.nextafter(halfway, np.float32(2)), 0, -0.0]
    vectors[1, :3] = [1e-42, np.finfo(np.float32).max, -1e-45]
    bits = np.zeros((ROWS, DIM + 3), np.uint16)
    errors = round_rows(vectors, scale, bits[:, :DIM])
    scaled = torch.tensor(vectors) * scale
    rounded = scaled.bfloat16()
    expected = rounded.view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(bits[:, :DIM], expected)
    assert not bits[:, DIM:].any()
    lost = (scaled - rounded).double().norm(dim=1).numpy()
    moderate = (lost > 1e-15) & (lost < 1e15)
    assert moderate.sum() > 50
    np.testing.assert_allclose(errors[moderate], lost[moderate], rtol=1e-4)
    assert (errors[lost > 1e15] > 1e15).all()


def test_norms_and_distances(vectors):
    def exact(vector):
        return math.sqrt(math.fsum(vector.astype(np.float64) ** 2))

    np.testing.assert_allclose(row_norms(vectors), [exact(row) for row in vectors], rtol=1e-13)
    rng = np.random.default_rng(1)
    left, right = rng.integers(ROWS, size=(2, 500))
    wide = vectors.astype(np.float64)
    expected = [exact(wide[i] - wide[j]) for i, j in zip(left, right, strict=True)]
    np.testing.assert_allclose(distances(vectors, left, vectors, right), expected, rtol=1e-13)


@pytest.mark.parametrize("dim", [1, 700, 100_000])
@pytest.mark.parametrize("rows", [0, 1, 94])
def test_any_shape(rows, dim):
    vectors = np.ones((rows, dim), np.float32)
    np.testing.assert_allclose(row_norms(vectors), np.full(rows, dim**0.5))
    np.testing.assert_array_equal(round_rows(vectors, 1, np.empty((rows, dim), np.uint16)), 0)


def test_subtracting_rows_rounds_each_difference_to_float32(vectors):
    chosen = np.random.default_rng(1).integers(ROWS, size=ROWS)
    others = vectors[::-1].copy()
    left = vectors.copy()
    norms = subtract_rows(left, others, chosen)
    np.testing.assert_array_equal(left, vectors - others[chosen])
    np.testing.assert_array_equal(norms, row_norms(left))
