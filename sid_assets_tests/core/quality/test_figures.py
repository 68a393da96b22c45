"""The quality figures by name."""

from sid_assets.core.quality.measure import measure_sids
from sid_assets_tests.core.quality.small_tables import batches, codes_table, texts_table

K = 8


def test_figures_are_flat_numbers_by_name():
    table, texts = codes_table([(0, 0, 0), (0, 0, 0), (0, 1, 0)]), texts_table(["a", "b", "c"])
    figures = measure_sids(batches(table), K, item_texts=batches(texts)).figures()
    assert all(isinstance(value, int | float) for value in figures.values())
    assert figures["items"] == 3
    assert figures["sid_distinct"] == 2
    assert figures["sid_colliding_items"] == 2
    assert figures["prefix_1_largest_group"] == 3
    assert figures["layer_2_dead"] == 6
    assert figures["layer_3_error_p99"] == 0.125
    assert figures["collisions_other_text"] == 1
