"""Resolving collisions, against a plain program that gives one SID after the other."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.quantise.residual_kmeans import Encoder, decode
from sid_assets.core.registry import resolve as resolve_module
from sid_assets.core.registry.resolve import Resolved, extra_errors, resolve
from sid_assets.core.sids.spelling import pack, unpack

DIM, SIZE = 6, 5


class Vectors:
    """The vectors of rows, in blocks of a size; counts how often they are read."""

    def __init__(self, vectors: np.ndarray, block: int = 3) -> None:
        self.vectors, self.block, self.readings = vectors, block, 0

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        assert (np.diff(rows) > 0).all()
        self.readings += 1
        for start in range(0, len(rows), self.block):
            yield self.vectors[rows[start : start + self.block]]


def one_by_one(codes, popularity, occupied, most, centroids, vectors) -> list[tuple[int, ...]]:
    """The SIDs by the rules, with a loop and a counter; a collision where there is no room."""
    taken = Counter(map(tuple, unpack(np.asarray(occupied, np.int64)).tolist()))
    order = sorted(range(len(codes)), key=lambda row: (-popularity[row], row))
    sids: dict[int, tuple[int, ...]] = {}
    for row in order:
        sid = tuple(codes[row].tolist())
        if taken[sid] < most:
            sids[row] = sid
            taken[sid] += 1
    for row in order:
        if row in sids:
            continue
        first, second, third = codes[row].tolist()
        residual = vectors[row] - centroids[0][first] - centroids[1][second]
        apart = ((residual.astype(np.float64) - centroids[2]) ** 2).sum(axis=1)
        for code in sorted(range(len(centroids[2])), key=lambda code: (apart[code], code)):
            if taken[first, second, code] < most:
                sids[row] = (first, second, code)
                taken[sids[row]] += 1
                break
        else:
            sids[row] = (first, second, third)
    return [sids[row] for row in range(len(codes))]


@st.composite
def catalogs(draw):
    """Items with few distinct codes, so that SIDs are taken and prefixes are full."""
    count = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    centroids = rng.standard_normal((3, SIZE, DIM)).astype(np.float32)
    vectors = rng.standard_normal((count, DIM)).astype(np.float32)
    highest = draw(st.integers(1, SIZE))
    codes = rng.integers(0, highest, (count, 3)).astype(np.uint16)
    codes[:, :2] %= draw(st.integers(1, 2))
    occupied = pack(rng.integers(0, highest, (draw(st.integers(0, 30)), 3)))
    popularity = rng.integers(0, draw(st.integers(1, 4)), count)
    return codes, popularity, occupied, draw(st.integers(1, 3)), centroids, vectors


def of(catalog) -> Resolved:
    codes, popularity, occupied, most, centroids, vectors = catalog
    return resolve(codes, popularity, occupied, most, centroids, Vectors(vectors))


@settings(deadline=None)
@given(catalogs())
def test_sids_are_given_as_the_rules_say(catalog):
    assert list(map(tuple, of(catalog).sids.tolist())) == one_by_one(*catalog)


@settings(deadline=None)
@given(catalogs())
def test_nobody_is_turned_away_while_a_prefix_has_room(catalog):
    codes, _, occupied, most, *_ = catalog
    resolved = of(catalog)
    has = Counter(np.concatenate([occupied, pack(resolved.sids[~resolved.without_room])]).tolist())
    before = Counter(occupied.tolist())
    assert all(count <= max(most, before[sid]) for sid, count in has.items())
    for row in np.flatnonzero(resolved.without_room):
        first, second = codes[row, :2].tolist()
        behind = pack(np.array([[first, second, code] for code in range(SIZE)]))
        assert all(has[sid] >= most for sid in behind.tolist())
        assert resolved.sids[row].tolist() == codes[row].tolist()
        assert not resolved.moved[row]


@settings(deadline=None)
@given(catalogs())
def test_the_extra_error_is_the_difference_of_relative_errors(catalog):
    codes, _, _, _, centroids, vectors = catalog
    resolved = of(catalog)
    moved = (resolved.sids != codes).any(axis=1)
    assert (moved == resolved.moved).all()
    wide = centroids.astype(np.float64)

    def error(sids: np.ndarray) -> np.ndarray:
        left = vectors.astype(np.float64) - sum(wide[layer][sids[:, layer]] for layer in range(3))
        return np.linalg.norm(left, axis=1) / np.linalg.norm(vectors.astype(np.float64), axis=1)

    expected = np.where(moved, error(resolved.sids) - error(codes), 0)
    np.testing.assert_allclose(resolved.extra_error, expected, atol=1e-5)


def test_blocks_of_vectors_make_no_difference():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, 16)).astype(np.float32)
    centroids = rng.standard_normal((3, 64, 16)).astype(np.float32)
    codes = Encoder(centroids, "cpu").encode(vectors).codes.astype(np.uint16)
    codes[:, :2] = 0
    popularity, none = rng.integers(0, 3, 400), np.zeros(0, np.int64)
    made = [
        resolve(codes, popularity, none, 8, centroids, Vectors(vectors, block))
        for block in (1, 7, 1000)
    ]
    for other in made[1:]:
        assert (other.sids == made[0].sids).all()
        assert (other.extra_error == made[0].extra_error).all()


def test_vectors_are_read_again_only_for_items_that_find_no_room_nearby():
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.standard_normal((1, 8)).astype(np.float32), 100, axis=0)
    centroids = rng.standard_normal((3, 600, 8)).astype(np.float32)
    codes = np.zeros((100, 3), np.uint16)
    read = Vectors(vectors)
    resolved = resolve(codes, np.zeros(100), np.zeros(0, np.int64), 1, centroids, read)
    assert len(np.unique(pack(resolved.sids))) == 100
    assert read.readings == 2
    assert list(map(tuple, resolved.sids.tolist())) == one_by_one(
        codes, np.zeros(100), [], 1, centroids, vectors
    )


def test_prefixes_are_ranked_in_batches(monkeypatch):
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((60, 8)).astype(np.float32)
    centroids = rng.standard_normal((3, 40, 8)).astype(np.float32)
    codes = np.stack([np.arange(60) % 6, np.zeros(60), np.zeros(60)], axis=1).astype(np.uint16)
    arguments = (codes, np.arange(60), np.zeros(0, np.int64), 1, centroids)
    whole = resolve(*arguments, Vectors(vectors))
    monkeypatch.setattr(resolve_module, "MOST_RANKED", 15 * 32)
    read = Vectors(vectors)
    assert (resolve(*arguments, read).sids == whole.sids).all()
    assert read.readings == 6


def test_the_most_popular_item_keeps_the_sid_of_its_codes():
    vectors = np.eye(3, 4, dtype=np.float32)
    centroids = np.zeros((3, 4, 4), np.float32)
    codes = np.ones((3, 3), np.uint16)
    resolved = resolve(
        codes, np.array([1, 5, 5]), np.zeros(0, np.int64), 1, centroids, Vectors(vectors)
    )
    # The centroids are equally far from everything, so that the lowest free code is the nearest.
    assert resolved.sids[:, 2].tolist() == [2, 1, 0]


@pytest.mark.skipif("SID_TEST_DATA" not in os.environ, reason="SID_TEST_DATA is not set")
def test_every_item_of_a_real_catalog_gets_a_sid_of_its_own():
    import pyarrow.parquet as pq

    from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
    from sid_assets.core.quantise.train import TrainingSettings, train

    catalog = pq.read_table(Path(os.environ["SID_TEST_DATA"], "amazon_office/catalog.parquet"))
    texts = [str(row) for row in catalog.drop_columns(["pid"]).to_pylist()]
    vectors = HashedWordsEmbedder().embed(texts).vectors
    centroids = train([vectors], TrainingSettings("kmeans", codebook_size=256)).centroids
    codes = Encoder(centroids).encode(vectors).codes.astype(np.uint16)
    assert len(np.unique(pack(codes))) < len(texts)
    none = np.zeros(0, np.int64)
    resolved = resolve(codes, np.zeros(len(texts)), none, 1, centroids, Vectors(vectors, 512))
    assert len(np.unique(pack(resolved.sids))) == len(texts) == 3459
    assert not resolved.without_room.any()
    assert decode(resolved.sids, centroids).shape == vectors.shape


def test_extra_errors_are_those_of_the_items_that_moved():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((60, 8)).astype(np.float32)
    centroids = rng.standard_normal((3, 40, 8)).astype(np.float32)
    codes = np.stack([np.arange(60) % 6, np.zeros(60), np.zeros(60)], axis=1).astype(np.uint16)
    made = resolve(codes, np.arange(60), np.zeros(0, np.int64), 1, centroids, Vectors(vectors))
    moved = np.flatnonzero(made.moved)
    found = extra_errors(codes[moved], made.sids[moved], centroids, Vectors(vectors)(moved))
    np.testing.assert_allclose(found, made.extra_error[moved], atol=1e-6)
