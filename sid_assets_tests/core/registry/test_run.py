"""Ten refreshes in a row, against a model that knows each item."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets_tests.core.registry.registry_model import Model, rows_of
from sid_assets_tests.core.registry.small_registry import (
    codes_of_text,
    freed,
    live_sids,
    refreshed,
)

TEXTS = st.sampled_from([f"text {number}" for number in range(5)])
CATALOGS = st.dictionaries(st.integers(1, 9), TEXTS, max_size=9)


@settings(max_examples=20, deadline=None)
@given(
    catalogs=st.lists(CATALOGS, min_size=10, max_size=10),
    purged=st.lists(st.none() | st.integers(1, 9), min_size=10, max_size=10),
    keep=st.booleans(),
    batch_rows=st.sampled_from([1, 4, 50]),
    strings=st.booleans(),
)
def test_ten_refreshes_are_those_of_the_model(catalogs, purged, keep, batch_rows, strings):
    model, registry = Model(), None
    for number, (texts, before) in enumerate(zip(catalogs, purged, strict=True)):
        catalog = {
            f"{pid:02d}" if strings else pid: (text, codes_of_text(text))
            for pid, text in texts.items()
        }
        if not catalog:
            continue
        if before is not None and registry is not None:
            model = model.freed(before, number)
            registry = freed(registry, before, number)
        registry, counts = refreshed(registry, catalog, number, keep=keep, batch_rows=batch_rows)
        model = model.refreshed(catalog, number, keep=keep)
        assert rows_of(registry) == {pid: rows for pid, rows in model.rows.items() if rows}
        assert sorted(live_sids(registry)) == sorted(catalog)
        assert {name: getattr(counts, name) for name in model.counts()} == model.counts()
