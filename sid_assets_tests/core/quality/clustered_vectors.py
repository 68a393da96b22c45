"""Vectors in clusters, and their codes by a trained tokenizer, random centroids, and one code."""

from functools import cache

import numpy as np

from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.train import TrainingSettings, train
from sid_assets_tests.core.quality.clustered_items import CODEBOOK_SIZE

ITEMS = 600
CLUSTERS = 60
WIDTH = 24


@cache
def clustered_vectors() -> np.ndarray:
    """Unit vectors, float32 (600, 24), ten in each cluster: rows 0, 60, 120, ... are one."""
    rng = np.random.default_rng(1)
    vectors = np.tile(rng.normal(size=(CLUSTERS, WIDTH)), (ITEMS // CLUSTERS, 1))
    vectors = (vectors + 0.2 * rng.normal(size=vectors.shape)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@cache
def tokenizer(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The centroids, and the codes of the vectors: `trained`, `random` or `one code`."""
    shape = (3, CODEBOOK_SIZE, WIDTH)
    if name == "trained":
        settings = TrainingSettings(codebook_size=CODEBOOK_SIZE, iterations=5)
        centroids = train([clustered_vectors()], settings, "cpu").centroids
    elif name == "random":
        drawn = np.random.default_rng(2).normal(size=shape)
        centroids = drawn / np.linalg.norm(drawn, axis=2, keepdims=True)
    else:
        centroids = np.zeros(shape)
        centroids[:, 1:] = 100  # out of reach
    centroids = centroids.astype(np.float32)
    return centroids, Encoder(centroids, "cpu").encode(clustered_vectors()).codes
