"""Which measures are taken depends on what is known of the items."""

import numpy as np
import pytest

from sid_assets.core.quality.popularity import Popularity
from sid_assets.core.quality.purity import Purity
from sid_assets.core.quality.recall_ceiling import RecallCeiling
from sid_assets.core.quality.subjects import measure_subjects
from sid_assets.core.quality.tree import CodeTree
from sid_assets.core.quality.use import Use
from sid_assets_tests.core.quality.clustered_items import CODEBOOK_SIZE, items_of

CODES = [(0, 1, 2), (0, 1, 2), (3, 1, 1)]
COUNTS = {"trained": np.array([1, 2, 0]), "targets": np.array([0, 1, 1])}
VALUES = {"values": np.array([5, 5, 6])}


@pytest.mark.parametrize(
    ("arrays", "targets", "expected"),
    [
        ({}, None, [CodeTree]),
        (COUNTS, 2, [CodeTree, Popularity, RecallCeiling]),
        (COUNTS, 0, [CodeTree, Popularity]),
        (VALUES, None, [CodeTree, Purity]),
        (COUNTS | VALUES, 2, [CodeTree, Popularity, RecallCeiling, Purity]),
    ],
    ids=["codes", "interactions", "no targets", "a column", "all"],
)
def test_what_is_known_is_measured(arrays, targets, expected):
    use = None if targets is None else Use(1, targets, ())
    found = measure_subjects(items_of(CODES, **arrays), CODEBOOK_SIZE, use, "category")
    assert [type(subject) for subject in found] == expected


def test_no_two_subjects_use_the_same_names():
    found = measure_subjects(
        items_of(CODES, **COUNTS, **VALUES), CODEBOOK_SIZE, Use(1, 2, ()), "category"
    )
    names = [name for subject in found for name in subject.figures()]
    keys = [subject.section().key for subject in found]
    assert len(names) == len(set(names))
    assert len(keys) == len(set(keys))
