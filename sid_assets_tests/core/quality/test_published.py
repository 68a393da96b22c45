"""Published SIDs in place of codes, batch by batch."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sid_assets.core import schema
from sid_assets.core.quality.published import QUANTISED, PublishedSids
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets_tests.core.quality.small_tables import codes_table
from sid_assets_tests.core.registry.on_disk import commit, provenance

CODES = [(1, 2, 3), (1, 2, 3), (4, 5, 6), (1, 2, 3)]


@pytest.fixture
def codes(tmp_path) -> Version:
    return commit(Store(tmp_path), provenance("codes"), codes_table(CODES))


def pid2sid_of(store: Store, sids: dict[int, tuple[int, ...]]) -> Version:
    rows = pa.table(
        [list(sids), [list(sid) for sid in sids.values()]], schema=schema.pid2sid("int")
    )
    return commit(store, provenance("pid2sid"), rows)


def moves_of(store: Store, errors: dict[int, float]) -> Version:
    sid = [[0, 0, 0]] * len(errors)
    rows = pa.table([list(errors), sid, sid, list(errors.values())], schema=schema.sid_moves("int"))
    return commit(store, provenance("sid_moves"), rows)


def column(sids: PublishedSids, name: str, rows: int = 3, quantised: bool = False) -> list:
    return pa.Table.from_batches(sids.stream(batch_rows=rows, quantised=quantised))[
        name
    ].to_pylist()


def test_sids_that_are_the_codes_leave_the_table_as_it_is(codes, tmp_path):
    same = pid2sid_of(Store(tmp_path), dict(enumerate(CODES)))
    for sids in (PublishedSids.of(codes, same, None), PublishedSids.of(codes, None, None)):
        assert sids == PublishedSids(codes)
        assert pa.Table.from_batches(sids.stream()).equals(codes.stream().read_all())


def test_a_moved_item_has_its_sid_and_the_error_of_its_sid(codes, tmp_path):
    store = Store(tmp_path)
    published = {**dict(enumerate(CODES)), 1: (1, 2, 7), 3: (1, 2, 8)}
    moves = moves_of(store, {1: 0.25, 3: 0.5})
    sids = PublishedSids.of(codes, pid2sid_of(store, published), moves)
    assert sids.differing == 2
    assert [tuple(sid) for sid in column(sids, "codes")] == list(published.values())
    norms = np.array(column(sids, "residual_norms"))
    assert norms[:, -1].tolist() == [0.125, 0.375, 0.125, 0.625]
    assert norms[:, :-1].tolist() == [[1, 0.5, 0.25]] * 4
    raw = column(sids, QUANTISED, quantised=True)
    assert [tuple(sid) for sid in raw] == CODES


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(st.sampled_from(range(4)), st.tuples(*[st.integers(0, 9)] * 3), min_size=1),
    st.integers(1, 5),
)
def test_an_item_has_its_sid_or_else_its_codes(codes, tmp_path, published, rows):
    ordered = dict(sorted(published.items()))
    sids = PublishedSids.of(codes, pid2sid_of(Store(tmp_path), ordered), None)
    wanted = [published.get(pid, CODES[pid]) for pid in range(4)]
    assert [tuple(sid) for sid in column(sids, "codes", rows)] == wanted
    assert sids.differing == sum(sid != code for sid, code in zip(wanted, CODES, strict=True))
