"""Baselines, against plain programs."""

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.arrow.vectors import vector_array
from sid_assets.core.probe import baselines
from sid_assets.core.probe.baselines import by_popularity, nearest_vectors, successors
from sid_assets.core.probe.run import Data
from sid_assets_tests.core.probe.random_rows import random_rows, rows_of


@given(st.integers(0, 1_000))
def test_successors_are_those_of_a_plain_program(seed):
    items = 40
    trained, scored = random_rows(60, items, seed, users=15), random_rows(20, items, seed + 1)
    users = Data.of(trained, scored, items).users
    found = successors(trained, scored, users)
    met = set()
    for row in range(len(trained)):
        sequence = [*trained.histories[row].tolist(), *trained.targets[row].tolist()]
        met |= {(int(trained.users[row]), *pair) for pair in itertools.pairwise(sequence)}
    counted = Counter((first, second) for _, first, second in met)
    popular = sorted(range(items), key=lambda item: (-users[item], item))[:20]
    for row in range(len(scored)):
        last = scored.histories[row][-1]
        own = [second for first, second in counted if first == last]
        own.sort(key=lambda item: (-counted[last, item], -users[item], item))
        own = own[:20]
        wanted = [*own, *(item for item in popular if item not in own)]
        assert found[row].tolist() == wanted[:20]


def test_users_of_items_count_once():
    trained = rows_of([(1, [0, 0, 1], [0]), (1, [1], [2]), (2, [0], [1])])
    assert Data.of(trained, trained, 4).users.tolist() == [2, 2, 1, 0]


def test_popular_items_come_first_and_the_smaller_position_wins_a_tie():
    assert by_popularity(np.array([1, 5, 0, 5])).tolist() == [1, 3, 0, 2]


def vectors(items: int) -> tuple[np.ndarray, list[pa.RecordBatch], pa.Array]:
    made = np.random.default_rng(0).normal(size=(items, 8)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    pids = pa.array(range(100, 100 + items))
    batches = pa.table({"pid": pids, "embedding": vector_array(made)}).to_batches(7)
    return made, batches, pids


def test_nearest_vectors_are_those_of_all_distances():
    made, batches, pids = vectors(60)
    histories = random_rows(30, 60, seed=0).histories
    found = nearest_vectors(lambda: iter(batches), pids, histories)
    for row in range(30):
        last = histories[row][-1]
        distances = np.linalg.norm(made - made[last], axis=1)
        distances[last] = np.inf
        assert found[row].tolist() == np.argsort(distances, kind="stable")[:20].tolist()


def test_items_without_a_vector_have_no_neighbours_and_are_none():
    _, batches, pids = vectors(60)
    some = [
        batch.filter(pa.array([pid.as_py() % 2 == 0 for pid in batch["pid"]])) for batch in batches
    ]
    histories = rows_of([(1, [3], [0]), (2, [4], [0])]).histories  # pids 103 and 104
    found = nearest_vectors(lambda: iter(some), pids, histories)
    assert (found[0] == -1).all()
    assert (found[1] % 2 == 0).all()


def test_of_a_large_catalog_some_last_items_are_looked_at(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(baselines, "MOST_PRODUCTS", 5 * 60)
    _, batches, pids = vectors(60)
    histories = rows_of([(user, [user], [0]) for user in range(30)]).histories
    found = nearest_vectors(lambda: iter(batches), pids, histories)
    assert (found[:, 0] >= 0).sum() == 5
