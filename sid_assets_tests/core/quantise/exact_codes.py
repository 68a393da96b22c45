"""Nearest centroids in exact arithmetic: fractions on small cases, float64 on many rows."""

from fractions import Fraction

import numpy as np

ROWS, CODEBOOK, DIM = 2000, 300, 192


def nearest_by_fractions(vector, codebook):
    """The lowest index of the smallest distance, in rational arithmetic."""
    x = [Fraction(float(value)) for value in vector]
    distances = [
        sum((a - Fraction(float(b))) ** 2 for a, b in zip(x, centroid, strict=True))
        for centroid in codebook
    ]
    return min(range(len(codebook)), key=lambda index: (distances[index], index))


def nearest_by_float64(vectors, codebook):
    """The same for many rows: in float64, and in fractions where float64 cannot decide."""
    x, c = vectors.astype(np.float64), codebook.astype(np.float64)
    sizes = np.linalg.norm(c, axis=1)
    scores = x @ c.T - sizes**2 / 2
    doubt = 1e-12 * sizes * (np.linalg.norm(x, axis=1, keepdims=True) + sizes)
    close = scores + doubt >= (scores - doubt).max(1, keepdims=True)
    codes = close.argmax(1)
    for row in np.flatnonzero(close.sum(1) > 1):
        candidates = np.flatnonzero(close[row])
        codes[row] = candidates[nearest_by_fractions(vectors[row], codebook[candidates])]
    return codes


def reference(vectors, centroids, nearest=nearest_by_float64):
    residual = vectors.copy()
    codes = []
    for codebook in centroids:
        code = nearest(residual, codebook)
        residual = residual - codebook[code]
        codes.append(code)
    return np.stack(codes, 1)


def made_vectors(spectrum, seed=0, rows=ROWS, dim=DIM):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, dim))
    if spectrum != "isotropic":
        values *= np.arange(1, dim + 1) ** -0.7
    if spectrum == "clustered":
        centers = rng.standard_normal((40, dim)) * np.arange(1, dim + 1) ** -0.7
        values = 0.3 * values + centers[rng.integers(40, size=rows)]
    if spectrum == "common mean":
        values += 3
    return np.asarray(values, np.float32)


def made_centroids(vectors, layers=3, codebook=CODEBOOK, seed=1):
    """Rows and then their residuals, partly averaged: similar to a k-means codebook."""
    rng = np.random.default_rng(seed)
    residual, codebooks = vectors, []
    for _ in range(layers):
        pairs = residual[rng.integers(len(residual), size=(2, codebook))]
        codebooks.append(np.asarray(pairs.mean(0), np.float32))
        residual = residual - codebooks[-1][nearest_by_float64(residual, codebooks[-1])]
    return np.stack(codebooks)
