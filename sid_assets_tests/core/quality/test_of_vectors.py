"""All measures of vectors on one sample."""

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.quality import sample as sampling
from sid_assets.core.quality.behaviour import Behaviour
from sid_assets.core.quality.margins import Margins
from sid_assets.core.quality.neighbours import Neighbours
from sid_assets.core.quality.next_items import NextItems
from sid_assets.core.quality.of_vectors import VectorMeasures
from sid_assets.core.quality.sample import Sample
from sid_assets_tests.core.quality.clustered_vectors import ITEMS, clustered_vectors, tokenizer


def whole_sample(ranks: np.ndarray) -> Sample:
    return Sample(pa.array(range(ITEMS)), ranks, pa.table({}), clustered_vectors())


def pairs_of(items: np.ndarray) -> NextItems:
    return NextItems(items, (items + 60) % ITEMS, np.ones(len(items), np.int64))


def test_neighbours_use_the_first_items_and_behaviour_those_with_a_next_item(monkeypatch):
    monkeypatch.setattr(sampling, "QUERIES", 50)
    last = np.arange(500, ITEMS)
    measures = VectorMeasures.of(whole_sample(np.arange(ITEMS)), pairs_of(last))
    assert measures.queries.tolist() == list(range(50))
    assert measures.following.tolist() == list(range(500, 550))
    centroids, codes = tokenizer("trained")
    neighbours, behaviour, margins = measures.subjects(codes, centroids)
    assert isinstance(neighbours, Neighbours)
    assert neighbours.queries == 50
    assert isinstance(behaviour, Behaviour)
    assert (behaviour.queries, behaviour.pairs, behaviour.items) == (50, 50, ITEMS)
    assert behaviour.by_vector == (1, 1, 1)  # the items of a cluster
    assert isinstance(margins, Margins)
    assert margins.queries == 50


@pytest.mark.parametrize("pairs", [None, pairs_of(np.empty(0, np.int64))])
def test_without_interactions_or_pairs_there_is_no_behaviour(pairs):
    centroids, codes = tokenizer("trained")
    subjects = VectorMeasures.of(whole_sample(np.arange(ITEMS)), pairs).subjects(codes, centroids)
    assert [type(subject) for subject in subjects] == [Neighbours, Margins]


def test_without_the_tokenizer_there_are_no_margins():
    codes = tokenizer("trained")[1]
    subjects = VectorMeasures.of(whole_sample(np.arange(ITEMS)), None).subjects(codes, None)
    assert [type(subject) for subject in subjects] == [Neighbours]
