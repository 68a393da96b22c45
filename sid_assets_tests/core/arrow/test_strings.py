"""Runs of texts are joined as Python joins them."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.arrow.strings import join_runs

RUNS = st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=4))


@given(runs=RUNS, skipped=st.integers(0, 3))
def test_runs_are_joined(runs, skipped):
    pieces = ["skipped"] * skipped + [piece for run in runs for piece in run]
    bounds = np.cumsum([0, *map(len, runs)])
    joined = join_runs(pa.array(pieces, pa.string()).slice(skipped), bounds)
    assert joined.to_pylist() == ["".join(run) if run else None for run in runs]
    joined.validate(full=True)


def test_empty_pieces_are_not_null():
    pieces = pa.array(["", "a", ""])
    assert join_runs(pieces, np.array([0, 1, 1, 3])).to_pylist() == ["", None, "a"]


def test_no_pieces():
    assert join_runs(pa.array([], pa.string()), np.array([0, 0])).to_pylist() == [None]
