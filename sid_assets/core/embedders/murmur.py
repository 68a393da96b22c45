"""MurmurHash3 of many short pieces of a text at a time, in numpy."""

import numpy as np

PADDING = 4
"""Bytes that must follow the last piece, so that four can be read from any place on."""

_MASKS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF], np.uint32)


def murmur3(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The 32-bit MurmurHash3, with seed 0, of pieces of the data.

    Args:
        data: uint8; `PADDING` bytes follow the last piece.
        starts: Index of the first byte of each piece, shape (n,).
        lengths: Number of bytes of each piece, shape (n,).

    Returns:
        int32, shape (n,).
    """
    hashes = np.zeros(len(starts), np.uint32)
    for first in range(0, int(lengths.max(initial=0)), 4):
        left = np.clip(lengths - first, 0, 4)
        word = _words(data, np.minimum(starts + first, len(data) - 4)) & _MASKS[left]
        hashes ^= _rotated(word * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)
        mixed = _rotated(hashes, 13) * np.uint32(5) + np.uint32(0xE6546B64)
        hashes = np.where(left == 4, mixed, hashes)
    hashes ^= lengths.astype(np.uint32)
    hashes ^= hashes >> np.uint32(16)
    hashes *= np.uint32(0x85EBCA6B)
    hashes ^= hashes >> np.uint32(13)
    hashes *= np.uint32(0xC2B2AE35)
    hashes ^= hashes >> np.uint32(16)
    return hashes.view(np.int32)


def _words(data: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The four bytes from each place on, as a little-endian number."""
    words = data[at].astype(np.uint32)
    for byte in (1, 2, 3):
        words |= data[at + byte].astype(np.uint32) << np.uint32(8 * byte)
    return words


def _rotated(values: np.ndarray, bits: int) -> np.ndarray:
    return values << np.uint32(bits) | values >> np.uint32(32 - bits)
