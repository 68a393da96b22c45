"""The comparison of tokenizers: the best of a row, and three ways to show it."""

import re
from html import unescape

import pytest

from sid_assets.core.quality.comparison import (
    GROUPS,
    Compared,
    Row,
    as_json,
    as_page,
    as_text,
    best_of,
)

FIGURES = {
    "sid_colliding_share": 0.25,
    "codebook_size": 256,
    "neighbours_in_first_10": 3.0,
    "margin_1_mean": 0.5,
    "encoding_seconds": 2.0,
}
COLLAPSED = {
    "sid_colliding_share": 1.0,
    "codebook_size": 256,
    "neighbours_in_first_10": 0.1,
    "margin_1_mean": 0.9,
    "encoding_seconds": 0.1,
    "training_seconds": 7.0,
}
BOTH = [Compared("train:<b>", {"kind": "train"}, FIGURES), Compared("tokenizer.pt", {}, COLLAPSED)]


@pytest.mark.parametrize(
    ("better", "values", "wanted"),
    [
        ("lower", [0.2, 0.1, None], [False, True, False]),
        ("higher", [0.2, 0.1, 0.2], [True, False, True]),
        ("higher", [0.2, 0.2, None], [False, False, False]),
        ("", [0.2, 0.1, 0.3], [False, False, False]),
    ],
)
def test_the_best_of_a_row(better, values, wanted):
    compared = [
        Compared(str(number), figures={} if value is None else {"error": value})
        for number, value in enumerate(values)
    ]
    assert best_of(Row("Error", "error", "decimal", better), compared) == wanted


@pytest.mark.parametrize(
    "figure",
    [
        *("margin_1_mean", "fan_out_2_mean", "largest_branch_share", "purity_sid_above_chance"),
        *("purity_prefix_1_share", "purity_chance", "neighbours_by_chance_in_first_10"),
        *("behaviour_by_vector_in_first_10", "behaviour_by_chance_in_first_10"),
        *("behaviour_pairs", "recall_ceiling_split", "training_seconds", "encoding_seconds"),
    ],
)
def test_what_a_collapse_can_win_or_no_tokenizer_decides_has_no_best(figure):
    [row] = [row for group in GROUPS for row in group.rows if row.figure == figure]
    assert row.better == ""


def test_the_text_is_a_table_with_a_star_at_the_best():
    text = as_text(BOTH, "100 items.")
    assert text.startswith("100 items.\n")
    [line] = [line for line in text.splitlines() if "share their SID" in line]
    assert re.fullmatch(r"  Items that share their SID +25\.0% \* +100%", line)
    [line] = [line for line in text.splitlines() if "Mean margin, layer 1" in line]
    assert "*" not in line
    [line] = [line for line in text.splitlines() if "Training" in line]
    assert line.split()[1:] == ["–", "7.0", "s"]
    assert "Behaviour" not in text
    [head] = [line for line in text.splitlines() if "train:<b>" in line]
    assert "tokenizer.pt" in head


def test_the_json_has_all_figures_and_the_best_by_figure():
    found = as_json(BOTH)
    assert found["tokenizers"][0] == {"name": "train:<b>", "kind": "train", "figures": FIGURES}
    assert found["best"] == {
        "sid_colliding_share": ["train:<b>"],
        "neighbours_in_first_10": ["train:<b>"],
    }


def test_the_page_shows_names_as_text_and_loads_nothing():
    page = as_page(BOTH, "100 items.", {"Vectors": "a<i>"})
    assert "<b>" not in page
    assert "train:<b>" in unescape(page)
    assert "a&lt;i&gt;" in page
    assert "default-src 'none'" in page
    assert not re.search(r"<script|src=|https?://", page)
    [row] = re.findall(r"<tr><th>Items that share their SID</th>.*?</tr>", page)
    assert row.count("★") == 1
    assert row.index("★") < row.index("100%")
    [row] = re.findall(r"<tr><th>Mean margin, layer 1</th>.*?</tr>", page)
    assert "★" not in row
    assert '<meter min="0" max="1" value="1.0">' in row
