"""The picture of the lengths of histories."""

from sid_assets.core.events.charts import history_lengths_png, rows_by_length
from sid_assets.core.events.rules import Summary


def test_every_row_is_in_one_range() -> None:
    lengths = [0, 5, 1, 1, 1, 1, 7, *[0] * 194, 2, *[0] * 310, 9]
    counted = rows_by_length(Summary(history_lengths=lengths))
    assert counted == {
        "1": 5,
        "2–5": 4,
        "6–10": 7,
        "11–20": 0,
        "21–50": 0,
        "51–100": 0,
        "101–200": 0,
        ">200": 11,
    }


def test_the_picture_is_a_small_png() -> None:
    for lengths in ([], [0, 3, 4]):
        png = history_lengths_png(Summary(history_lengths=lengths))
        assert png.startswith(b"\x89PNG")
        assert len(png) < 60_000
