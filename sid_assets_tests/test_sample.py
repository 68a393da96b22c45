"""The built-in sample is as its README says, and its script reproduces it."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sid_assets import sample

FILES = (sample.CATALOG, sample.INTERACTIONS, sample.CAPTIONS)
LABELS = ("longview", "like", "follow", "forward", "not_interested")
PID_LISTS = (
    "hist_video_pid",
    "target_video_pid",
    "hist_longview_video_list",
    "hist_ad_pid",
    "target_ad_pid",
)
TEXTS = (
    "inter_user_profile_with_sid",
    "inter_keyword_to_items",
    "reco_gsu_caption",
    "reco_target_caption",
    "reco_cot",
)


@pytest.fixture(scope="module")
def catalog() -> pd.DataFrame:
    return pd.read_parquet(sample.CATALOG)


@pytest.fixture(scope="module")
def interactions() -> pd.DataFrame:
    return pd.read_parquet(sample.INTERACTIONS)


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


def test_interactions_have_the_columns_of_onerec():
    schema = pq.read_schema(sample.INTERACTIONS)
    types = {field.name: str(field.type) for field in schema}
    lists = [
        *PID_LISTS,
        *(f"{side}_video_{label}" for side in ("hist", "target") for label in LABELS),
    ]
    expected = dict.fromkeys(("uid", "split", "target_pid"), "int64")
    expected |= dict.fromkeys(TEXTS, "string")
    assert {name: kind for name, kind in types.items() if name not in lists} == expected
    for name in lists:
        assert re.fullmatch(r"list<\w+: int64>", types[name])


def test_interactions_have_both_splits_of_the_same_users(interactions):
    assert set(interactions["split"]) == {0, 1}
    rows = interactions["split"].value_counts()
    assert 3_000 <= rows[0] <= 4_000
    assert 400 <= rows[1] <= 1_000
    in_train, held_out = (set(interactions.query(f"split == {n}")["uid"]) for n in (0, 1))
    assert in_train & held_out
    assert held_out - in_train
    assert interactions.groupby("uid").size().max() > 1


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("side", ["hist", "target"])
def test_label_masks_are_aligned_with_their_list(interactions, side, label):
    pids, mask = interactions[f"{side}_video_pid"], interactions[f"{side}_video_{label}"]
    assert (pids.isna() == mask.isna()).all()
    assert (pids.dropna().map(len) == mask.dropna().map(len)).all()
    values = list(chain.from_iterable(mask.dropna()))
    assert set(values) == {0, 1}
    no_positive = mask.dropna().map(sum) == 0
    assert no_positive.any()


def test_longview_list_is_the_history_under_its_mask(interactions):
    rows = interactions.dropna(subset="hist_video_pid")
    for row in rows.itertuples():
        watched = row.hist_video_pid[row.hist_video_longview == 1]
        assert watched.tolist() == row.hist_longview_video_list.tolist()


def test_longview_is_more_likely_with_good_reviews(interactions, catalog):
    score = catalog.set_index("pid")["critics_score"]
    targets = interactions[["target_video_pid", "target_video_longview"]].explode(
        ["target_video_pid", "target_video_longview"]
    )
    mean = score.reindex(targets["target_video_pid"]).groupby(
        targets["target_video_longview"].to_numpy()
    )
    assert mean.mean()[1] > mean.mean()[0] + 5


def test_histories_exceed_512_films_and_are_missing_for_newcomers(interactions):
    history = interactions["hist_video_pid"]
    lengths = history.dropna().map(len)
    assert history.isna().any()
    assert lengths.min() == 0
    assert 5 <= lengths.median() <= 50
    assert lengths.max() > 512
    newcomers = interactions[history.isna() | (history.str.len() == 0)]
    assert newcomers[["inter_user_profile_with_sid", "reco_cot"]].isna().all(axis=None)
    assert interactions["target_video_pid"].map(len).between(1, 15).all()
    assert interactions["hist_ad_pid"].isna().any()
    assert interactions["hist_ad_pid"].dropna().map(len).max() > 200


def test_history_of_a_later_row_starts_with_that_of_the_earlier_row(interactions):
    rows = interactions.dropna(subset="hist_video_pid")
    for _, of_user in rows[rows["hist_video_pid"].map(len) > 0].groupby("uid"):
        for (_, earlier), (_, later) in zip(
            list(of_user.iterrows())[:-1], list(of_user.iterrows())[1:], strict=True
        ):
            seen = [*earlier["hist_video_pid"], *earlier["target_video_pid"]]
            assert later["hist_video_pid"].tolist() == seen


@pytest.mark.parametrize("column", PID_LISTS)
def test_nearly_all_references_are_in_the_catalog(interactions, catalog, column):
    pids = pd.Series(list(chain.from_iterable(interactions[column].dropna())))
    known = pids.isin(catalog["pid"]).mean()
    assert 0.97 < known < 1


def test_keywords_are_json_objects_of_pids(interactions, catalog):
    texts = interactions["inter_keyword_to_items"]
    assert texts.isna().any()
    objects = [json.loads(text) for text in texts.dropna()]
    assert {} in objects
    pids = [pid for found in objects for pids in found.values() for pid in pids]
    assert all(isinstance(pid, int) for pid in pids)
    assert pd.Series(pids).isin(catalog["pid"]).mean() > 0.97
    assert max(len(pids) for found in objects for pids in found.values()) > 10


def test_reasons_are_about_the_first_target(interactions, captions):
    assert (interactions["target_pid"] == interactions["target_video_pid"].str[0]).all()
    rows = interactions.dropna(subset="reco_cot")
    assert 0.3 < len(rows) / len(interactions) < 0.7
    caption_of = captions.set_index("pid")["dense_caption"]
    expected = caption_of.reindex(rows["target_pid"]).to_numpy()
    assert (rows["reco_target_caption"].to_numpy() == expected).all()
    assert rows["reco_cot"].str.strip().ne("").all()


def test_most_rows_have_a_profile(interactions):
    profiles = interactions["inter_user_profile_with_sid"]
    assert 0.05 < profiles.isna().mean() < 0.12
    assert (profiles == "").any()
    assert profiles.dropna().str.startswith("该用户").mean() > 0.97


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
