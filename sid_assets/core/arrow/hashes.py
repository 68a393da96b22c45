"""Content hashes, which tell whether a text or a vector has changed."""

import hashlib

import numpy as np
import pyarrow as pa

from sid_assets.core.schema import HASH, HASH_BYTES


def text_hash(text: str) -> bytes:
    """The first 16 bytes of the SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).digest()[:HASH_BYTES]


def vector_hashes(vectors: np.ndarray) -> pa.FixedSizeBinaryArray:
    """The first 16 bytes of the SHA-256 of each row's bytes.

    Args:
        vectors: float32, shape (n, d), C-contiguous.
    """
    digests = [hashlib.sha256(row).digest()[:HASH_BYTES] for row in np.ascontiguousarray(vectors)]
    return pa.array(digests, HASH)
