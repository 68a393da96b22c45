"""`sid_report.html` opened from disk in a real browser.

If `PICTURE_OF_REPORT` names a report of the demo, its picture for the README is taken too:

    PICTURE_OF_REPORT=data/sid_report.html pytest -k report_in_browser
"""

import os
import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets import sample
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.quality.interactions import measure_interactions
from sid_assets.core.quality.items import Items, read_items
from sid_assets.core.quality.measure import measure_sids
from sid_assets.core.quality.report import render_report, report_items
from sid_assets.core.quality.subjects import measure_subjects
from sid_assets.core.quality.use import Use
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.train import TrainingSettings, train
from sid_assets_tests.browser import IMAGES, chromium, needs_chromium
from sid_assets_tests.core.quality.small_tables import (
    batches,
    codes_table,
    interactions_in,
    reader,
    texts_table,
)

PICTURE = IMAGES / "sid_report.png"
FILMS = 800
CODEBOOK_SIZE = 16
HOSTILE = {
    "pid <i>1</i>": '<script>window.hacked = "script"</script> Zanzibar one',
    "pid <i>2</i>": "<img src=x onerror=\"window.hacked = 'img'\"> Zanzibar two",
    "pid <i>3</i>": "</script><svg onload=\"window.hacked = 'svg'\"> Zanzibar three",
}

pytestmark = needs_chromium


@dataclass
class Opened:
    """A page, with its console messages, errors and requests so far."""

    page: Any  # playwright's Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@contextmanager
def opened_in(browser, path, width=1280, height=900, scheme="light"):
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    found = Opened(context.new_page())
    found.page.on("console", lambda message: found.complaints.append(message.text))
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.on("request", lambda request: found.requests.append(request.url))
    found.page.goto(Path(path).as_uri())
    found.page.wait_for_selector("#tree-chart .main-svg")
    yield found
    context.close()


@pytest.fixture
def open_page(browser):
    with ExitStack() as contexts:
        yield lambda path, **look: contexts.enter_context(opened_in(browser, path, **look))


@pytest.fixture(scope="module")
def page_of_films(browser, films):
    with opened_in(browser, films) as opened:
        yield opened


@pytest.fixture
def films_page(page_of_films):
    """The page of the films without a search; it takes seconds to draw, so tests share it."""
    search(page_of_films.page, "")
    return page_of_films


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A report of films and of items with HTML in their texts and ids."""
    catalog = pq.read_table(sample.CATALOG, columns=["pid", "title", "description"])
    rows = [*catalog.slice(0, FILMS - 1).to_pylist(), *_godfather(catalog)]
    texts = {str(r["pid"]): f"Title: {r['title']}\nDescription: {r['description']}" for r in rows}
    ordered = sorted((texts | HOSTILE).items())
    pids, texts = [pid for pid, _ in ordered], [text for _, text in ordered]
    vectors = HashedWordsEmbedder().embed(texts).vectors
    trained = train([vectors], TrainingSettings(codebook_size=CODEBOOK_SIZE, iterations=5))
    encoded = Encoder(trained.centroids).encode(vectors)
    codes = codes_table(encoded.codes, encoded.residual_norms, pids)
    watched = pa.table({"hist_video_pid": [pids[:20], pids[10:40]]})
    interactions = interactions_in(tmp_path_factory.mktemp("interactions"), watched)
    path = tmp_path_factory.mktemp("report") / "sid_report.html"
    path.write_text(_report(codes, texts_table(texts, pids), interactions))
    return path


def _godfather(catalog):
    return [row for row in catalog.to_pylist() if row["title"] == "The Godfather Part II"][:1]


def _report(codes, texts, interactions=None, codebook_size=CODEBOOK_SIZE, sections=()):
    quality = measure_sids(batches(codes, 1000), codebook_size, item_texts=batches(texts, 1000))
    items = report_items(batches(codes, 1000), batches(texts, 1000), quality)
    weighted = None
    if interactions is not None:
        weighted = measure_interactions(reader(codes), codebook_size, interactions)
    return render_report(quality, items, weighted, sections, title="SIDs of the films")


def search(page, words):
    page.fill("#query", words)
    page.wait_for_function(
        "words => document.querySelector('#matches').dataset.query === words", arg=words
    )


def test_the_page_logs_nothing_and_loads_nothing(films, open_page):
    opened = open_page(films)
    for chart in ("group-sizes", "prefixes", "code-usage", "errors", "tree-chart"):
        assert opened.page.locator(f"#{chart} .main-svg").first.is_visible()
    assert opened.requests == [films.as_uri()]
    assert opened.complaints == []


def test_each_section_has_a_picture_and_says_what_is_good(tmp_path, open_page):
    rng = np.random.default_rng(0)
    table = codes_table(rng.integers(0, CODEBOOK_SIZE, (300, 3)))
    texts = texts_table([f"item {row}" for row in range(300)])
    counts = rng.poisson(2, (2, 300))
    items = read_items(batches(table, 100), CODEBOOK_SIZE)
    items = Items(items.sids, items.errors, counts[0], counts[1], rng.integers(1, 4, 300))
    use = Use(1, int(counts[1].sum()), ())
    subjects = measure_subjects(items, CODEBOOK_SIZE, use, "<i>column</i>")
    path = tmp_path / "sid_report.html"
    path.write_text(_report(table, texts, sections=[s.section() for s in subjects]))
    opened = open_page(path)
    assert len(subjects) == 4
    for key, series in (("fan-out", 3), ("popularity", 3), ("recall-ceiling", 1), ("purity", 2)):
        section = opened.page.locator(f"section#{key}")
        assert "Good: " in section.inner_text()
        assert "Bad: " in section.inner_text()
        assert section.locator(".barlayer .trace").count() == series, key
        assert opened.page.locator(f"nav a[href='#{key}']").count() == 1
    assert "“<i>column</i>”" in opened.page.locator("#purity h2").inner_text()
    assert opened.complaints == []


def test_a_film_is_found_by_a_word_of_its_title(films_page):
    opened = films_page
    search(opened.page, "godfather part")
    assert "The Godfather Part II" in opened.page.locator("#results .item").first.inner_text()
    detail = opened.page.locator("#detail")
    assert "Title: The Godfather Part II" in detail.inner_text()
    assert "<|sid_begin|><s_a_" in detail.locator(".spelled").inner_text()
    code = detail.locator(".detail-head .layer-1").inner_text()
    assert "Same first code" in detail.inner_text()
    neighbour = detail.locator("h3:has-text('Same first code') + button.item")
    neighbour.click()
    assert detail.locator(".detail-head .layer-1").inner_text() == code
    assert "Title: The Godfather Part II" not in detail.locator(".full-text").inner_text()
    assert opened.complaints == []


def test_items_are_found_by_id_and_by_sid(films_page):
    page = films_page.page
    pid = page.locator("#results .item .pid").nth(3).inner_text()
    search(page, pid)
    assert page.locator("#detail .pid").first.inner_text() == pid
    spelled = page.locator("#detail .spelled").inner_text()
    search(page, spelled)
    assert pid in page.locator("#results .item .pid").all_inner_texts()
    search(page, "no such film exists")
    assert page.locator("#matches").inner_text() == "No item found."
    assert page.locator("#results .item").count() == 0
    assert not page.locator("#detail").is_visible(), "the card would show the previous item"


def test_a_sid_is_found_by_its_codes_in_order(films_page):
    page = films_page.page
    first, second = (
        page.locator("#results .item").nth(place).locator(".pid").inner_text() for place in (0, 1)
    )
    spelled = []
    for pid in (first, second):
        search(page, pid)
        spelled.append(page.locator("#detail .spelled").inner_text())
    search(page, "".join(spelled))
    assert first in page.locator("#results .item .pid").all_inner_texts()
    a, b, c = page.locator("#detail .detail-head .code").all_inner_texts()
    search(page, f"<s_a_{a}><s_b_{b}>")
    assert page.locator("#results .item").count() > 0
    assert page.locator("#detail .detail-head .code").all_inner_texts()[:2] == [a, b]
    for part in (f"<s_b_{a}>", f"<s_c_{c}>"):
        search(page, part)
        assert page.locator("#results .item").count() == 0
        assert page.locator("#matches").inner_text() == (
            "A search by SID begins with its first code: <s_a_…>."
        )


def test_html_in_texts_and_ids_is_shown_as_text(films_page):
    opened = films_page
    search(opened.page, "zanzibar")
    shown = opened.page.locator("#results .item .text").all_inner_texts()
    assert sorted(shown) == sorted(HOSTILE.values())
    assert set(opened.page.locator("#results .item .pid").all_inner_texts()) == set(HOSTILE)
    for pid, text in HOSTILE.items():
        search(opened.page, pid)
        assert opened.page.locator("#detail .full-text").inner_text() == text
    assert opened.page.evaluate("window.hacked") is None
    assert opened.complaints == []


def test_no_other_script_can_run(films, open_page):
    page = open_page(films).page
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hacked = 'script'";
            document.body.append(script);
            const div = document.createElement("div");
            div.innerHTML = '<img src="data:image/png;base64,x" onerror="window.hacked = 1">';
            document.body.append(div);
        }"""
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("fetch('/').then(() => 'loaded', () => 'refused')") == "refused"


def test_a_branch_of_the_tree_shows_its_items(films_page):
    opened = films_page
    before = opened.page.locator("#branch").inner_text()
    opened.page.locator("#tree-chart .slice path.surface").nth(4).click()
    opened.page.wait_for_function(
        "before => document.querySelector('#branch').innerText !== before", arg=before
    )
    assert "distinct SIDs" in opened.page.locator("#branch").inner_text()
    assert opened.page.locator("#branch .item").count() > 0
    assert opened.complaints == []


def labels_drawn(page):
    """The height in pixels of each visible label of the code tree."""
    return page.evaluate(
        """() => [...document.querySelectorAll("#tree-chart g.slicetext text")]
            .filter((label) => getComputedStyle(label).visibility !== "hidden")
            .map((label) => Math.hypot(label.getCTM().a, label.getCTM().b)
                * parseFloat(getComputedStyle(label).fontSize))"""
    )


def test_no_label_of_the_tree_is_too_small_to_read(tmp_path, open_page):
    codes = codes_table(np.random.default_rng(0).integers(0, 64, (3000, 3)))
    texts = texts_table([f"item {row}" for row in range(3000)])
    path = tmp_path / "sid_report.html"
    path.write_text(_report(codes, texts, codebook_size=64))
    page = open_page(path).page
    drawn = labels_drawn(page)
    assert len(drawn) > 16
    assert min(drawn) > 8
    page.locator("#tree-chart .slice path.surface").nth(4).click()
    page.wait_for_timeout(1500)
    assert min(labels_drawn(page)) > 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(films, open_page, scheme):
    page = open_page(films, width=360, height=800, scheme=scheme).page
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background[4:-1].split(","))
    assert brightness < 150 if scheme == "dark" else brightness > 600


@pytest.mark.parametrize(
    "norms", [(1, 0.5, 0.2, 0.1), (0, 0, 0, 0)], ids=["one item", "zero vector"]
)
def test_the_smallest_catalogs_work_too(tmp_path, open_page, norms):
    path = tmp_path / "sid_report.html"
    path.write_text(_report(codes_table([(1, 2, 3)], [norms]), texts_table(["The only one"])))
    opened = open_page(path)
    assert "The only one" in opened.page.locator("#detail").inner_text()
    assert "1 item, 1 distinct SID\n" in opened.page.locator("#branch").inner_text()
    assert "all items" in opened.page.locator("#tree-chart").inner_text()
    assert opened.complaints == []


@pytest.mark.parametrize("layout", ["each its own", "all one"])
def test_the_usage_of_a_few_codes_of_many_is_visible(tmp_path, open_page, layout):
    rng = np.random.default_rng(0)
    draws = rng.permuted(np.tile(np.arange(8192), (3, 1)), axis=1)[:, :60].T
    codes = codes_table(draws if layout == "each its own" else np.tile(draws[0], (60, 1)))
    texts = texts_table([f"item {row}" for row in range(60)])
    path = tmp_path / "sid_report.html"
    path.write_text(_report(codes, texts, codebook_size=8192))
    page = open_page(path).page
    chart = page.locator("#code-usage")
    ticks = [float(tick) for tick in chart.locator(".ytick text").all_text_contents()]
    assert ticks == sorted(set(ticks))
    assert min(ticks) >= 1
    used = 60 if layout == "each its own" else 1
    assert f"{8192 - used:,} of 8,192 are unused in every layer" in chart.inner_text()
    points = chart.locator(".scatterlayer .point").count()
    widths = chart.locator(".scatterlayer .js-line").evaluate_all(
        "lines => lines.map((line) => line.getBBox().width)"
    )
    assert points == 3 if used == 1 else min(widths) > 500


def test_a_page_with_many_items_responds(tmp_path, open_page):
    rng = np.random.default_rng(0)
    count = 50_500
    codes = codes_table(rng.integers(0, CODEBOOK_SIZE, (count, 3)))
    texts = texts_table([f"Title: item {row}\nDescription: {'word ' * 30}" for row in range(count)])
    path = tmp_path / "sid_report.html"
    path.write_text(_report(codes, texts))
    opened = open_page(path)
    search(opened.page, "word")
    assert opened.page.locator("#matches").inner_text().endswith("found, the first 40 are shown")
    assert "a sample of 50,000 of the 50,500 items" in opened.page.locator("#search").inner_text()
    search(opened.page, "no such item exists")
    assert re.fullmatch(
        r"No item found among the 50,0\d\d on this page\.",
        opened.page.locator("#matches").inner_text(),
    )
    assert opened.complaints == []


@pytest.mark.skipif("PICTURE_OF_REPORT" not in os.environ, reason="PICTURE_OF_REPORT is not set")
def test_take_the_picture_for_the_readme(open_page):
    opened = open_page(Path(os.environ["PICTURE_OF_REPORT"]).absolute(), width=1200, height=1180)
    search(opened.page, "godfather")
    opened.page.mouse.move(0, 0)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    opened.page.screenshot(path=PICTURE)
    assert PICTURE.stat().st_size < 300_000
