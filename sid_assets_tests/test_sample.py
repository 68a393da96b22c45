"""The built-in sample is as its README says, and its script reproduces it."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sid_assets import sample

FILES = (sample.CATALOG, sample.EVENTS, sample.CAPTIONS)
LABELS = ("liked", "followed", "shared", "rejected")


@pytest.fixture(scope="module")
def catalog() -> pd.DataFrame:
    return pd.read_parquet(sample.CATALOG)


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return pd.read_parquet(sample.EVENTS)


@pytest.fixture(scope="module")
def captions() -> pd.DataFrame:
    return pd.read_parquet(sample.CAPTIONS)


def test_files_are_below_3_mb_together():
    assert sum(path.stat().st_size for path in FILES) < 3_000_000


def test_readme_states_the_row_counts_and_the_licence():
    readme = sample.CATALOG.with_name("README.md").read_text(encoding="utf-8")
    for path in FILES:
        rows = pq.read_metadata(path).num_rows
        assert re.search(rf"`{path.name}` \| {rows:,} \|", readme)
    assert "CC0 1.0" in readme
    assert "simulated" in readme


def test_catalog_has_every_film_once_sorted(catalog):
    assert len(catalog) == 17_472
    assert catalog["pid"].dtype == "int64"
    assert catalog["pid"].is_monotonic_increasing
    assert catalog["pid"].is_unique
    assert (catalog["pid"] > 0).all()


def test_catalog_texts_are_one_line_and_tell_films_apart(catalog):
    for column in ("title", "description"):
        assert catalog[column].notna().all()
    for column in ("title", "description", "category"):
        texts = catalog[column].dropna()
        assert (texts == texts.map(lambda text: " ".join(text.split()))).all()
        assert (texts != "").all()
    assert not catalog.duplicated(["title", "description", "category"]).any()


def test_catalog_facts_of_a_film_are_correct(catalog):
    film = catalog.set_index("title").loc["Pan's Labyrinth"]
    assert film["description"] == (
        "War, Drama, Fantasy. Spain, 2006 (2000s). In Spanish. Directed by Guillermo del Toro. "
        "With Doug Jones, Sergi López, Federico Luppi."
    )
    assert film["category"] == "War, Drama, Fantasy"
    assert film["director"] == "Guillermo del Toro"
    assert (film["year"], film["runtime"], film["oscars"]) == (2006, 119, 3)


def test_catalog_keeps_a_name_with_a_comma_whole(catalog):
    actors = catalog["cast"].dropna().str.split(", (?!Jr|Sr)", regex=True).explode()
    assert not actors.isin(["Jr.", "Sr."]).any()


def test_the_log_has_an_event_a_row_in_order_of_time(events):
    assert list(events.columns) == ["user_id", "item_id", "timestamp", "watched", *LABELS]
    assert events.notna().all(axis=None)
    assert events["timestamp"].is_monotonic_increasing
    assert events["timestamp"].between(1_704_067_200, 1_704_067_200 + 2000 * 86_400).all()
    assert events["watched"].between(1, 100).all()
    assert events["user_id"].nunique() == 2_100


@pytest.mark.parametrize("label", LABELS)
def test_labels_are_0_and_1(events, label):
    assert set(events[label]) == {0, 1}
    assert events[label].mean() < 0.5


def test_users_have_sittings_and_some_have_long_histories(events):
    per_user = events.groupby("user_id").size()
    assert per_user.min() >= 4
    assert 15 <= per_user.median() <= 50
    assert (per_user > 512).sum() == 8
    gaps = events.sort_values(["user_id", "timestamp"]).groupby("user_id")["timestamp"].diff()
    assert (gaps.dropna() > 0).all()
    assert not gaps.between(30 * 60, 12 * 3600 - 1).any()


def test_films_that_match_the_taste_and_have_good_reviews_are_watched_to_the_end(events, catalog):
    score = catalog.set_index("pid")["critics_score"].reindex(events["item_id"]).to_numpy()
    mean = pd.Series(score).groupby(events["watched"].to_numpy() >= 70).mean()
    assert mean[True] > mean[False] + 5


def test_nearly_all_items_of_the_log_are_in_the_catalog(events, catalog):
    assert 0.97 < events["item_id"].isin(catalog["pid"]).mean() < 1


def test_captions_are_chinese_sentences_of_catalog_films(captions, catalog):
    assert list(captions.columns) == ["pid", "dense_caption"]
    assert captions["pid"].is_unique
    assert captions["pid"].isin(catalog["pid"]).all()
    assert 0.9 < len(captions) / len(catalog) < 0.95
    texts = captions["dense_caption"].dropna()
    assert 0 < len(captions) - len(texts) < 300
    assert texts.str.fullmatch(r"《.+》是\d{4}年的.*片.*。").all()
    for clause, number in (("片长", r"片长\d+分钟"), ("篇影评", r"，\d+篇影评中\d+%为好评")):
        assert (texts.str.contains(clause) == texts.str.contains(number)).all()


@pytest.mark.skipif(
    find_spec("bokeh_sampledata") is None,
    reason="the sample's source is not installed: pip install bokeh-sampledata==2026.1",
)
def test_script_makes_the_same_tables_again(tmp_path):
    script = Path(__file__).parents[1] / "tools" / "make_sample.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True)
    for path in FILES:
        assert pq.read_table(tmp_path / path.name).equals(pq.read_table(path))
