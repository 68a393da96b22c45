"""The number of centroids: what is chosen for a catalog, and what is said of one that is set."""

import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.quantise.codebook_size import (
    advice,
    chosen_codebook_size,
    require_enough,
    rows_held_out,
)

METHODS = pytest.mark.parametrize("method", ["balanced", "kmeans"])


@METHODS
@pytest.mark.parametrize("items", [*range(1, 400), 1000, 17_472, 10**6, 10**8])
def test_a_chosen_size_is_a_power_of_two_that_can_be_trained(items, method):
    size = chosen_codebook_size(items, method)
    assert size.bit_count() == 1
    assert size <= 8192
    assert advice(items, size, method) == "" or items < 3  # such a catalog gets one centroid
    if items > 1:
        require_enough(items, size)


@METHODS
def test_more_items_never_get_fewer_centroids(method):
    sizes = [chosen_codebook_size(items, method) for items in range(0, 200_000, 7)]
    assert sizes == sorted(sizes)
    assert (sizes[0], chosen_codebook_size(10**9, method)) == (1, 8192)


def test_plain_kmeans_gets_more_centroids():
    assert [chosen_codebook_size(2000, method) for method in ("balanced", "kmeans")] == [128, 256]


@pytest.mark.parametrize(("rows", "held_out"), [(0, 0), (1, 1), (10, 1), (11, 2), (3459, 346)])
def test_a_tenth_is_held_out(rows, held_out):
    assert rows_held_out(rows) == held_out


@pytest.mark.parametrize(("rows", "said"), [(0, "0 vectors"), (1, "1 vector")])
def test_a_tokenizer_needs_two_vectors(rows, said):
    with pytest.raises(InputError, match=f"{said}: a tokenizer is trained on at least two") as told:
        require_enough(rows, 1)
    assert "SID_CODEBOOK_SIZE" not in str(told.value)
    assert "SID_TOKENIZER" in str(told.value)


def test_fewer_vectors_than_centroids_names_the_largest_size():
    with pytest.raises(
        InputError, match=r"30 vectors leave 27 to train on.*SID_CODEBOOK_SIZE to at most 27,"
    ):
        require_enough(30, 28)
    require_enough(30, 27)


@pytest.mark.parametrize(
    ("items", "size", "said"),
    [
        (1000, 334, "too large for 1,000 items"),
        (1000, 333, ""),
        (100, 16_384, "too large"),
        (100_000_000, 8192, ""),
        (100_000_000, 1024, "too small for 100,000,000 items"),
    ],
)
def test_a_size_that_does_not_suit_the_catalog_is_told_with_the_chosen_one(items, size, said):
    told = advice(items, size, "balanced")
    assert said in told
    assert bool(told) is bool(said)
    if told:
        assert f"it would be {chosen_codebook_size(items, 'balanced'):,}" in told
