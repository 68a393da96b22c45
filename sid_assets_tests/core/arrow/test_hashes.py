"""Content hashes are the first 16 bytes of a SHA-256."""

import hashlib

import numpy as np

from sid_assets.core.arrow.hashes import text_hash, vector_hashes


def test_known_answers():
    assert text_hash("").hex() == "e3b0c44298fc1c149afbf4c8996fb924"
    assert text_hash("abc").hex() == "ba7816bf8f01cfea414140de5dae2223"
    assert text_hash("é") == hashlib.sha256(b"\xc3\xa9").digest()[:16]


def test_vectors_are_hashed_row_by_row():
    vectors = np.array([[1, 2], [3, 4], [1, 2]], np.float32)
    hashes = vector_hashes(vectors).to_pylist()
    assert hashes[0] == hashlib.sha256(vectors[0].tobytes()).digest()[:16]
    assert hashes[0] == hashes[2] != hashes[1]
    assert vector_hashes(vectors[:, ::-1])[0].as_py() == hash_of(np.array([2, 1], np.float32))


def hash_of(row: np.ndarray) -> bytes:
    return hashlib.sha256(row.tobytes()).digest()[:16]


def test_minus_zero_is_another_vector():
    zero, minus = vector_hashes(np.array([[0.0], [-0.0]], np.float32)).to_pylist()
    assert zero != minus


def test_no_vectors():
    assert vector_hashes(np.zeros((0, 4), np.float32)).to_pylist() == []
