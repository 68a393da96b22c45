"""The picture of the hit rates."""

import io

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from sid_assets.core.probe.picture import COLOURS, hit_rates_png
from sid_assets_tests.core.probe.small_result import ROWS, scored_of, small_result


def widths(png: bytes) -> dict[str, int]:
    """How many columns of pixels show each colour of the bars."""
    pixels = imread(io.BytesIO(png))[:, :, :3]
    return {
        kind: int((np.abs(pixels - to_rgb(colour)).max(axis=2) < 0.01).any(axis=0).sum())
        for kind, colour in COLOURS.items()
    }


def test_bars_are_as_long_as_the_hit_rates():
    png = hit_rates_png(small_result())
    assert png.startswith(b"\x89PNG")
    found = widths(png)
    assert found["one token an item"] == 0
    assert found["dealt"] / found["sids"] == np.clip(found["dealt"] / found["sids"], 0.23, 0.27)
    assert found["baseline"] < 0.6 * found["dealt"]


def test_what_is_not_finished_is_not_drawn():
    late = scored_of("late", "one token an item", np.ones(ROWS), finished=False)
    assert widths(hit_rates_png(small_result(more=[late])))["one token an item"] == 0


def test_any_name_of_a_file_is_drawn():
    names = ["$x^", "a" * 200, "<b>_{", ""]
    more = [scored_of(name, "sids", np.arange(ROWS) % 2 == 0) for name in names]
    found = widths(hit_rates_png(small_result(more=more)))
    assert found["sids"] > 100
