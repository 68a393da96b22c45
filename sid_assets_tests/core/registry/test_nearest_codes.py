"""The ranking of centroids: exact, and the same however residuals are cut into blocks."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sid_assets.core.registry import nearest_codes
from sid_assets.core.registry.nearest_codes import NearestCodes

FEW_VALUES = st.sampled_from([0.0, 1.0, -1.0, 0.5, 1 + 2**-20, 1e-6, 3.0])


def ranked_exactly(residual: np.ndarray, codebook: np.ndarray) -> list[int]:
    """All codes by distance as rational numbers, the lower code first on a tie."""

    def squared(centroid: np.ndarray) -> Fraction:
        pairs = zip(residual.tolist(), centroid.tolist(), strict=True)
        return sum(((Fraction(x) - Fraction(c)) ** 2 for x, c in pairs), Fraction(0))

    return sorted(range(len(codebook)), key=lambda code: (squared(codebook[code]), code))


@settings(deadline=None)
@given(
    arrays(np.float32, (9, 3), elements=FEW_VALUES),
    arrays(np.float32, (4, 3), elements=FEW_VALUES),
    st.integers(1, 9),
)
def test_it_is_the_ranking_of_exact_arithmetic(codebook, residuals, count):
    codes, apart = NearestCodes(codebook).rank(residuals, count)
    for residual, ranked, distances in zip(residuals, codes, apart, strict=True):
        assert ranked.tolist() == ranked_exactly(residual, codebook)[:count]
        true = np.linalg.norm(residual.astype(np.float64) - codebook[ranked], axis=1)
        np.testing.assert_allclose(distances, true, rtol=1e-6)


def test_centroids_that_float64_cannot_tell_apart_are_in_their_exact_order():
    rng = np.random.default_rng(0)
    residual = rng.standard_normal((1, 4096), np.float32)
    nearer = residual[0] * np.float32(0.5)
    farther = nearer.copy()
    place = int(np.abs(nearer).argmin())  # the smallest step that float32 can make
    farther[place] = np.nextafter(nearer[place], np.float32(-np.sign(residual[0, place]) * 9))
    codes, apart = NearestCodes(np.stack([farther, residual[0] + 9, nearer])).rank(residual, 3)
    assert codes.tolist() == [[2, 0, 1]]
    assert apart[0, 0] == apart[0, 1]


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_the_cut_into_blocks_makes_no_difference(rows, monkeypatch):
    rng = np.random.default_rng(1)
    codebook = rng.standard_normal((300, 64), np.float32)
    residuals = rng.standard_normal((50, 64), np.float32)
    residuals[30:] = residuals[3]  # items with the same text
    whole = NearestCodes(codebook).rank(residuals, 32)
    monkeypatch.setattr(nearest_codes, "ROWS", rows)
    cut = NearestCodes(codebook).rank(residuals, 32)
    assert all((one == other).all() for one, other in zip(whole, cut, strict=True))
