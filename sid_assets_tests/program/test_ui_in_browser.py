"""`make ui` in a real browser: Materialize all, green checks, pictures.

With `PICTURES_OF_UI=1` it also takes the pictures for the docs.
"""

import os
import time
from urllib.parse import quote

import pytest

from sid_assets_tests.browser import IMAGES, LARGEST_IMAGE, chromium, needs_chromium
from sid_assets_tests.dagster_dev import DagsterDev, dagster_dev

pytestmark = [needs_chromium, pytest.mark.service]

GROUPS = ("training_data", "tokenizer", "semantic_ids", "items", "inputs")
RUN_SECONDS = 400
TAKES_PICTURES = bool(os.environ.get("PICTURES_OF_UI"))
LATEST_RUN = "{ runsOrError(limit: 1) { ... on Runs { results { runId } } } }"
CHECKS = """
{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks {
  name executionForLatestMaterialization { status evaluation { success severity } }
} } } } }
"""
PICTURES = ("code_usage", "group_sizes", "reconstruction_error", "uniqueness_by_prefix")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    quick = {} if TAKES_PICTURES else {"SID_TRAINING_ITERATIONS": "3"}
    with dagster_dev(tmp_path_factory.mktemp("ui"), quick) as started:
        yield started


@pytest.fixture(scope="module")
def page(server):
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(60_000)
        yield page


@pytest.fixture(scope="module")
def materialized(server, page):
    """The page after a click on "Materialize all" and the end of the run."""
    page.goto(f"{server.url}/asset-groups")
    page.get_by_role("button", name="Materialize all").click()
    deadline = time.monotonic() + 60
    while not (runs := server.ask(LATEST_RUN)["runsOrError"]["results"]):
        assert time.monotonic() < deadline, "no run was launched"
        time.sleep(0.5)
    page.goto("about:blank")  # a page that shows the run would take a core from it
    assert server.wait_for(runs[0]["runId"], RUN_SECONDS) == "SUCCESS"
    return page


def test_the_graph_shows_all_assets_by_group(server, page):
    page.goto(f"{server.url}/asset-groups")
    for group in GROUPS:  # from the lowest up, so that none moves before it is opened
        row = page.get_by_text(group, exact=True).first
        row.wait_for()
        box = row.bounding_box()
        page.mouse.click(box["x"] - 40, box["y"] + box["height"] / 2)
    for node in server.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]:
        page.get_by_text(node["assetKey"]["path"][-1], exact=True).first.wait_for()


def test_materialize_all_succeeds_and_all_checks_are_green(server, materialized):
    nodes = server.ask(CHECKS)["assetNodes"]
    # The films have neither goods, advertisements nor reasons, and their ids are integers.
    skipped = {f"sft_{name}_dataset" for name in ("product_rec", "ad_rec", "rec_reason")}
    skipped.add("pid_map")
    for node in nodes:
        name = node["assetKey"]["path"][-1]
        for check in node["assetChecksOrError"]["checks"]:
            done = check["executionForLatestMaterialization"]
            if name in skipped:
                assert done is None or done["status"] == "SKIPPED"
            else:
                assert done["evaluation"]["success"], (name, check)


def test_checks_look_green(server, materialized):
    materialized.goto(f"{server.url}/assets/codes?view=checks")
    materialized.get_by_text("three_codes").first.wait_for()
    assert materialized.get_by_text("Succeeded").count() >= 5
    assert materialized.get_by_text("Failed").count() == 0


def test_the_pictures_of_sid_quality_show(server, materialized):
    materialized.goto(f"{server.url}/assets/sid_quality")
    materialized.get_by_text(PICTURES[0]).first.wait_for()
    for place in range(len(PICTURES)):
        materialized.get_by_text("[Show Markdown]").nth(place).click()
        picture = materialized.locator("img[src^='data:image/png']")
        picture.wait_for()
        assert picture.evaluate("image => image.naturalWidth") > 300
        if place == 0:
            materialized.wait_for_timeout(1000)  # the dialog fades in
            _picture(materialized, "sid_quality")
        materialized.get_by_role("button", name="Close").click()
        picture.wait_for(state="detached")


def test_the_graph_after_the_run(server, materialized):
    materialized.goto(_opened_graph(server))
    for name in ("item_texts", "item_embeddings", "codes", "pid2sid", "sid_quality"):
        materialized.get_by_text(name, exact=True).first.wait_for()
    materialized.wait_for_timeout(2000)  # the layout is drawn with a motion
    _picture(materialized, "asset_graph")


def _opened_graph(server: DagsterDev) -> str:
    """The address of the graph, with as many groups opened as fit on a page."""
    groups = ",".join(f"global@global:{group}" for group in GROUPS[1:])
    return f"{server.url}/asset-groups?expanded={quote(groups, safe='')}"


def _picture(page, name: str) -> None:
    if not TAKES_PICTURES:
        return
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size < LARGEST_IMAGE
