"""Items in clusters, with the SIDs of a trained tokenizer, of random centroids, and all in one."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from sid_assets.core.quality.items import Items, read_items
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.train import TrainingSettings, train
from sid_assets_tests.core.quality.small_tables import batches, codes_table

CODEBOOK_SIZE = 16
CLUSTERS = 8
ITEMS = 1200
WIDTH = 24

TOKENIZERS = ("trained", "random", "one code")

Codes = Sequence[Sequence[int]] | np.ndarray


def items_of(codes: Codes, **arrays: np.ndarray) -> Items:
    """Items with these codes, with pids 0, 1, 2, ..."""
    read = read_items(batches(codes_table(codes)), CODEBOOK_SIZE)
    return Items(read.sids, read.errors, **arrays)


def clusters() -> np.ndarray:
    """The cluster of each item: int64 (n,)."""
    return np.random.default_rng(0).integers(0, CLUSTERS, ITEMS)


@cache
def clustered_items(tokenizer: str) -> Items:
    """The items with the SIDs of one of `TOKENIZERS`."""
    rng = np.random.default_rng(1)
    spread = rng.normal(size=(CLUSTERS, WIDTH))[clusters()]
    vectors = (spread + 0.3 * rng.normal(size=(ITEMS, WIDTH))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    if tokenizer == "trained":
        settings = TrainingSettings(codebook_size=CODEBOOK_SIZE, iterations=5)
        centroids = train([vectors], settings).centroids
    elif tokenizer == "random":
        drawn = rng.normal(size=(3, CODEBOOK_SIZE, WIDTH)).astype(np.float32)
        centroids = drawn / np.linalg.norm(drawn, axis=2, keepdims=True)
    else:
        centroids = np.zeros((3, CODEBOOK_SIZE, WIDTH), np.float32)
    encoded = Encoder(centroids).encode(vectors)
    table = codes_table(encoded.codes, encoded.residual_norms)
    return read_items(batches(table, 500), CODEBOOK_SIZE)
