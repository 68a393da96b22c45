"""Training a tokenizer: residual k-means, layer by layer, on a sample of a stream.

There are two methods, `balanced` and `kmeans`. Residual k-means on a CPU is faiss's; the rest is
`torch_kmeans`. What a layer leaves for the next one are the residuals of encoding, that is of the
nearest centroids, whatever the method.
"""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from sid_assets.core.arrow.statistics import entropy
from sid_assets.core.devices import usable_device
from sid_assets.core.quantise.codebook_size import (
    HELD_OUT,
    Method,
    chosen_codebook_size,
    require_enough,
    rows_held_out,
)
from sid_assets.core.quantise.residual_kmeans import BATCH, Encoded, Encoder
from sid_assets.core.quantise.torch_kmeans import start_rows, torch_kmeans

log = logging.getLogger(__name__)

DEFAULT_METHOD: Method = "kmeans"
"""The method where no tokenizer is there and `SID_TRAINING` is not set. The figures that decide it
are in `docs/quantising.md`."""

FEW_CENTROIDS = 256
"""Up to this many centroids, k-means is quick enough to be repeated."""


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of k-means.

    With the vectors, the tokenizer to start from, the kind of device and the number of threads,
    they determine the trained tokenizer.

    Attributes:
        method: `balanced`: clusters of about equal size. `kmeans`: plain k-means. "": not decided.
        inequality: For `balanced`, how unequal clusters may be in training: each has at most this
            many times the equal share of the vectors, and at least the equal share divided by it.
        layers: Number of codebooks, which is the number of codes per item.
        codebook_size: Centroids per layer; 0: to be chosen from the number of items.
        iterations: Iterations of k-means.
        seed: Seed of the sample and of the initial centroids (layer l uses seed + l).
        restarts: For `kmeans`, runs with different initial centroids; the best result is kept. 0: 3
            with few centroids, else 1.
        points_per_centroid: Training rows per centroid, if there are enough. The sample in memory
            holds codebook_size * points_per_centroid * 10/9 vectors: 9.5 GB for 8192 centroids, 64
            points per centroid and 4096 values per vector.
    """

    method: Method | Literal[""] = "balanced"
    inequality: float = 1.5
    layers: int = 3
    codebook_size: int = 8192
    iterations: int = 20
    seed: int = 0
    restarts: int = 1
    points_per_centroid: int = 64

    def decided(self, items: int, method: Method = DEFAULT_METHOD) -> "TrainingSettings":
        """The same settings for this many items, with nothing left open.

        Args:
            items: How many vectors there are.
            method: The method, if these settings leave it open.
        """
        method = self.method or method
        size = self.codebook_size or chosen_codebook_size(items, method)
        restarts = self.restarts or (3 if size <= FEW_CENTROIDS else 1)
        return replace(self, method=method, codebook_size=size, restarts=restarts)

    def describe(self) -> str:
        """The tokenizer in a few words, for the log."""
        return f"{self.layers} x {self.codebook_size:,} centroids, method {self.method}"

    @property
    def sample_size(self) -> int:
        """Rows of the sample, including those held out."""
        rows = self.codebook_size * self.points_per_centroid * HELD_OUT // (HELD_OUT - 1)
        fewest = -(-self.codebook_size * HELD_OUT // (HELD_OUT - 1))  # leaves one for each centroid
        return max(rows, fewest)


@dataclass(frozen=True)
class Trained:
    """A tokenizer and how well it fits.

    Attributes:
        centroids: float32, shape (layers, codebook_size, dim).
        figures: JSON: `rows_seen`, `rows_trained`, `rows_held_out`, and `layers`, a list with the
            figures after each layer on `trained` and `held_out` rows: `mean_squared_error` (mean
            squared Euclidean norm of the residuals), `relative_error` (mean of residual norm /
            norm of the vector), `utilisation` (share of codes used), `entropy` (nats),
            `perplexity` (exp of the entropy), `dead_codes` (count). Also `settings`, `device` and
            `warm_start`: whether training started from a tokenizer.
        sample_rows: Where the rows of the sample are in the stream: int64, shape (n,).
        sample_codes: Their codes, uint16, shape (n, layers).
    """

    centroids: np.ndarray
    figures: dict[str, Any]
    sample_rows: np.ndarray
    sample_codes: np.ndarray


def train(
    batches: Iterable[np.ndarray],
    settings: TrainingSettings,
    device: str | None = None,
    start: np.ndarray | None = None,
) -> Trained:
    """Train a tokenizer on a sample that is drawn in one pass over the vectors.

    The same vectors in the same order, with the same settings, kind of device, number of threads
    and tokenizer to start from, give the same centroids.

    Args:
        batches: float32, each of shape (n, dim), finite. Their sizes do not affect the result.
        settings: How to train, with nothing left open.
        device: Where to compute, as torch names it; by default `cuda` if available, else `cpu`.
        start: A tokenizer of the same shape, from which each layer starts; by default layers start
            from vectors that are drawn.

    Raises:
        InputError: There are fewer vectors to train on than centroids per layer, or torch has no
            such device here.
    """
    device = usable_device(device)
    rng = np.random.default_rng(settings.seed)
    residuals, sample_rows, rows_seen = draw_sample(batches, settings.sample_size, rng)
    require_enough(len(residuals), settings.codebook_size)
    held_out = rows_held_out(len(residuals))
    trained = len(residuals) - held_out
    chosen = rng.choice(len(residuals), held_out, replace=False)
    _move_to_end(residuals, chosen)
    _move_to_end(sample_rows, chosen)

    centroids, layers = [], []
    codes = np.empty((len(residuals), settings.layers), np.uint16)
    lengths = np.empty(0, np.float32)
    for layer in range(settings.layers):
        old = None if start is None else start[layer]
        codebook = _train_layer(residuals[:trained], settings, layer, device, old)
        encoded = _subtract(residuals, codebook, device)
        codes[:, layer] = encoded.codes[:, 0]
        if layer == 0:
            lengths = encoded.residual_norms[:, 0]
        parts = {"trained": slice(0, trained), "held_out": slice(trained, None)}
        figures = {
            name: _figures(encoded, lengths, part, settings.codebook_size)
            for name, part in parts.items()
        }
        log.info(
            "Layer %d of %d: relative error %.3f, of held-out vectors %.3f; %.0f%% of codes used, "
            "perplexity %.0f.",
            *(layer + 1, settings.layers),
            *(figures["trained"]["relative_error"], figures["held_out"]["relative_error"]),
            *(100 * figures["trained"]["utilisation"], figures["trained"]["perplexity"]),
        )
        centroids.append(codebook)
        layers.append({"layer": layer + 1, **figures})
    figures = {
        "settings": asdict(settings),
        "device": device,
        "warm_start": start is not None,
        "rows_seen": rows_seen,
        "rows_trained": trained,
        "rows_held_out": held_out,
        "layers": layers,
    }
    return Trained(np.stack(centroids), figures, sample_rows, codes)


def draw_sample(
    batches: Iterable[np.ndarray], size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw a uniform sample of the rows of a stream of unknown length.

    Reservoir sampling (Vitter 1985, algorithm R): row i, counted from 0, replaces a random row of
    the sample with probability size / (i + 1). One random number is drawn per row, so the sample
    does not depend on how the stream is cut into batches.

    Returns:
        A copy of at most `size` rows, where they are in the stream (int64), and the number of rows
        in the stream.
    """
    sample = np.empty((0, 0), np.float32)
    places_in_stream = np.empty(0, np.int64)
    seen = 0
    for batch in batches:
        if not seen:
            sample = np.empty((0, batch.shape[1]), np.float32)
        places = rng.random(len(batch)) * np.arange(seen + 1, seen + len(batch) + 1)
        filled = min(size, seen + len(batch))
        fresh = max(0, filled - seen)
        if filled > len(sample):
            rows = min(size, max(filled, 2 * len(sample)))
            sample.resize((rows, batch.shape[1]), refcheck=False)
            places_in_stream.resize(rows, refcheck=False)
        sample[seen:filled] = batch[:fresh]
        places_in_stream[seen:filled] = np.arange(seen, filled)
        for row in fresh + np.flatnonzero(places[fresh:] < size):
            sample[int(places[row])] = batch[row]
            places_in_stream[int(places[row])] = seen + row
        seen += len(batch)
    return sample[:seen], places_in_stream[:seen], seen


def _move_to_end(rows: np.ndarray, chosen: np.ndarray) -> None:
    """Move the chosen rows to the end by swapping, in place."""
    start = len(rows) - len(chosen)
    is_chosen = np.zeros(len(rows), bool)
    is_chosen[chosen] = True
    before = np.flatnonzero(is_chosen[:start])
    after = start + np.flatnonzero(~is_chosen[start:])
    rows[before], rows[after] = rows[after], rows[before]


def _train_layer(
    vectors: np.ndarray,
    settings: TrainingSettings,
    layer: int,
    device: str,
    start: np.ndarray | None,
) -> np.ndarray:
    if _uses_faiss(settings, device):
        return _faiss_kmeans(vectors, settings, layer, start)
    rng = np.random.default_rng([settings.seed, layer])
    inequality = settings.inequality if settings.method == "balanced" else None
    fits = []
    for _ in range(1 if settings.method == "balanced" or start is not None else settings.restarts):
        first = start_rows(vectors, settings.codebook_size, rng) if start is None else start
        fits.append(torch_kmeans(vectors, first, settings.iterations, inequality, rng, device))
    return min(fits, key=lambda fit: fit[1])[0]


def _uses_faiss(settings: TrainingSettings, device: str) -> bool:
    return settings.method == "kmeans" and device == "cpu"


def _faiss_kmeans(
    vectors: np.ndarray, settings: TrainingSettings, layer: int, start: np.ndarray | None
) -> np.ndarray:
    import faiss

    kmeans = faiss.Kmeans(
        vectors.shape[1],
        settings.codebook_size,
        niter=settings.iterations,
        nredo=settings.restarts if start is None else 1,
        seed=settings.seed + layer,
        max_points_per_centroid=settings.points_per_centroid,
        min_points_per_centroid=1,  # few points are reported before anything is embedded
    )
    kmeans.train(vectors, init_centroids=start)
    return np.asarray(kmeans.centroids)


def _subtract(residuals: np.ndarray, codebook: np.ndarray, device: str | None) -> Encoded:
    """Encode with one more layer, and replace the residuals by the new ones in place."""
    encoder = Encoder(codebook[None], device)
    parts = []
    for start in range(0, len(residuals), BATCH):
        some = residuals[start : start + BATCH]
        parts.append(encoder.encode(some))
        some -= codebook[parts[-1].codes[:, 0]]
    return Encoded(
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.residual_norms for part in parts]),
    )


def _figures(
    encoded: Encoded, lengths: np.ndarray, part: slice, codebook_size: int
) -> dict[str, float]:
    norms, lengths = encoded.residual_norms[part, 1].astype(np.float64), lengths[part]
    counts = np.bincount(encoded.codes[part, 0], minlength=codebook_size)
    dead = int((counts == 0).sum())
    there = lengths > 0
    nats = entropy(counts)
    return {
        "mean_squared_error": float((norms**2).mean()),
        "relative_error": float((norms[there] / lengths[there]).mean()) if there.any() else 0.0,
        "utilisation": 1 - dead / codebook_size,
        "entropy": nats,
        "perplexity": float(np.exp(nats)),
        "dead_codes": dead,
    }
