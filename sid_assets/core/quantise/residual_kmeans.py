"""Residual k-means: vectors to codes and back.

Encoding, all in float32: x_0 is the vector. Code l is the index of the centroid of layer l nearest
to x_l (exact, see `nearest_centroid`). x_(l+1) is x_l minus that centroid, with each difference
rounded to float32. The codes of a vector therefore do not depend on the batch, the order, the
threads or the device.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sid_assets.core.devices import usable_device
from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.quantise.nearest_centroid import NearestCentroid
from sid_assets.core.quantise.row_blocks import row_norms, subtract_rows

BATCH = 2048
"""Vectors encoded at a time: about 150 MB of working memory for 8192 centroids of 4096 values."""


class NotFiniteError(InputError):
    """Vectors that cannot be encoded because they or their residuals are not finite.

    Attributes:
        rows: Indexes of these vectors, int64.
    """

    def __init__(self, rows: np.ndarray, total: int) -> None:
        shown = ", ".join(str(row) for row in rows[:IDS_SHOWN])
        super().__init__(
            f"{len(rows):,} of {total:,} vectors hold NaN, infinite or overflowing values "
            f"(first rows: {shown}). Embed these items again."
        )
        self.rows = rows

    def of_items(self, pids: pa.Array, source: Any) -> InputError:
        """The same error with the ids of the items, for users.

        Args:
            pids: The id of each vector that was passed to the encoder.
            source: Where the vectors are stored.
        """
        return offending_rows(
            "NaN, infinite or overflowing values",
            source=source,
            column="embedding",
            rows=len(self.rows),
            ids=(pids[int(row)].as_py() for row in self.rows),
            remedy="Embed these items again. (Counted up to the first batch with such rows.)",
        )


@dataclass(frozen=True)
class Encoded:
    """The codes of n vectors.

    Attributes:
        codes: int64, shape (n, layers).
        residual_norms: float32, shape (n, layers + 1): the Euclidean norm of each vector, then of
            its residual after each layer. They are as reproducible as the codes.
    """

    codes: np.ndarray
    residual_norms: np.ndarray


class Encoder:
    """Encodes vectors with one tokenizer and keeps its codebooks on a device.

    Args:
        centroids: float32, shape (layers, codebook_size, dim), finite.
        device: As torch names it; by default `cuda` if available, else `cpu`.

    Raises:
        InputError: torch has no such device here.
    """

    def __init__(self, centroids: np.ndarray, device: str | None = None) -> None:
        self.device = usable_device(device)
        self.dim = centroids.shape[2]
        self._codebooks = [NearestCentroid(codebook, self.device) for codebook in centroids]

    @property
    def layers(self) -> int:
        """The number of codes of a vector."""
        return len(self._codebooks)

    def encode(self, vectors: np.ndarray) -> Encoded:
        """Encode vectors.

        Args:
            vectors: float32, shape (n, dim).

        Raises:
            InputError: The vectors have another width, or some are not finite (`NotFiniteError`).
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise InputError(
                f"The vectors have shape {vectors.shape}; this tokenizer takes (n, {self.dim}). "
                "Use a tokenizer that was trained on vectors of this width."
            )
        vectors = np.ascontiguousarray(vectors)
        codes = np.empty((len(vectors), self.layers), np.int64)
        norms = np.empty((len(vectors), self.layers + 1), np.float32)
        bad = []
        for start in range(0, len(vectors), BATCH):
            some = slice(start, start + BATCH)
            finite = self._encode_batch(vectors[some], codes[some], norms[some])
            bad.append(start + np.flatnonzero(~finite))
        rows = np.concatenate(bad) if bad else np.empty(0, np.int64)
        if len(rows):
            raise NotFiniteError(rows, len(vectors))
        return Encoded(codes, norms)

    def _encode_batch(
        self, vectors: np.ndarray, codes: np.ndarray, norms: np.ndarray
    ) -> np.ndarray:
        """Fill in the codes and norms of a batch; returns which vectors stayed finite."""
        residual = np.array(vectors, np.float32)
        lengths = row_norms(residual)
        finite = np.isfinite(lengths)
        for layer, codebook in enumerate(self._codebooks):
            if not finite.all():
                residual[~finite], lengths[~finite] = 0, 0
            norms[:, layer] = _float32_norms(residual, lengths)
            codes[:, layer] = codebook(residual, lengths)
            lengths = subtract_rows(residual, codebook.centroids, codes[:, layer])
            finite &= np.isfinite(lengths)
        norms[:, -1] = _float32_norms(residual, lengths)
        return finite


def decode(codes: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The sum of the chosen centroids, added in float32 layer by layer.

    Args:
        codes: Integers, shape (n, layers), for all layers of the tokenizer or the first few.
        centroids: float32, shape (layers, codebook_size, dim).

    Returns:
        float32, shape (n, dim).
    """
    total = np.zeros((len(codes), centroids.shape[2]), np.float32)
    for layer in range(codes.shape[1]):
        total += centroids[layer][codes[:, layer]]
    return total


def _float32_norms(vectors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`row_norms` as float32, independent of the order of summation.

    Another order of summation can move a float64 norm across a rounding boundary of float32. The
    few norms that are this close to one are summed with `math.fsum`, whose result is exact.
    """
    error = (vectors.shape[1] + 4) * 2.0**-53
    with np.errstate(over="ignore"):  # the norm of finite values may be infinite in float32
        low = (lengths * (1 - error)).astype(np.float32)
        norms = (lengths * (1 + error)).astype(np.float32)
    for row in np.flatnonzero(low != norms):
        norms[row] = math.sqrt(math.fsum(vectors[row].astype(np.float64) ** 2))
    return norms
