"""Collisions before and after resolving, with known answers."""

import pyarrow as pa
import pytest

from sid_assets.core.quality.measure import measure_sids
from sid_assets.core.quality.resolving import Cost, Resolving, measure_cost
from sid_assets_tests.core.quality.small_tables import batches, codes_table, texts_table

K = 16
BEFORE = [(1, 2, 3), (1, 2, 3), (1, 2, 3), (4, 5, 6)]
AFTER = [(1, 2, 3), (1, 2, 4), (1, 2, 5), (4, 5, 6)]
TEXTS = ["one", "one", "two", "three"]


def quality(codes, texts=True):
    return measure_sids(
        batches(codes_table(codes)), K, batches(texts_table(TEXTS)) if texts else None
    )


def resolving(texts=True) -> Resolving:
    return Resolving(quality(BEFORE, texts), quality(AFTER, texts), 2, Cost(2, 0.1, 0.15))


def errors(*batches_of: list[float]) -> list[pa.RecordBatch]:
    return [pa.record_batch([pa.array(some, pa.float32())], ["extra_error"]) for some in batches_of]


def test_the_cost_is_the_number_mean_and_largest_of_the_extra_errors():
    assert measure_cost(errors([0.25, 0.5], [], [0.75])) == Cost(3, 0.5, 0.75)
    assert measure_cost(errors()) == Cost(0, 0.0, 0.0)


def test_an_extra_error_may_be_negative():
    """The nearest centroid of each layer need not give the nearest sum."""
    assert measure_cost(errors([-0.5], [-0.25])) == Cost(2, -0.375, -0.25)


def test_figures_say_what_collided_before_and_count_identical_texts_apart():
    assert resolving().figures() == {
        "before_resolving_distinct": 2,
        "before_resolving_colliding_items": 3,
        "before_resolving_colliding_share": 0.75,
        "before_resolving_largest_group": 3,
        "before_resolving_collisions_same_text": 1,
        "before_resolving_collisions_other_text": 1,
        "sids_not_codes": 2,
        "resolving_moved": 2,
        "resolving_mean_extra_error": 0.1,
        "resolving_largest_extra_error": 0.15,
    }


def test_the_section_shows_both_side_by_side():
    section = resolving().section()
    rows = {row[0]: row[1:-1] for row in section.rows}
    assert rows["Items that share"] == ("3", "0")
    assert rows["Their share"] == ("75.0%", "0.0%")
    assert rows["Distinct SIDs"] == ("2", "4")
    assert rows["Collisions of identical text"] == ("1", "0")
    assert rows["Moved items"] == ("–", "2")
    assert rows["Largest extra error"] == ("–", "0.150")
    assert section.bars.series == {"items": [3, 0]}
    assert {len(row) for row in section.rows} == {len(section.header)}


@pytest.mark.parametrize("texts", [True, False], ids=["texts", "no texts"])
def test_kinds_of_collisions_are_shown_if_texts_are_known(texts):
    shown = [row[0] for row in resolving(texts).section().rows]
    assert ("Collisions of identical text" in shown) == texts
    assert ("before_resolving_collisions_same_text" in resolving(texts).figures()) == texts
