"""MurmurHash3 of pieces of a text, against scikit-learn's."""

import numpy as np
from sklearn.utils.murmurhash import murmurhash3_32

from sid_assets.core.embedders.murmur import PADDING, murmur3


def hashes(pieces: list[bytes]) -> list[int]:
    data = np.frombuffer(b"".join(pieces) + bytes(PADDING), np.uint8)
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    return murmur3(data, np.cumsum(lengths) - lengths, lengths).tolist()


def test_pieces_of_every_length() -> None:
    draw = np.random.default_rng(0)
    pieces = [draw.bytes(length) for length in range(17) for _ in range(50)]
    assert hashes(pieces) == [murmurhash3_32(piece) for piece in pieces]


def test_known_values() -> None:
    """From the test vectors of the algorithm: no bytes, and the text "test"."""
    assert hashes([b"", b"test"]) == [0, 0xBA6BD213 - (1 << 32)]


def test_no_pieces() -> None:
    assert hashes([]) == []
