"""Vectors by row number, from parts and row groups."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.registry.vectors import vectors_at
from sid_assets.core.store.store import Store
from sid_assets_tests.core.drawn_vectors import FakeEmbedder, embed, item_texts


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("vectors"))
    return embed(store, item_texts(range(1, 31)), FakeEmbedder()).version


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 29)))
def test_the_rows_that_are_wanted_come_in_order(version, wanted):
    rows = np.array(sorted(wanted), np.int64)
    found = [np.empty((0, 4096), np.float32), *vectors_at(version, rows)]
    every = vectors_of(version.stream(["embedding"]).read_all()["embedding"])
    np.testing.assert_array_equal(np.concatenate(found), every[rows])
