"""Renumbering the centroids of a new tokenizer, against all numberings of small ones."""

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.quantise.align import renumbered, with_numbers
from sid_assets.core.quantise.residual_kmeans import Encoder

SIZE = 4


@settings(deadline=None)  # the first one imports
@given(st.integers(0, 30), st.integers(0, 2**32))
def test_each_layer_in_turn_keeps_the_most_codes_that_any_numbering_can(items, seed):
    rng = np.random.default_rng(seed)
    before, after = rng.integers(0, SIZE, (2, items, 3))
    numbers = renumbered(before, after, SIZE)
    agree = np.ones(items, bool)
    for layer in range(3):
        assert sorted(numbers[layer]) == list(range(SIZE))
        mine, theirs = after[agree, layer], before[agree, layer]
        most = max((np.array(order)[mine] == theirs).sum() for order in permutations(range(SIZE)))
        kept = numbers[layer][mine] == theirs
        assert kept.sum() == most
        agree[agree] = kept


def test_shuffled_centroids_get_their_numbers_back():
    rng = np.random.default_rng(0)
    centroids = rng.standard_normal((3, 16, 8)).astype(np.float32)
    vectors = rng.standard_normal((5000, 8)).astype(np.float32)
    before = Encoder(centroids, "cpu").encode(vectors).codes
    shuffled = np.stack([layer[rng.permutation(16)] for layer in centroids])
    after = Encoder(shuffled, "cpu").encode(vectors).codes
    again = with_numbers(shuffled, renumbered(before, after, 16))
    np.testing.assert_array_equal(again, centroids)


def test_numbers_of_centroids_that_nobody_has_stay():
    before = np.array([[3, 0, 0], [3, 0, 0]])
    after = np.array([[1, 0, 0], [1, 0, 0]])
    numbers = renumbered(before, after, 6)
    assert numbers[0].tolist() == [0, 3, 2, 1, 4, 5]
    assert numbers[1:].tolist() == [list(range(6))] * 2


def test_codes_beyond_a_smaller_codebook_count_for_nothing():
    before = np.array([[5, 0, 0], [5, 0, 0], [1, 0, 0]])
    after = np.array([[0, 0, 0], [0, 0, 0], [0, 1, 1]])
    numbers = renumbered(before, after, 2)
    assert numbers.tolist() == [[1, 0], [1, 0], [1, 0]]
