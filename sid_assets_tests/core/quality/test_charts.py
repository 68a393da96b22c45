import base64
import io

import numpy as np
import pytest
from matplotlib.image import imread

from sid_assets.core.quality.charts import (
    LAYER_COLOURS,
    items_by_group_size,
    markdown_image,
    pictures,
)
from sid_assets.core.quality.measure import measure_sids
from sid_assets_tests.core.quality.small_tables import batches, codes_table

NAMES = {"code_usage", "group_sizes", "reconstruction_error", "uniqueness_by_prefix"}


def quality_of(codes, norms=None, codebook_size=8):
    return measure_sids(batches(codes_table(codes, norms), 1000), codebook_size)


def colours(png):
    return np.unique(imread(io.BytesIO(png)).reshape(-1, 4), axis=0)


def test_pictures_are_small_and_show_something():
    rng = np.random.default_rng(0)
    norms = np.cumprod(rng.uniform(0.5, 1, (2000, 4)), axis=1)
    drawn = pictures(quality_of(rng.integers(0, 8192, (2000, 3)), norms, codebook_size=8192))
    assert drawn.keys() == NAMES
    for png in drawn.values():
        assert png.startswith(b"\x89PNG")
        assert len(png) < 60_000
        assert len(colours(png)) > 20


@pytest.mark.parametrize(
    ("codes", "norms"),
    [([(1, 2, 3)], None), ([(1, 2, 3)] * 2, [(0, 0, 0, 0)] * 2), ([(1, 2, 3)] * 500, None)],
    ids=["one item", "zero vectors", "one group"],
)
def test_unusual_catalogs_are_drawn(codes, norms):
    assert pictures(quality_of(codes, norms)).keys() == NAMES


def test_a_single_code_of_many_is_visible():
    drawn = imread(io.BytesIO(pictures(quality_of([(1, 2, 3)] * 60, None, 8192))["code_usage"]))
    beside_the_legend = drawn[:, 50 : int(0.6 * drawn.shape[1]), :3]
    orange = np.array([int(LAYER_COLOURS[2][at : at + 2], 16) for at in (1, 3, 5)]) / 255
    assert np.isclose(beside_the_legend, orange, atol=0.01).all(axis=2).sum() > 5


def test_items_are_counted_by_the_size_of_their_group():
    codes = [(0, 0, group) for group, size in enumerate([1, 1, 2, 5, 101]) for _ in range(size)]
    counted = items_by_group_size(quality_of(codes).distributions)
    assert counted == {"1": 2, "2": 2, "3–5": 5, "6–10": 0, "11–100": 0, ">100": 101}


def test_markdown_contains_the_picture():
    png = pictures(quality_of([(1, 2, 3)]))["group_sizes"]
    head, _, encoded = markdown_image("Group sizes", png).partition("base64,")
    assert head == "![Group sizes](data:image/png;"
    assert base64.b64decode(encoded.removesuffix(")")) == png
