"""Conversion of vectors between Arrow and numpy, without a copy if possible."""

import numpy as np
import pyarrow as pa

from sid_assets.core.errors import offending_rows

NORM_TOLERANCE = 1e-3
"""How far the norm of a vector may be from 1; bf16 arithmetic stays well within it."""


def vectors_of(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """The vectors of a column: float32, shape (n, width); a view if the column is one chunk."""
    if isinstance(column, pa.Array):
        array = column
    else:
        array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return array.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)


def vector_array(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """Vectors of shape (n, width) as a column of fixed-size lists that shares their memory."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def not_unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Which rows are not finite or not of unit norm: bool, shape (n,)."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return ~(
        np.abs(norms - 1) <= NORM_TOLERANCE
    )  # a comparison with NaN is false, so NaN is caught


def require_unit_vectors(vectors: np.ndarray, pids: pa.Array, source: str) -> None:
    """Refuse vectors that are not finite or not of unit norm.

    Raises:
        InputError: The message names the source, the number of rows and the first pids.
    """
    bad = np.flatnonzero(not_unit_vectors(vectors))
    if bad.size:
        raise offending_rows(
            "the vector is not finite (NaN or infinite) or not of unit norm",
            source=source,
            column="embedding",
            rows=bad.size,
            ids=(pids[int(row)].as_py() for row in bad),
            remedy="Check the texts of these items, and whether the model's weights are complete.",
        )
