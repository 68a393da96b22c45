"""The weighted metrics against brute force in plain Python."""

import math
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.errors import InputError
from sid_assets.core.quality.interactions import measure_interactions
from sid_assets_tests.core.quality.small_tables import (
    brute_entropy,
    brute_gini,
    codes_table,
    interactions_in,
    reader,
)

K = 4


@pytest.fixture
def rows(tmp_path):
    """Writes interactions with lists of pids, given by column name."""
    return lambda **lists: interactions_in(tmp_path, pa.table(lists))


NORMS = [(0, 0, 0, 0), (1, 0.5, 0.25, 0.125), (2, 1.5, 1, 0.5), (4, 4, 3, 3)]
"""Norms whose ratios are exact in floating point."""

code = st.integers(0, K - 1)
pid_list = st.lists(st.integers(0, 14), max_size=6)


@given(
    sids=st.lists(st.tuples(code, code, st.just(0)), min_size=1, max_size=12),
    histories=st.lists(pid_list, min_size=1, max_size=8),
    data=st.data(),
)
@settings(max_examples=30, deadline=None)
def test_figures_match_brute_force(sids, histories, data):
    targets = data.draw(st.lists(pid_list, min_size=len(histories), max_size=len(histories)))
    lists = pa.table(
        {"hist_video_pid": histories, "target_ad_pid": targets},
        schema=pa.schema(dict.fromkeys(("hist_video_pid", "target_ad_pid"), pa.list_(pa.int64()))),
    )
    norms = [data.draw(st.sampled_from(NORMS)) for _ in sids]
    with tempfile.TemporaryDirectory() as folder:
        stored = interactions_in(Path(folder), lists)
        found = measure_interactions(reader(codes_table(sids, norms)), K, stored)
    pids = [pid for row in histories + targets for pid in row]
    known = [pid for pid in pids if pid < len(sids)]
    assert found.interactions == len(known)
    assert found.unknown == len(pids) - len(known)
    assert found.items == len(set(known))
    assert found.histories == sum(bool(row) for row in histories)
    assert found.ambiguous_histories == sum(
        len({sids[pid] for pid in row if pid < len(sids)})
        < len({pid for pid in row if pid < len(sids)})
        for row in histories
    )
    assert len(found.prefixes) == (3 if known else 0)
    for prefix in found.prefixes:
        sizes = Counter(sid[: prefix.length] for sid in sids)
        uses = Counter(sids[pid][: prefix.length] for pid in known)
        colliding = sum(sizes[sids[pid][: prefix.length]] > 1 for pid in known)
        assert prefix.colliding_interactions == colliding
        assert prefix.colliding_share == colliding / len(known)
        assert prefix.largest_share == max(uses.values()) / len(known)
        assert prefix.gini == pytest.approx(brute_gini(list(uses.values())), abs=1e-9)
        assert prefix.entropy == pytest.approx(brute_entropy(uses.values()), abs=1e-9)
        of_items = brute_entropy(Counter(known).values())
        assert prefix.entropy_share == pytest.approx(prefix.entropy / of_items if of_items else 1)
    assert len(found.layers) == len(found.prefixes)
    for layer in found.layers:
        nats = brute_entropy(Counter(sids[pid][layer.layer - 1] for pid in known).values())
        assert layer.entropy == pytest.approx(nats, abs=1e-9)
        assert layer.perplexity == pytest.approx(math.exp(nats))
        errors = sorted(norms[pid][layer.layer] / norms[pid][0] for pid in known if norms[pid][0])
        if not errors:
            assert layer.error is None
            continue
        assert layer.error is not None
        assert layer.error.mean == pytest.approx(sum(errors) / len(errors))
        assert layer.error.p50 == errors[math.ceil(len(errors) / 2) - 1]
        assert layer.error.p99 == errors[math.ceil(99 * len(errors) / 100) - 1]


def test_two_items_of_one_sid_in_one_history(rows):
    codes = codes_table([(0, 0, 0), (0, 0, 0), (1, 1, 1)])
    histories = [
        [0, 1],  # ambiguous
        [0, 0, 2],  # not ambiguous: the same item twice
        [0, 2],
        [],
        None,
    ]
    found = measure_interactions(reader(codes), K, rows(hist_video_pid=histories))
    assert (found.histories, found.ambiguous_histories) == (3, 1)
    assert found.ambiguous_histories_share == pytest.approx(1 / 3)


def test_targets_alone(rows):
    found = measure_interactions(
        reader(codes_table([(0, 0, 0)])), K, rows(target_video_pid=[[0, 7]])
    )
    assert (found.interactions, found.unknown, found.histories) == (1, 1, 0)
    figures = found.figures()
    assert figures["interactions_sid_colliding_share"] == 0
    assert figures["interactions_layer_1_perplexity"] == 1
    assert figures["interactions_layer_3_error_mean"] == 0.125


def test_no_interactions_with_the_catalog(rows):
    found = measure_interactions(reader(codes_table([(0, 0, 0)])), K, rows(hist_video_pid=[[7]]))
    assert (found.interactions, found.unknown, found.prefixes) == (0, 1, ())
    assert found.figures()["interactions_unknown"] == 1


def test_text_pids(rows):
    codes = codes_table([(0, 0, 0), (0, 0, 0)], pids=["B01", "ü"])
    found = measure_interactions(reader(codes), K, rows(hist_video_pid=[["ü", "B01", "no"]]))
    assert (found.interactions, found.unknown, found.ambiguous_histories) == (2, 1, 1)


def test_ids_as_text_on_one_side_only_are_refused(rows):
    codes, other = codes_table([(0, 0, 0)]), rows(hist_video_pid=[["0"]])
    with pytest.raises(InputError, match="'hist_video_pid' stores text"):
        measure_interactions(reader(codes), K, other)
    assert measure_interactions(reader(codes), K, other, pid_type="int").interactions == 1


def test_other_columns_are_refused_by_name(rows):
    with pytest.raises(InputError, match="The columns are clicked"):
        measure_interactions(reader(codes_table([(0, 0, 0)])), K, rows(clicked=[[0]]))


def test_histories_of_each_column_count(rows):
    codes = codes_table([(0, 0, 0), (0, 0, 0), (1, 1, 1)])
    lists = rows(hist_video_pid=[[0, 2], [0, 1]], hist_ad_pid=[[1, 2], None])
    found = measure_interactions(reader(codes), K, lists)
    assert (found.interactions, found.histories, found.ambiguous_histories) == (6, 3, 1)
    goods = rows(hist_goods_pid=[[0, 1]], hist_video_pid=[[0, 2]])
    found = measure_interactions(reader(codes), K, goods, ("hist_goods_pid",))
    assert (found.interactions, found.histories, found.ambiguous_histories) == (2, 1, 1)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ([[None, None]], (0, 0, 0)),
        ([[None], [[0, 1]]], (2, 1, 1)),
        ([[[0, 1]], [[0.0, np.nan], [np.nan]]], (3, 3, 1)),
        ([[[0.5, 0.0]], [[]]], (1, 1, 0)),
    ],
    ids=["all null", "one file all null", "one file as floats", "not whole"],
)
def test_lists_are_read_however_pandas_wrote_them(tmp_path, files, wanted):
    codes = codes_table([(0, 0, 0), (0, 0, 0)])
    tables = [pa.table({"hist_video_pid": lists}) for lists in files]
    found = measure_interactions(reader(codes), K, interactions_in(tmp_path, *tables))
    assert (found.interactions, found.histories, found.ambiguous_histories) == wanted


def test_ids_that_are_not_in_lists_are_refused(rows):
    codes = codes_table([(0, 0, 0)])
    with pytest.raises(InputError, match=r"0\.parquet: column 'hist_video_pid' holds int64, not"):
        measure_interactions(reader(codes), K, rows(hist_video_pid=[1, 2]))


def test_ten_million_interactions_with_popular_colliding_items_fit_into_memory(tmp_path):
    """Most histories meet a few items that share SIDs; the database may hold 1 GB."""
    items, users, length = 1_000_000, 500_000, 20
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 256, (items, 3), np.int32)
    codes[: items // 20] = codes[draw.integers(items // 20, items, items // 20)]
    table = pa.table(
        {
            "pid": np.arange(items),
            "codes": pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), 3),
            "residual_norms": pa.FixedSizeListArray.from_arrays(
                pa.array(np.ones(4 * items, np.float32)), 4
            ),
        }
    )
    pids = draw.zipf(1.2, users * length) % items
    starts = pa.array(np.arange(users + 1, dtype=np.int32) * length)
    lists = pa.table({"hist_video_pid": pa.ListArray.from_arrays(starts, pa.array(pids))})
    found = measure_interactions(
        pa.RecordBatchReader.from_batches(table.schema, table.to_batches(65_536)),
        256,
        interactions_in(tmp_path, lists),
    )
    assert (found.interactions, found.histories) == (users * length, users)
    assert 0 < found.ambiguous_histories < users
