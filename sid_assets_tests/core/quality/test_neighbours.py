"""neighbours@10: known answers, and tokenizers that must look poor."""

import numpy as np
import pytest

from sid_assets.core.quality.nearest import nearest_items
from sid_assets.core.quality.neighbours import Neighbours, measure_neighbours
from sid_assets_tests.core.quality.clustered_vectors import ITEMS, clustered_vectors, tokenizer


def measured(codes: np.ndarray) -> Neighbours:
    queries = np.arange(0, ITEMS, 3)
    return measure_neighbours(codes, queries, nearest_items(clustered_vectors(), queries))


def test_a_sid_for_each_cluster_finds_the_others_of_the_cluster():
    clusters = np.arange(ITEMS) % 60
    found = measured(np.stack([clusters, clusters, clusters], axis=1))
    # Nine of the ten nearest are in the cluster; one is tied with all other 590 items.
    assert found.found == pytest.approx((9 + 1 / 590, 9 + 21 / 590, 9 + 91 / 590))


def test_known_answer_by_hand():
    codes = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])
    found = measure_neighbours(codes, np.array([0]), np.array([[3, 1, 2]]))
    assert found == Neighbours(1, 4, 3, (3, 3, 3), (3, 3, 3))


def test_random_centroids_and_a_collapse_are_poor():
    trained = measured(tokenizer("trained")[1])
    random = measured(tokenizer("random")[1])
    collapsed = measured(tokenizer("one code")[1])
    assert collapsed.found == pytest.approx(collapsed.at_random)
    assert collapsed.at_random == pytest.approx((100 / 599, 300 / 599, 1000 / 599))
    assert trained.found[0] > 5
    for place in range(3):
        assert trained.found[place] > random.found[place] + 1
        assert random.found[place] > collapsed.found[place]


def test_codes_drawn_at_random_are_as_poor_as_a_collapse():
    codes = np.random.default_rng(0).integers(0, 16, (ITEMS, 3))
    assert measured(codes).found == pytest.approx(measured(codes * 0).found, abs=0.2)


def test_numbers_and_section_state_the_sizes():
    found = measured(tokenizer("trained")[1])
    figures = found.figures()
    assert figures["neighbours_queries"] == 200
    assert figures["neighbours_items"] == ITEMS
    assert figures["neighbours_in_first_30"] == found.found[1]
    assert figures["neighbours_by_chance_in_first_30"] == found.at_random[1]
    section = found.section()
    assert "200 items has 10 nearest items by vector among 600" in section.paragraphs[0]
    assert all(len(row) == len(section.header) for row in section.rows)
