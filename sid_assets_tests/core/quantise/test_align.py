"""Centroids numbered so that items keep their published codes."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.quantise.align import align, matching
from sid_assets.core.quantise.residual_kmeans import Encoder


def made_centroids(rng, size=8, layers=3, dim=16):
    scales = np.array([1, 0.3, 0.1])[:layers, None, None]
    return (scales * rng.standard_normal((layers, size, dim))).astype(np.float32)


def made_vectors(rng, rows=400, dim=16):
    return rng.standard_normal((rows, dim)).astype(np.float32)


def codes_of(centroids, vectors):
    return Encoder(centroids, "cpu").encode(vectors).codes


def test_shuffled_centroids_get_their_numbers_back():
    rng = np.random.default_rng(0)
    centroids, vectors = made_centroids(rng), made_vectors(rng)
    published = codes_of(centroids, vectors)
    shuffled = np.stack([rng.permutation(codebook) for codebook in centroids])
    found = align(shuffled, codes_of(shuffled, vectors), published)
    np.testing.assert_array_equal(codes_of(found.centroids, vectors), published)
    used = [np.unique(published[:, layer]) for layer in range(3)]
    for layer, codes in enumerate(used):
        np.testing.assert_array_equal(found.centroids[layer][codes], centroids[layer][codes])
    assert found.after == (400, 400, 400)
    assert found.before[0] < 400


def test_centroids_that_already_agree_stay_where_they_are():
    rng = np.random.default_rng(1)
    centroids, vectors = made_centroids(rng, size=64), made_vectors(rng, rows=40)
    codes = codes_of(centroids, vectors)
    found = align(centroids, codes, codes)
    np.testing.assert_array_equal(found.centroids, centroids)


def test_without_published_items_nothing_moves():
    centroids = made_centroids(np.random.default_rng(2))
    none = np.empty((0, 3), np.int64)
    found = align(centroids, none, none)
    np.testing.assert_array_equal(found.centroids, centroids)
    assert "no item" in found.sentence()


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3, *[st.integers(0, 5)] * 3), max_size=40))
def test_each_layer_keeps_the_most_items_of_all_permutations(rows):
    values = np.array(rows, np.int64).reshape(-1, 6)
    codes, published = values[:, :3], values[:, 3:]
    centroids = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
    found = align(centroids, codes, published)
    agree = np.ones(len(codes), bool)
    for layer in range(3):
        options = np.array(list(permutations(range(4))))
        best = max(
            int((agree & (o[codes[:, layer]] == published[:, layer])).sum()) for o in options
        )
        assert found.after[layer] == best
        numbers = np.argsort(found.centroids[layer, :, 0])
        agree &= numbers[codes[:, layer]] == published[:, layer]
        assert sorted(found.centroids[layer, :, 0]) == sorted(centroids[layer, :, 0])
        assert agree.sum() == best


def test_of_the_best_matchings_the_one_with_the_most_unchanged_numbers_is_taken():
    new, old = np.array([0, 0, 1, 3]), np.array([2, 2, 1, 9])
    np.testing.assert_array_equal(matching(new, old, 6), [2, 1, 0, 3, 4, 5])


@pytest.mark.parametrize("size", [1, 2, 256])
def test_a_preference_for_unchanged_numbers_never_outweighs_an_item(size):
    numbers = np.roll(np.arange(size), 1)
    every = np.arange(size)
    np.testing.assert_array_equal(matching(every, numbers, size), numbers)


def test_of_equal_centroids_the_lowest_number_decides_the_code():
    codebook = np.array([[1.0, 0], [1, 0], [-1, -0.0], [-1, 0]], np.float32)
    centroids = np.stack([codebook, codebook[::-1] / 2])
    vectors = np.array([[1, 0], [1, 0], [-1, 0], [2, 0]], np.float32)
    codes = codes_of(centroids, vectors)
    published = np.array([[1, 0], [1, 0], [3, 1], [1, 2]])
    found = align(centroids, codes, published)
    after = codes_of(found.centroids, vectors)
    kept = np.logical_and.accumulate(after == published, axis=1).sum(axis=0)
    assert found.after == tuple(kept)


def test_the_log_and_the_metadata_say_what_was_gained():
    codes = np.array([[0, 0, 0], [1, 1, 1], [2, 0, 1], [2, 1, 0]], np.uint16)
    published = np.array([[1, 0, 0], [0, 1, 1], [2, 1, 0], [2, 0, 0]], np.uint16)
    found = align(made_centroids(np.random.default_rng(3), size=3), codes, published)
    assert found.figures() == {
        "items": 4,
        "matched": [1, 0.5, 0.5],
        "alone": [0.5, 0, 0],
        "chance": [6 / 16, 4 / 16, 3 / 16],
    }
    assert found.sentence() == (
        "Centroids are numbered by the published SIDs: of 4 items of the sample, 100 / 50 / 50 % "
        "keep 1 / 2 / 3 codes (50 / 0 / 0 % as they were trained, 38 / 25 / 19 % by chance)."
    )
