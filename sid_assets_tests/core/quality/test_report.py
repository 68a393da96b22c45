"""The contents of the page, read as text; `test_report_in_browser` opens it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.quality.interactions import measure_interactions
from sid_assets.core.quality.measure import measure_sids
from sid_assets.core.quality.report import (
    SAMPLE_ITEMS,
    TEXT_CHARACTERS,
    decimal_text,
    percent_text,
    render_report,
    report_items,
    sample_rows,
)
from sid_assets_tests.core.quality.small_tables import (
    batches,
    codes_table,
    interactions_in,
    reader,
    texts_table,
)

K = 16
HOSTILE = [
    '</script><script>window.hacked = "script"</script>',
    "<img src=x onerror=\"window.hacked = 'img'\">",
    "<!-- <script> & &amp; ' \" ` \u2028 \u2029 {{ 7 * 7 }} %{x} ${y}",
    "电影 <b>粗体</b> 🎬",
]


class Page(HTMLParser):
    """The tags of a page, the text of its scripts, and the rest of its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts, self.texts = [], [], []
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        (self.scripts if self._in_script else self.texts).append(data)

    @property
    def data(self):
        return json.loads(self.scripts[0])


def build(codes, texts=None, norms=None, pids=None, **more):
    table = codes_table(codes, norms, pids)
    texts = texts_table(texts or [f"text {row}" for row in range(len(codes))], pids)
    quality = measure_sids(batches(table, 1000), K, item_texts=batches(texts, 1000))
    items = report_items(batches(table, 700), batches(texts, 900), quality)
    return render_report(quality, items, **more)


def test_texts_and_ids_of_the_catalog_are_data():
    pids = sorted(["<svg onload=alert(1)>", "'\"><script>", "</title>", "ü"])
    html = build(
        [(1, 2, 3)] * 4, texts=HOSTILE, pids=pids, title="<b>T</b>", made_from={"<i>": "&"}
    )
    page = Page(html)
    assert page.data["items"]["text"] == HOSTILE
    assert page.data["items"]["pid"] == pids
    assert [tag for tag, _ in page.tags if tag in {"svg", "img", "i"}] == []
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [
        {"type": "application/json", "id": "data"},
        {},
        {},
    ]
    shown = "".join(page.texts)
    for text in HOSTILE:
        assert text in shown


def test_only_the_two_scripts_of_the_page_may_run():
    page = Page(build([(1, 2, 3)]))
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in page.scripts[1:]
    ]
    assert len(hashes) == 2
    assert f"default-src 'none'; script-src {' '.join(hashes)};" in policy
    handlers = [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert handlers == []


def test_nothing_is_loaded_from_elsewhere():
    page = Page(build([(1, 2, 3)] * 3))
    links = [
        attributes[name]
        for _, attributes in page.tags
        for name in ("src", "href", "action", "srcset")
        if name in attributes
    ]
    assert all(link.startswith(("#", "data:,")) for link in links)


def test_the_page_shows_the_figures(tmp_path):
    codes = [(0, 0, 0)] * 3 + [(0, 1, code) for code in range(7)]
    texts = ["same", "same", "other", *(f"text {code}" for code in range(7))]
    watched = interactions_in(tmp_path, pa.table({"hist_video_pid": [[0, 1]]}))
    interactions = measure_interactions(reader(codes_table(codes)), K, watched)
    html = build(codes, texts, interactions=interactions, made_from={"Tokenizer": "trained here"})
    words = " ".join(" ".join(Page(html).texts).split())
    for said in (
        "10 items, each with a SID of 3 codes of 16. 30.0% of the items share their SID",
        "Items with a unique SID 70.0% 7 of 10",
        "Distinct SIDs 8 80.0% of the items",
        "Codes in use 6.2% / 12.5% / 43.8%",
        "The catalog has 2: 1 with the same text as another item of the group",
        "1 with a different text but the same codes",
        "3 items 2 distinct texts",
        "Ambiguous interactions 100%",
        "Perplexity codes 1 1 1 This many codes, met equally often",
        "Mean relative error 0.500 0.250 0.125 Over all interactions",
        "Tokenizer trained here",
    ):
        assert said in words
    assert "sample" not in words


@pytest.mark.parametrize(
    ("codes", "norms"),
    [([(1, 2, 3)], None), ([(1, 2, 3)] * 2, [(0, 0, 0, 0)] * 2)],
    ids=["one item", "zero vectors"],
)
def test_unusual_catalogs(codes, norms):
    page = Page(build(codes, norms=norms))
    assert len(page.data["items"]["pid"]) == len(codes)


def test_without_texts_collisions_are_only_counted():
    table, texts = codes_table([(1, 2, 3)] * 2), texts_table(["a", "b"])
    quality = measure_sids(batches(table), K)
    html = render_report(quality, report_items(batches(table), batches(texts), quality))
    assert "distinct text" not in html


def test_a_large_catalog_is_sampled_and_the_page_says_so():
    rng = np.random.default_rng(3)
    count = SAMPLE_ITEMS + 2_000
    codes = rng.integers(0, K, (count, 3))
    codes[-3:] = (0, 0, 0)
    norms = np.tile((1, 0.5, 0.4, 0.3), (count, 1))
    norms[-1, -1] = 0.9
    table = codes_table(codes, norms)
    texts = texts_table([f"text {row}" for row in range(count)])
    quality = measure_sids(batches(table, 10_000), K, item_texts=batches(texts, 10_000))
    items = report_items(batches(table, 10_000), batches(texts, 7_000), quality)
    assert items == report_items(batches(table, 999), batches(texts, 10_000), quality)
    assert SAMPLE_ITEMS <= len(items) < SAMPLE_ITEMS + 200
    assert items[-1].pid == str(count - 1), "the worst item is always on the page"
    for group in quality.largest_groups[:10]:
        members = [item.pid for item in items if item.codes == group.codes]
        first = np.flatnonzero((codes == group.codes).all(axis=1))[:6]
        assert members[:6] == [str(pid) for pid in first]
    other = report_items(batches(table, 10_000), batches(texts, 7_000), quality, seed=1)
    assert items != other
    words = " ".join(Page(render_report(quality, items)).texts)
    assert "a sample of 50,000 of the 52,000 items" in words


def test_samples_are_sorted_and_contain_no_row_twice():
    rows = sample_rows(1_000_000, seed=7)
    assert len(rows) == SAMPLE_ITEMS
    assert (np.diff(rows) > 0).all()
    assert sample_rows(3, seed=7).tolist() == [0, 1, 2]


def test_the_page_states_the_share_of_items_in_the_tree():
    codes = [(code, 0, row) for code in range(K) for row in range(9)]
    assert "first codes hold" not in build(codes)
    assert "Only the largest branches" in build(codes), "the tree has 8 SIDs of a first code"
    wide = [(code, 0, 0) for code in range(K)] * 3 + [(code, 0, 0) for code in range(K, 2 * K)]
    table, texts = codes_table(wide), texts_table(["x"] * len(wide))
    quality = measure_sids(batches(table), 2 * K)
    html = render_report(quality, report_items(batches(table), batches(texts), quality))
    assert "the 16 largest of the 32 first codes hold 75.0% of the items" in html


def test_a_complete_tree_is_not_called_a_part():
    assert "Only the largest branches" not in build([(1, 2, 3), (1, 3, 3), (2, 2, 3)])


def test_long_texts_are_shortened():
    page = Page(build([(1, 2, 3)], texts=["长" * 1000]))
    assert page.data["items"]["text"] == ["长" * TEXT_CHARACTERS + "…"]


def test_64_bit_ids_are_kept():
    page = Page(build([(1, 2, 3)], pids=[2**63 - 1]))
    assert page.data["items"]["pid"] == ["9223372036854775807"]


def test_shares_are_formatted():
    shares = [0, 0.0001, 0.8084, 0.9999, 1]
    assert [percent_text(share) for share in shares] == ["0.0%", "<0.1%", "80.8%", ">99.9%", "100%"]
    assert decimal_text(0.50312) == "0.503"


def test_numbers_are_json_that_browsers_can_read():
    html = build([(1, 2, 3)] * 2, norms=[(0, 0, 0, 0), (1, 1, 1, 0.5)])
    assert Page(html).data["items"]["error"] == [None, 0.5]
    assert re.search(r"\b(NaN|Infinity)\b", Page(html).scripts[0]) is None
