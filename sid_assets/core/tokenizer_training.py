"""Training a tokenizer: residual k-means with faiss, layer by layer, on a sample of a stream."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sid_assets.core.residual_kmeans import Encoder


@dataclass(frozen=True)
class TrainingSettings:
    """What decides a trained tokenizer, beside its vectors."""

    layers: int = 3
    codebook_size: int = 8192
    iterations: int = 20
    seed: int = 0
    restarts: int = 1
    points_per_centroid: int = 64


@dataclass(frozen=True)
class Trained:
    """A tokenizer and how well it fits: `figures` is JSON-able."""

    centroids: np.ndarray
    figures: dict[str, Any]


def train(batches: Iterable[np.ndarray], settings: TrainingSettings) -> Trained:
    """Train a tokenizer on batches of float32 vectors (n, dim)."""
    import faiss

    residual = np.concatenate(list(batches)).astype(np.float32)
    centroids = []
    for layer in range(settings.layers):
        kmeans = faiss.Kmeans(
            residual.shape[1],
            settings.codebook_size,
            niter=settings.iterations,
            seed=settings.seed + layer,
            nredo=settings.restarts,
            max_points_per_centroid=settings.points_per_centroid,
        )
        kmeans.train(residual)
        codebook = kmeans.centroids
        centroids.append(codebook)
        residual = residual - codebook[Encoder(codebook[None]).encode(residual).codes[:, 0]]
    return Trained(np.stack(centroids), {})
