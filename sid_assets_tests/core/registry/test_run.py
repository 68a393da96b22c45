"""Ten refreshes in a row, against a model that knows each item."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets_tests.core.registry.small_registry import (
    Model,
    codes_of_text,
    freed,
    live_sids,
    refreshed,
    rows_of,
)

PIDS = st.integers(1, 9)
TEXTS = st.sampled_from([f"text {number}" for number in range(5)])
CATALOGS = st.dictionaries(PIDS, TEXTS, max_size=9)


@settings(max_examples=20, deadline=None)
@given(
    catalogs=st.lists(CATALOGS, min_size=10, max_size=10),
    purged=st.lists(st.none() | PIDS, min_size=10, max_size=10),
    keep=st.booleans(),
    batch_rows=st.sampled_from([1, 4, 50]),
    strings=st.booleans(),
)
def test_ten_refreshes_are_those_of_the_model(catalogs, purged, keep, batch_rows, strings):
    model, registry = Model(keep), None
    for number, (texts, pid) in enumerate(zip(catalogs, purged, strict=True)):
        catalog = {
            f"{pid:02d}" if strings else pid: (text, codes_of_text(text))
            for pid, text in texts.items()
        }
        if not catalog:
            continue
        if pid is not None and registry is not None:
            name = f"{pid:02d}" if strings else pid
            model.free(name, number)
            registry = freed(registry, name, number)
        registry, counts = refreshed(registry, catalog, number, keep=keep, batch_rows=batch_rows)
        model.refresh(catalog, number)
        assert rows_of(registry) == {pid: rows for pid, rows in model.rows.items() if rows}
        assert sorted(live_sids(registry)) == sorted(catalog)
        assert counts.items == len(catalog)
        sids = list(live_sids(registry).values())
        assert counts.distinct_sids == len(set(sids))
        assert counts.shared_sids == sum(sids.count(sid) > 1 for sid in set(sids))
