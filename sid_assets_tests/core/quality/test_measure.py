"""The metrics against brute force, known answers and their stated ranges."""

import math
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core import schema
from sid_assets.core.errors import InputError
from sid_assets.core.quality.figures import Collisions, SidGroup, WorstItem
from sid_assets.core.quality.measure import LARGEST_GROUPS, WORST_ITEMS, measure_sids
from sid_assets_tests.core.quality.small_tables import (
    batches,
    brute_entropy,
    brute_gini,
    codes_table,
    texts_table,
)

K = 8

code = st.integers(0, K - 1)
sid_lists = st.lists(st.tuples(code, code, code), min_size=1, max_size=60)
"""Few codes, so that groups form."""


@given(sid_lists, st.integers(1, 20))
def test_uniqueness_at_each_prefix_length(sids, rows):
    quality = measure_sids(batches(codes_table(sids), rows), K)
    assert quality.items == len(sids)
    for length, found in enumerate(quality.prefixes, start=1):
        sizes = list(Counter(sid[:length] for sid in sids).values())
        most = min(math.log(len(sids)), length * math.log(K))
        assert found.length == length
        assert found.distinct == len(sizes)
        assert found.distinct_share == len(sizes) / len(sids)
        assert found.colliding_items == sum(size for size in sizes if size > 1)
        assert found.colliding_share == found.colliding_items / len(sids)
        assert found.largest_group == max(sizes)
        assert found.gini == pytest.approx(brute_gini(sizes), abs=1e-12)
        assert found.entropy == pytest.approx(brute_entropy(sizes), abs=1e-12)
        assert found.entropy_share == pytest.approx(found.entropy / most if most else 1)
        assert 0 <= found.entropy_share <= 1


def test_even_use_has_the_largest_possible_entropy():
    pairs = [(first, second, 0) for first in range(5) for second in range(5)] * 2
    quality = measure_sids(batches(codes_table(pairs)), codebook_size=5)
    assert quality.prefixes[1].entropy_share == 1


@given(sid_lists)
def test_code_usage_of_each_layer(sids):
    quality = measure_sids(batches(codes_table(sids)), K)
    for layer, found in enumerate(quality.layers):
        counts = Counter(sid[layer] for sid in sids)
        assert found.layer == layer + 1
        assert (found.used, found.dead) == (len(counts), K - len(counts))
        assert found.utilisation == len(counts) / K
        assert found.entropy == pytest.approx(brute_entropy(counts.values()), abs=1e-12)
        assert found.perplexity == pytest.approx(math.exp(found.entropy))
        assert quality.distributions.code_counts[layer].tolist() == [counts[c] for c in range(K)]


@given(sid_lists, st.data())
def test_collisions_are_counted_by_text(sids, data):
    texts = data.draw(st.lists(st.sampled_from("abc"), min_size=len(sids), max_size=len(sids)))
    quality = measure_sids(
        batches(codes_table(sids), 4), K, item_texts=batches(texts_table(texts), 7)
    )
    pairs = set(zip(sids, texts, strict=True))
    assert quality.collisions == Collisions(
        same_text=len(sids) - len(pairs), other_text=len(pairs) - len(set(sids))
    )
    for group in quality.largest_groups:
        assert group.texts == sum(pair[0] == group.codes for pair in pairs)


@given(sid_lists)
def test_largest_groups_come_first(sids):
    quality = measure_sids(batches(codes_table(sids)), K)
    shared = {sid: size for sid, size in Counter(sids).items() if size > 1}
    expected = sorted(shared.items(), key=lambda group: (-group[1], group[0]))
    assert list(quality.largest_groups) == [
        SidGroup(sid, size, None) for sid, size in expected[:LARGEST_GROUPS]
    ]
    assert quality.collisions is None


@given(sid_lists)
def test_the_tree_holds_branches_below_their_parents(sids):
    quality = measure_sids(batches(codes_table(sids)), K)
    seen = set()
    for branch in quality.branches:
        below = [sid for sid in sids if sid[: len(branch.prefix)] == branch.prefix]
        assert (branch.items, branch.distinct) == (len(below), len(set(below)))
        assert len(branch.prefix) == 1 or branch.prefix[:-1] in seen
        seen.add(branch.prefix)
    assert {prefix for prefix in seen if len(prefix) == 1} == {sid[:1] for sid in sids}


norms_of_items = st.lists(
    st.tuples(*[st.floats(0, 4, width=16)] * 4), min_size=1, max_size=80
).filter(lambda norms: any(item[0] > 0 for item in norms))


@given(norms_of_items)
@settings(max_examples=50)
def test_reconstruction_error_is_relative_and_exact(norms):
    sids = [(0, 1, 2)] * len(norms)
    quality = measure_sids(batches(codes_table(sids, norms)), K)
    norms = np.asarray(norms, np.float32)
    norms = norms[norms[:, 0] > 0]
    assert quality.zero_vectors == len(sids) - len(norms)
    for layer, found in enumerate(quality.layers):
        errors = np.sort(norms[:, layer + 1] / norms[:, 0])
        assert found.error is not None
        assert found.error.mean == pytest.approx(errors.mean(dtype=np.float64))
        for share, value in ((50, found.error.p50), (99, found.error.p99)):
            below = [error for error in errors if error <= value]
            assert value in errors
            assert len(below) * 100 >= share * len(errors)
            assert sum(error < value for error in errors) * 100 < share * len(errors)
        quantiles = quality.distributions.error_quantiles[layer]
        assert (quantiles[0], quantiles[-1]) == (errors[0], errors[-1])


def test_percentiles_of_a_hundred_items_are_their_ranks():
    norms = [(100, n, n, n) for n in range(1, 101)]
    error = measure_sids(batches(codes_table([(0, 0, 0)] * 100, norms)), K).layers[0].error
    assert error is not None
    assert (error.p50, error.p99) == (np.float32(0.5), np.float32(0.99))


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_worst_items_do_not_depend_on_batches(rows):
    errors = np.round(np.random.default_rng(5).random(300), 2)  # many equal errors
    norms = np.stack([np.ones(300), np.ones(300), np.ones(300), errors], axis=1)
    norms[17] = (0, 1, 1, 1)  # a zero vector has no relative error, so it cannot be the worst
    sids = [(item % K, 0, 1) for item in range(300)]
    quality = measure_sids(batches(codes_table(sids, norms), rows), K)
    order = sorted((item for item in range(300) if item != 17), key=lambda item: -errors[item])
    assert list(quality.worst_items) == [
        WorstItem(item, sids[item], float(np.float32(errors[item]))) for item in order[:WORST_ITEMS]
    ]


def test_a_catalog_of_zero_vectors_has_no_reconstruction_error():
    quality = measure_sids(batches(codes_table([(0, 0, 0)] * 2, [(0, 0, 0, 0)] * 2)), K)
    assert quality.zero_vectors == 2
    assert [layer.error for layer in quality.layers] == [None] * 3
    assert quality.worst_items == ()
    assert np.isnan(quality.distributions.error_quantiles).all()


def test_one_item():
    quality = measure_sids(batches(codes_table([(1, 2, 3)])), K)
    assert quality.sids.entropy == 0
    assert quality.sids.entropy_share == 1
    assert quality.sids.gini == 0
    assert quality.largest_groups == ()


def test_text_pids():
    quality = measure_sids(
        batches(codes_table([(1, 2, 3), (1, 2, 3)], pids=["B0", "ü"])),
        K,
        item_texts=batches(texts_table(["x", "x"], pids=["B0", "ü"])),
    )
    assert quality.collisions == Collisions(same_text=1, other_text=0)
    assert quality.worst_items[0].pid == "B0"


@pytest.mark.parametrize("bad", [(0, 0, K), (0, -1, 0), (0, 0)])
def test_codes_the_codebooks_do_not_have_are_refused(bad):
    with pytest.raises(InputError, match=rf"0 to {K - 1} \(1 row\). First ids: 1"):
        measure_sids(batches(codes_table([(0, 0, 0), bad])), K)


def test_items_without_a_text_are_refused():
    with pytest.raises(InputError, match=r"1 row\). First ids: 1"):
        measure_sids(
            batches(codes_table([(0, 0, 0)] * 2)), K, item_texts=batches(texts_table(["a"]))
        )


def test_an_empty_catalog_is_refused():
    with pytest.raises(InputError, match="no items"):
        measure_sids([], K)


def test_the_published_index_of_a_real_catalog(office):
    known = pq.read_table(office / "known_sids.parquet").sort_by("pid")
    table = codes_table(known["sid"].to_pylist(), pids=known["pid"].to_pylist())
    quality = measure_sids(batches(table, 1000), codebook_size=256)
    assert quality.items == 3459
    assert quality.sids.distinct == 3444
    assert [layer.used for layer in quality.layers] == [88, 256, 256]
    assert sum(group.items for group in quality.largest_groups) == quality.sids.colliding_items


def test_codes_of_the_full_codebook_fit():
    top = schema.MAX_CODEBOOK_SIZE - 1
    quality = measure_sids(batches(codes_table([(top, top, top)] * 2)), schema.MAX_CODEBOOK_SIZE)
    assert quality.largest_groups == (SidGroup((top, top, top), 2, None),)
