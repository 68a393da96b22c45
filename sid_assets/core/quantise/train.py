"""Training a tokenizer: residual k-means with faiss, layer by layer, on a sample of a stream."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sid_assets.core.arrow.statistics import entropy
from sid_assets.core.errors import InputError
from sid_assets.core.quantise.residual_kmeans import BATCH, Encoded, Encoder

log = logging.getLogger(__name__)

HELD_OUT = 10
"""One in this many rows of the sample is held out from training, to measure the error on."""

FEW_POINTS = 39
"""With fewer rows per centroid, faiss warns that there are too few training points."""

TOO_FEW_POINTS, GOOD_POINTS = 3, 4
"""Rows per centroid. Below the first number, each later layer uses fewer codes; near the second,
the fewest SIDs collide (`benchmarks/codebook_size.py`)."""


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of k-means. With the vectors, they determine the trained tokenizer.

    Attributes:
        layers: Number of codebooks, which is the number of codes per item.
        codebook_size: Centroids per layer.
        iterations: Iterations of k-means.
        seed: Seed of the sample and of the initial centroids (layer l uses seed + l).
        restarts: Runs of k-means with different initial centroids; the best result is kept.
        points_per_centroid: Training rows per centroid, if there are enough. The sample in memory
            holds codebook_size * points_per_centroid * 10/9 vectors: 9.5 GB for 8192 centroids, 64
            points per centroid and 4096 values per vector.
    """

    layers: int = 3
    codebook_size: int = 8192
    iterations: int = 20
    seed: int = 0
    restarts: int = 1
    points_per_centroid: int = 64

    @property
    def sample_size(self) -> int:
        """Rows of the sample, including those held out."""
        return self.codebook_size * self.points_per_centroid * HELD_OUT // (HELD_OUT - 1)


@dataclass(frozen=True)
class Trained:
    """A tokenizer and how well it fits.

    Attributes:
        centroids: float32, shape (layers, codebook_size, dim).
        figures: JSON: `rows_seen`, `rows_trained`, `rows_held_out`, and `layers`, a list with the
            figures after each layer on `trained` and `held_out` rows: `mean_squared_error` (mean
            squared Euclidean norm of the residuals), `relative_error` (mean of residual norm /
            norm of the vector), `utilisation` (share of codes used), `entropy` (nats),
            `dead_codes` (count).
        notes: What should be reported about the training.
    """

    centroids: np.ndarray
    figures: dict[str, Any]
    notes: tuple[str, ...] = ()


def train(
    batches: Iterable[np.ndarray], settings: TrainingSettings, device: str | None = None
) -> Trained:
    """Train a tokenizer on a sample that is drawn in one pass over the vectors.

    The same vectors in the same order, with the same settings and number of threads, give the same
    centroids.

    Args:
        batches: float32, each of shape (n, dim), finite. Their sizes do not affect the result.
        settings: How to train.
        device: Where residuals are computed; see `Encoder`.

    Raises:
        InputError: There are fewer vectors to train on than centroids per layer.
    """
    rng = np.random.default_rng(settings.seed)
    residuals, rows_seen = draw_sample(batches, settings.sample_size, rng)
    held_out = -(-len(residuals) // HELD_OUT)
    trained = len(residuals) - held_out
    notes = _require_enough(trained, held_out, settings)
    _move_to_end(residuals, rng.choice(len(residuals), held_out, replace=False))

    centroids, layers = [], []
    lengths = np.empty(0, np.float32)
    for layer in range(settings.layers):
        codebook = _train_layer(residuals[:trained], settings, layer)
        encoded = _subtract(residuals, codebook, device)
        if layer == 0:
            lengths = encoded.residual_norms[:, 0]
        parts = {"trained": slice(0, trained), "held_out": slice(trained, None)}
        figures = {
            name: _figures(encoded, lengths, part, settings.codebook_size)
            for name, part in parts.items()
        }
        log.info(
            "Layer %d of %d: relative error %.3f, of held-out vectors %.3f; %.0f%% of codes used.",
            *(layer + 1, settings.layers),
            *(figures["trained"]["relative_error"], figures["held_out"]["relative_error"]),
            100 * figures["trained"]["utilisation"],
        )
        centroids.append(codebook)
        layers.append({"layer": layer + 1, **figures})
    figures = {
        "settings": asdict(settings),
        "rows_seen": rows_seen,
        "rows_trained": trained,
        "rows_held_out": held_out,
        "layers": layers,
    }
    return Trained(np.stack(centroids), figures, notes)


def draw_sample(
    batches: Iterable[np.ndarray], size: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Draw a uniform sample of the rows of a stream of unknown length.

    Reservoir sampling (Vitter 1985, algorithm R): row i, counted from 0, replaces a random row of
    the sample with probability size / (i + 1). One random number is drawn per row, so the sample
    does not depend on how the stream is cut into batches.

    Returns:
        A copy of at most `size` rows, and the number of rows in the stream.
    """
    sample = np.empty((0, 0), np.float32)
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
        sample[seen:filled] = batch[:fresh]
        for row in fresh + np.flatnonzero(places[fresh:] < size):
            sample[int(places[row])] = batch[row]
        seen += len(batch)
    return sample[:seen], seen


def _require_enough(trained: int, held_out: int, settings: TrainingSettings) -> tuple[str, ...]:
    if trained < settings.codebook_size:
        raise InputError(
            f"{trained + held_out:,} vectors leave {trained:,} to train on ({held_out:,} are held "
            f"out), fewer than the {settings.codebook_size:,} centroids per layer. Set "
            f"SID_CODEBOOK_SIZE to at most {trained:,}, or use a tokenizer that is already trained."
        )
    if trained >= FEW_POINTS * settings.codebook_size:
        return ()
    said = f"{trained:,} vectors to train {settings.codebook_size:,} centroids per layer"
    if trained >= TOO_FEW_POINTS * settings.codebook_size:
        return (
            f"{said}: fewer than {FEW_POINTS} per centroid. New items will have a larger "
            "reconstruction error than these.",
        )
    return (
        f"{said}: the first code already separates nearly all items, and the other codes add "
        "little. Set SID_CODEBOOK_SIZE to about "
        f"{max(1, (trained + held_out) // GOOD_POINTS):,} and run with new_generation.",
    )


def _move_to_end(rows: np.ndarray, chosen: np.ndarray) -> None:
    """Move the chosen rows to the end by swapping, in place."""
    start = len(rows) - len(chosen)
    is_chosen = np.zeros(len(rows), bool)
    is_chosen[chosen] = True
    before = np.flatnonzero(is_chosen[:start])
    after = start + np.flatnonzero(~is_chosen[start:])
    rows[before], rows[after] = rows[after], rows[before]


def _train_layer(vectors: np.ndarray, settings: TrainingSettings, layer: int) -> np.ndarray:
    import faiss

    kmeans = faiss.Kmeans(
        vectors.shape[1],
        settings.codebook_size,
        niter=settings.iterations,
        nredo=settings.restarts,
        seed=settings.seed + layer,
        max_points_per_centroid=settings.points_per_centroid,
        min_points_per_centroid=1,  # `_require_enough` reports too few points instead
    )
    kmeans.train(vectors)
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
    return {
        "mean_squared_error": float((norms**2).mean()),
        "relative_error": float((norms / lengths)[lengths > 0].mean()) if lengths.any() else 0.0,
        "utilisation": 1 - dead / codebook_size,
        "entropy": entropy(counts),
        "dead_codes": dead,
    }
