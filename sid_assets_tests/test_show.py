"""What was made, as an object and in words."""

import json
import re

import pyarrow as pa
import pytest

import sid_assets
from sid_assets import show
from sid_assets.core import schema
from sid_assets.core.errors import StoreError
from sid_assets.core.store.places import place
from sid_assets_tests.core.drawn_vectors import FakeEmbedder, embed, item_texts
from sid_assets_tests.core.registry.on_disk import commit, provenance
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    settings_for,
    write_catalog,
    write_frame,
)

TABLES = (
    *("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes", "sid_registry"),
    "pid2sid",
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("show")
    write_catalog(folder / "catalog.parquet")
    made = settings_for(folder, text_template="Title: {title}\nAbout: {description}")
    result = materialize(made, *TABLES)
    assert result.success, failure_message(result)
    return made


def test_the_tables_the_tokenizer_and_some_items(settings):
    made = show.summary(settings)
    assert json.loads(json.dumps(made)) == made
    rows = {table["table"]: table["rows"] for table in made["tables"]}
    assert rows == dict.fromkeys(set(TABLES) - {"tokenizer_checkpoint"}, 60)
    assert made["tokenizer"]["shape"] == [3, 8, 4096]
    assert len(made["items"]) == 10
    assert made["report"] is None


def test_groups_share_their_first_code(settings):
    groups = show.summary(settings)["groups"]
    assert 1 <= len(groups) <= 3
    for group in groups:
        assert len(group["items"]) == 6 <= group["size"]
        assert {item["sid"][0] for item in group["items"]} == {group["first_code"]}


def test_texts_are_on_one_line_and_truncated(settings):
    for item in show.summary(settings)["items"]:
        assert item["text"].startswith("Title: ")
        assert " | About: " in item["text"]
        assert len(item["text"]) <= show.TEXT_CHARACTERS


def test_the_same_seed_draws_the_same_items(settings):
    other = settings.model_copy(update={"seed": settings.seed + 1})
    assert show.summary(settings) == show.summary(settings)
    assert show.summary(settings)["items"] != show.summary(other)["items"]


def test_in_words(settings):
    made = show.summary(settings)
    said = show.describe(made)
    assert f"What was made, in {made['data_dir']}:" in said
    assert "10 items, drawn with seed 0, and their SIDs, as codes and as a model" in said
    for table in made["tables"]:
        assert f"  {table['file']}" in said
    assert f"  {made['tokenizer']['file']}" in said
    for item in (made["items"][0], made["groups"][0]["items"][0]):
        a, b, c = item["sid"]
        spelled = f"<|sid_begin|><s_a_{a}><s_b_{b}><s_c_{c}><|sid_end|>"
        assert re.search(rf"  {a}, {b}, {c} +{re.escape(spelled)} +Title: ", said)
    assert "OneRec's models cannot use them" in said
    assert "in a browser" not in said
    assert "in a browser" in show.describe({**made, "report": "sid_report.html"})
    assert "made from an earlier" not in said


def test_the_note_about_onerecs_models_is_about_the_data_not_the_settings(settings):
    """The settings may have changed since the SIDs were made."""
    made = show.summary(settings.model_copy(update={"deployment": "onerec"}))
    assert "cannot use them" in show.describe(made)
    assert "cannot use them" not in show.describe({**made, "usable_with_onerec_models": True})


def test_files_beside_the_tables(settings):
    assert show.summary(settings)["files"] == []
    path = settings.store().root / "sid2pid.json"
    path.write_text("{}")
    try:
        made = show.summary(settings)
        assert made["files"] == [{"file": str(path), "bytes": 2}]
        assert f"  {path}" in show.describe(made)
    finally:
        path.unlink()


def test_tables_that_were_made_from_an_earlier_version_are_marked(tmp_path):
    """As after a run that was stopped between the commits of `codes` and `pid2sid`."""
    frame = write_catalog(tmp_path / "catalog.parquet")
    settings = settings_for(tmp_path)
    assert materialize(settings, *TABLES, "sid2pid").success
    assert not any(table["replaced_inputs"] for table in show.summary(settings)["tables"])
    frame.loc[0, "title"] = "another title"
    write_frame(tmp_path / "catalog.parquet", frame)
    assert materialize(settings, "item_texts", "item_embeddings", "codes").success
    made = show.summary(settings)
    tables = {table["table"]: table for table in made["tables"]}
    assert tables["codes"]["replaced_inputs"] == []
    assert tables["pid2sid"]["replaced_inputs"] == ["codes"]
    assert tables["sid2pid"]["replaced_inputs"] == ["codes"]
    assert tables["sid2pid"]["made_from"] == [
        {"table": "pid2sid", "version": tables["pid2sid"]["version"]}
    ]
    said = show.describe(made)
    assert said.count("made from an earlier codes") == 3  # the registry, pid2sid and sid2pid
    assert "do not belong to the others" in said


def test_what_lies_in_a_bucket_is_shown_by_names_that_can_be_opened(bucket, tmp_path):
    settings = settings_for(tmp_path, data_dir=f"{bucket}/data")
    store = settings.store()
    embed(store, item_texts(range(12)), FakeEmbedder())
    sids = [[pid % 2, 0, pid] for pid in range(12)]
    rows = pa.table([range(12), sids], schema=schema.pid2sid("int"))
    commit(store, provenance("pid2sid"), rows)
    (store.root / show.REPORT).write_text("a page")
    made = show.summary(settings)
    files = [one["file"] for one in (*made["tables"], *made["files"])]
    assert len(files) == 4
    assert all(file.startswith(f"{bucket}/data/") and place(file).exists() for file in files)
    said = show.describe(made)
    assert all(file in said for file in files)
    assert f"open a copy of {bucket}/data/sid_report.html in a browser" in said
    (example,) = re.findall(r"A manifest lists the parts .* (sid_assets\.load.*) reads them", said)
    data_dir, table = re.findall(r'"(.+?)"', example)
    assert len(sid_assets.load(data_dir)[table]) == 12


def test_before_there_are_semantic_ids_nothing_is_shown(tmp_path):
    with pytest.raises(StoreError, match="Materialise pid2sid first"):
        show.summary(settings_for(tmp_path))
