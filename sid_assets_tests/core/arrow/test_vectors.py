"""Vectors between Arrow and numpy."""

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.arrow.vectors import (
    not_unit_vectors,
    require_unit_vectors,
    vector_array,
    vectors_of,
)
from sid_assets.core.errors import InputError

VECTORS = np.eye(6, 4, dtype=np.float32)


def test_conversion_in_both_directions_shares_memory():
    back = vectors_of(vector_array(VECTORS))
    assert np.array_equal(back, VECTORS)
    assert np.shares_memory(back, VECTORS)


def test_chunks_slices_and_no_rows():
    column = pa.chunked_array([vector_array(VECTORS[:2]), vector_array(VECTORS[2:])])
    assert np.array_equal(vectors_of(column), VECTORS)
    assert np.array_equal(vectors_of(column.slice(1, 3)), VECTORS[1:4])
    assert np.array_equal(vectors_of(vector_array(VECTORS).slice(3)), VECTORS[3:])
    assert vectors_of(pa.chunked_array([], column.type)).shape == (0, 4)


def test_rows_that_are_not_unit_vectors():
    vectors = np.eye(6, dtype=np.float32)
    vectors[1, 1] = 1.0005  # as bfloat16 rounds
    vectors[2, 2] = 1.01
    vectors[3, 0] = np.nan
    vectors[4, 0] = np.inf
    vectors[5] = 0
    assert not_unit_vectors(vectors).tolist() == [False, False, True, True, True, True]


def test_the_message_names_the_first_pids():
    vectors = np.zeros((7, 4), np.float32)
    vectors[0, 0] = 1
    pids = pa.array([f"p{number}" for number in range(7)])
    with pytest.raises(InputError, match=r"the-model.*6 rows.*'p1', 'p2', 'p3', 'p4', 'p5'\. "):
        require_unit_vectors(vectors, pids, "the-model")
