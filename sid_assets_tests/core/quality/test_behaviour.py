"""behaviour@10: known answers, and tokenizers that must look poor."""

import numpy as np
import pytest

from sid_assets.core.quality.behaviour import Behaviour, measure_behaviour
from sid_assets.core.quality.nearest import nearest_items
from sid_assets.core.quality.next_items import NextItems
from sid_assets_tests.core.quality.clustered_vectors import ITEMS, clustered_vectors, tokenizer


def within_clusters() -> NextItems:
    """Every item is followed by the next one of its cluster."""
    items = np.arange(ITEMS)
    return NextItems(items, (items + 60) % ITEMS, np.ones(ITEMS, np.int64))


def measured(codes: np.ndarray, pairs: NextItems | None = None) -> Behaviour:
    queries = np.arange(0, ITEMS, 2)
    nearest = nearest_items(clustered_vectors(), queries)
    found = measure_behaviour(codes, pairs or within_clusters(), queries, nearest)
    assert found
    return found


def test_clusters_as_sids_find_all_next_items_of_the_cluster():
    clusters = np.arange(ITEMS) % 60
    found = measured(np.stack([clusters] * 3, axis=1))
    assert found.by_sid == (1, 1, 1)
    assert found.by_vector == (1, 1, 1)
    assert (found.queries, found.items, found.pairs) == (300, ITEMS, 300)


def test_pairs_are_weighted_by_users_and_only_queries_count():
    codes = np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0], *[[2, 0, 0]] * 37])
    pairs = NextItems(np.array([0, 0, 5]), np.array([1, 2, 6]), np.array([3, 1, 9]))
    nearest = np.array([[2, 4, 5]])
    found = measure_behaviour(codes, pairs, np.array([0]), nearest)
    assert found
    # Item 1 comes first; item 2 is tied with 37 others for the other 9 of 10 places.
    assert found.by_sid == pytest.approx(((3 + 9 / 38) / 4, (3 + 29 / 38) / 4, 1))
    assert found.by_vector == (0.25, 0.25, 0.25)
    assert found.pairs == 4


def test_random_centroids_and_a_collapse_are_poor():
    trained = measured(tokenizer("trained")[1])
    random = measured(tokenizer("random")[1])
    collapsed = measured(tokenizer("one code")[1])
    assert collapsed.by_sid == pytest.approx(collapsed.at_random)
    assert trained.by_sid[0] > 0.5
    assert collapsed.by_sid[0] < random.by_sid[0] < trained.by_sid[0] - 0.1
    assert trained.by_vector == random.by_vector == collapsed.by_vector


def test_without_pairs_there_is_no_figure():
    none = np.empty(0, np.int64)
    pairs = NextItems(none, none, none)
    assert measure_behaviour(np.zeros((3, 3), int), pairs, none, np.empty((0, 2), int)) is None


def test_numbers_and_section_state_the_sizes():
    found = measured(tokenizer("trained")[1])
    figures = found.figures()
    assert figures["behaviour_by_vector_in_first_10"] == found.by_vector[0]
    assert figures["behaviour_in_first_100"] == found.by_sid[2]
    assert figures["behaviour_by_chance_in_first_30"] == found.at_random[1]
    assert figures["behaviour_pairs"] == figures["behaviour_queries"] == 300
    section = found.section()
    assert "300 times" in section.paragraphs[0]
    assert all(len(row) == len(section.header) for row in section.rows)
