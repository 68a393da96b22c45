"""`python -m sid_assets.plan`: on a catalog, as one calls it."""

from pathlib import Path

import pytest

from sid_assets import plan
from sid_assets.core.embedders.hashing import HashingEmbedder
from sid_assets.core.embedding import embed_items
from sid_assets.core.refresh import RefreshPolicy
from sid_assets.core.tables import commit_staged
from sid_assets.core.versions import Store
from sid_assets_tests.core.table_fixtures import commit_texts


@pytest.fixture
def catalog(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "catalog.csv"
    path.write_text("pid,title\n1,one two\n2,three\n3,\n")
    monkeypatch.chdir(tmp_path)  # no .env of a developer
    monkeypatch.setenv("SID_CATALOG", str(path))
    monkeypatch.setenv("SID_TEXT_TEMPLATE", "{title}")
    monkeypatch.setenv("SID_DATA_DIR", str(tmp_path / "data"))
    return path


def test_it_says_what_a_refresh_would_do_and_writes_nothing(catalog, capsys, caplog):
    assert plan.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "The refresh: 2 new, 0 changed, 0 removed, 0 unchanged items."
    assert lines[1] == "To embed: 2 texts, 3 tokens."
    assert lines[2].startswith("Time on this device: about ")
    assert lines[3].startswith("Disk: 0.00 GB for the new version of the vectors, ")
    assert "the text is empty (1 row)" in caplog.text
    assert not (catalog.parent / "data").exists()


def test_what_is_wrong_is_told(catalog, monkeypatch, capsys):
    monkeypatch.setenv("SID_CATALOG", str(catalog) + ".gone")
    assert plan.main() == 1
    assert "catalog.csv.gone" in capsys.readouterr().err


def test_a_refresh_that_would_stop_is_told_with_its_plan(catalog, monkeypatch, capsys):
    store = Store(catalog.parent / "data")
    texts = commit_texts(store, {1: "one two", 2: "other", 9: "x"})
    staged, *_ = embed_items(
        store, "item_embeddings", texts, HashingEmbedder(), RefreshPolicy(), print, print
    )
    commit_staged(store, staged)
    assert plan.main() == 1
    said = capsys.readouterr()
    assert "0 new, 1 changed, 1 removed, 1 unchanged" in said.out
    assert "would change or remove 67% of the items" in said.err
    monkeypatch.setenv("SID_MAX_CHANGED_SHARE", "0.9")
    assert plan.main() == 0
