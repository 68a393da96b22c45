"""`python -m sid_assets.plan` on a catalog, as a user calls it."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from sid_assets import plan
from sid_assets import resources as planned
from sid_assets.assets.catalog import item_texts_asset
from sid_assets.assets.domains import ITEMS
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.embedders.qwen3 import Qwen3Embedder
from sid_assets.core.embeddings.run import embed_items
from sid_assets.core.refresh import RefreshPolicy
from sid_assets.core.store.store import Store
from sid_assets.graph import resources
from sid_assets.settings import Settings
from sid_assets_tests.core.drawn_vectors import commit_texts
from sid_assets_tests.graph import materialize, settings_for, write_catalog

MADE_FROM = ("item_texts", "item_embeddings", "tokenizer_checkpoint")


@pytest.fixture
def catalog(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "catalog.csv"
    path.write_text("pid,title\n1,one two\n2,three\n")
    monkeypatch.chdir(tmp_path)  # without a developer's .env
    monkeypatch.setenv("SID_CATALOG", str(path))
    monkeypatch.setenv("SID_TEXT_TEMPLATE", "{title}")
    monkeypatch.setenv("SID_DATA_DIR", str(tmp_path / "data"))
    return path


def test_it_reports_what_a_refresh_would_do_and_writes_nothing(catalog, capsys):
    assert plan.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "The refresh: 2 new, 0 changed, 0 removed, 0 unchanged items."
    assert lines[1] == "To embed: 2 texts, 3 tokens."
    assert lines[2].startswith("Time in one process on this device: about ")
    assert lines[3].startswith("Disk: 0.0 MB for the new version of the vectors, ")
    assert not (catalog.parent / "data").exists()


def test_rows_that_the_run_refuses_are_reported_and_not_in_the_plan(catalog, capsys, caplog):
    with catalog.open("a") as file:
        file.write("3,\n")
    assert plan.main() == 1
    said = capsys.readouterr()
    assert "To embed: 2 texts" in said.out
    assert "the text is empty (1 row)" in caplog.text
    assert "The run stops at the bad rows above unless on_bad_rows: drop is set" in said.err


def test_texts_that_other_rules_change_are_counted(catalog, monkeypatch, capsys):
    lines = catalog.with_suffix(".jsonl")
    lines.write_text('{"pid": 1, "title": "a"}\n{"pid": 2, "title": {"x": null, "y": 1}}\n')
    monkeypatch.setenv("SID_CATALOG", str(lines))
    monkeypatch.setenv("SID_TEXT_RULES", "1")
    settings = Settings.from_environment()
    assert dg.materialize([item_texts_asset(ITEMS)], resources=resources(settings)).success
    assert plan.main(["--json"]) == 0
    assert "texts_changed_by_rules" not in json.loads(capsys.readouterr().out)["domains"][0]
    monkeypatch.delenv("SID_TEXT_RULES")
    assert plan.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["domains"][0]["texts_changed_by_rules"] == 1
    assert plan.main() == 0
    assert "1 texts change because values become text by rules 2" in capsys.readouterr().out


def test_errors_are_reported(catalog, monkeypatch, capsys):
    monkeypatch.setenv("SID_CATALOG", str(catalog) + ".gone")
    assert plan.main() == 1
    assert "catalog.csv.gone" in capsys.readouterr().err


def test_a_column_to_measure_that_is_not_there_is_reported(catalog, monkeypatch, capsys):
    monkeypatch.setenv("SID_QUALITY_COLUMN", "colour")
    assert plan.main() == 1
    said = capsys.readouterr()
    assert "no column 'colour'" in said.out + said.err


def test_a_refresh_that_would_stop_is_reported_with_its_plan(catalog, monkeypatch, capsys):
    store = Store(catalog.parent / "data")
    texts = commit_texts(store, {1: "one two", 2: "other", 9: "x"})
    draft, *_ = embed_items(
        store, "item_embeddings", texts, HashedWordsEmbedder(), RefreshPolicy(), print, print
    )
    store.commit(draft)
    assert plan.main() == 1
    said = capsys.readouterr()
    assert "0 new, 1 changed, 1 removed, 1 unchanged" in said.out
    assert "would change or remove 67% of the items" in said.err
    monkeypatch.setenv("SID_MAX_CHANGED_SHARE", "0.9")
    assert plan.main() == 0


def test_there_is_a_plan_for_each_domain(catalog, monkeypatch, capsys):
    goods = catalog.with_name("goods.csv")
    goods.write_text("pid,title\n7,a lamp\n")
    monkeypatch.setenv("SID_GOODS_CATALOG", str(goods))
    assert plan.main() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["Items:", "The refresh: 2 new, 0 changed, 0 removed, 0 unchanged items."]
    assert said[5].startswith("Tokenizer to train: 3 x 1 centroids")
    assert said[6:8] == ["Goods:", "The refresh: 1 new, 0 changed, 0 removed, 0 unchanged items."]
    assert not any(line.startswith("Tokenizer") for line in said[6:])
    goods.unlink()
    assert plan.main() == 1
    said = capsys.readouterr()
    assert "The refresh: 2 new" in said.out
    assert "goods.csv" in said.err


@pytest.mark.parametrize(
    ("items", "size", "said", "code"),
    [
        (60, "", "Tokenizer to train: 3 x 16 centroids, method ", 0),
        (60, "21", "SID_CODEBOOK_SIZE=21 is too large for 60 items", 0),
        (20_000, "8", "SID_CODEBOOK_SIZE=8 is too small for 20,000 items", 0),
        (60, "55", "60 vectors leave 54 to train on", 1),
        (1, "", "1 vector: a tokenizer is trained on at least two", 1),
    ],
)
def test_the_size_of_the_tokenizer_is_judged(catalog, monkeypatch, capsys, items, size, said, code):
    catalog.write_text("pid,title\n" + "".join(f"{pid},film {pid}\n" for pid in range(items)))
    monkeypatch.setenv("SID_CODEBOOK_SIZE", size)
    assert plan.main() == code
    told = capsys.readouterr()
    assert said in told.out + told.err


def test_a_device_that_training_needs_and_that_is_not_there_is_reported(
    catalog, monkeypatch, capsys
):
    """With Ray, others embed; the tokenizer is trained here."""
    monkeypatch.setenv("SID_BACKEND", "ray")
    monkeypatch.setenv("SID_DEVICE", "hpu")
    assert plan.main() == 1
    said = capsys.readouterr()
    assert "To embed: 2 texts" in said.out
    assert "SID_DEVICE=hpu: with SID_TOKENIZER=train, the run itself trains" in said.err


def test_a_tokenizer_that_is_kept_is_not_mentioned_and_another_one_is(
    tmp_path, monkeypatch, capsys
):
    write_catalog(tmp_path / "catalog.parquet")
    assert materialize(settings_for(tmp_path), *MADE_FROM).success
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SID_CATALOG", str(tmp_path / "catalog.parquet"))
    assert plan.main() == 0
    assert "okenizer" not in capsys.readouterr().out
    monkeypatch.setenv("SID_CODEBOOK_SIZE", "16")
    assert plan.main() == 1
    assert "codebook_size: 8 -> 16" in capsys.readouterr().err


def test_a_server_that_is_down_only_costs_the_time(catalog, monkeypatch, capsys):
    monkeypatch.setattr(planned, "PLANNING_PATIENCE", 0.0)
    monkeypatch.setenv("SID_EMBEDDER", "openai")
    monkeypatch.setenv("SID_EMBEDDING_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("SID_EMBEDDING_TOKENIZER", "server")
    assert plan.main() == 0
    said = capsys.readouterr().out
    assert "To embed: 2 texts" in said
    assert "Time: not measured (http://127.0.0.1:9/v1: " in said


def test_no_weights_are_downloaded_for_a_plan(catalog, small_model, tmp_path, monkeypatch, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(small_model, bare)
    (bare / "model.safetensors").unlink()
    monkeypatch.setenv("SID_EMBEDDER", "qwen3")
    monkeypatch.setenv("SID_EMBEDDING_MODEL", str(bare))
    monkeypatch.setattr(Qwen3Embedder, "embed", lambda *arguments: pytest.fail("loads weights"))
    assert plan.main() == 0
    assert "Time: not measured (the weights are not downloaded yet; " in capsys.readouterr().out


def test_a_killed_run_needs_no_more_space_for_what_is_in_its_draft(catalog, capsys):
    settings = materialize_texts_and_leave_a_draft(catalog)
    assert plan.plan_refresh(settings, ITEMS, HashedWordsEmbedder())[0].disk_needed < 16_384
    catalog.write_text(catalog.read_text() + "4,four\n")
    assert plan.plan_refresh(settings, ITEMS, HashedWordsEmbedder())[0].disk_needed > 3 * 16_384


def materialize_texts_and_leave_a_draft(catalog: Path) -> Settings:
    """Commit the catalog's texts as the asset does, and leave their vectors uncommitted."""
    catalog.write_text("pid,title\n1,one two\n2,three\n")
    settings = Settings.from_environment()
    item_texts = item_texts_asset(ITEMS)
    assert dg.materialize([item_texts], resources=resources(settings)).success
    store = settings.store()
    texts = store.require("item_texts")
    draft, *_ = embed_items(
        store, "item_embeddings", texts, HashedWordsEmbedder(), RefreshPolicy(), print, print
    )
    draft.close()
    return settings
