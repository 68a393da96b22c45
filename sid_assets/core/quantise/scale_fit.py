"""Whether a tokenizer of unknown origin fits the vectors, judged by their scale."""

from dataclasses import dataclass

import numpy as np

from sid_assets.core.quantise.residual_kmeans import Encoder


@dataclass(frozen=True)
class ScaleFit:
    """How well a tokenizer fits a sample of vectors.

    Attributes:
        vector_norm: Median Euclidean norm of the vectors.
        centroid_norm: Median Euclidean norm of the centroids of the first layer.
        ratio: `centroid_norm` / `vector_norm`. Centroids are means of vectors, so the ratio of a
            tokenizer that fits is below 1, but not by much (0.5 to 1 for vectors of unit norm).
        relative_error: Mean of |vector - decoded| / |vector| (0: exact; 1: no better than no
            codes).
    """

    vector_norm: float
    centroid_norm: float
    ratio: float
    relative_error: float


def scale_fit(centroids: np.ndarray, vectors: np.ndarray, device: str | None = None) -> ScaleFit:
    """Compare a tokenizer with a sample of vectors; a few hundred are enough.

    Args:
        centroids: float32, shape (layers, codebook_size, dim).
        vectors: float32, shape (n, dim), n > 0, none of them zero.
        device: See `Encoder`.

    Raises:
        InputError: The vectors have another width, or are not finite.
    """
    norms = Encoder(centroids, device).encode(vectors).residual_norms.astype(np.float64)
    vector_norm = float(np.median(norms[:, 0]))
    centroid_norm = float(np.median(np.linalg.norm(centroids[0].astype(np.float64), axis=1)))
    return ScaleFit(
        vector_norm=vector_norm,
        centroid_norm=centroid_norm,
        ratio=centroid_norm / vector_norm,
        relative_error=float((norms[:, -1] / norms[:, 0]).mean()),
    )
