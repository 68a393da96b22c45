"""Residual k-means: vectors to codes and back."""

from dataclasses import dataclass

import numpy as np

from sid_assets.core.errors import InputError


@dataclass(frozen=True)
class Encoded:
    """The codes of n vectors.

    Attributes:
        codes: int64, shape (n, layers).
        residual_norms: float32, shape (n, layers + 1): the Euclidean norm of each vector, then of
            its residual after each layer.
    """

    codes: np.ndarray
    residual_norms: np.ndarray


class Encoder:
    """Encodes vectors with the centroids of one tokenizer."""

    def __init__(self, centroids: np.ndarray, device: str | None = None) -> None:
        self.centroids = np.ascontiguousarray(centroids, np.float32)
        self.device = device
        self._half_norms = (self.centroids.astype(np.float64) ** 2).sum(2) / 2

    def encode(self, vectors: np.ndarray) -> Encoded:
        """The codes of vectors, float32 of shape (n, dim)."""
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise InputError(f"NaN or infinite values in {len(bad)} vectors")
        residual = np.array(vectors, np.float32)
        codes, norms = [], [_norms(residual)]
        for codebook, half_norms in zip(self.centroids, self._half_norms, strict=True):
            scores = residual.astype(np.float64) @ codebook.T.astype(np.float64) - half_norms
            code = scores.argmax(axis=1)
            residual -= codebook[code]
            codes.append(code)
            norms.append(_norms(residual))
        return Encoded(np.stack(codes, 1).astype(np.int64), np.stack(norms, 1).astype(np.float32))


def _norms(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))


def decode(codes: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The sum of the chosen centroids, float32 of shape (n, dim)."""
    total = centroids[0][codes[:, 0]].astype(np.float32)
    for layer in range(1, codes.shape[1]):
        total += centroids[layer][codes[:, layer]]
    return total
