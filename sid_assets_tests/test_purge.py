"""`python -m sid_assets.purge` lists what can be removed, and removes nothing that is in use."""

import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pandas as pd
import pyarrow as pa
import pytest
from upath import UPath

from sid_assets import purge
from sid_assets.core.embeddings import cuts
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.sharing import PartSharer
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets_tests.core.drawn_vectors import (
    FakeEmbedder,
    commit_texts,
    embed,
    expected_vectors,
    item_texts,
    vectors_by_pid,
)

REJECTED = pa.table({"pid": ["a", "b"], "text": [None, None], "reason": ["x", "x"]})


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """Two versions of a table, an unfinished draft, and rejected rows."""
    monkeypatch.chdir(tmp_path)  # without a developer's .env
    monkeypatch.setenv("SID_DATA_DIR", str(tmp_path / "data"))
    return filled(Store(tmp_path / "data"))


def filled(store: Store) -> Store:
    commit_texts(store, item_texts(range(5)), "goods/item_texts")
    commit_texts(store, item_texts(range(6)), "goods/item_texts")
    with store.draft("goods/item_texts") as left:
        left.begin("left")
        (left.folder / "half.parquet").write_bytes(b"x" * 5000)
    rejected = "goods/item_texts_rejected"
    store.commit(draft_rows(store, rejected, REJECTED.to_reader(), Provenance(rejected)))
    commit_texts(store, item_texts(range(3)), "item_texts")  # nothing to remove
    return store


def files(store: Store) -> set[Path]:
    return {path for path in Path(store.root.path).rglob("*") if path.name != ".lock"}


def test_it_lists_and_removes_nothing(store, capsys):
    before = files(store)
    assert purge.main([]) == 0
    said = capsys.readouterr().out
    assert files(store) == before
    assert "unfinished draft, which the next run resumes" in said
    assert "goods/item_texts" in said
    assert "the previous version" in said
    assert "2 rejected rows of the catalog" in said
    assert "3 folders in" in said
    assert "Nothing was removed; pass --yes to remove it." in said


def test_it_removes_what_it_listed(store, capsys):
    current = store.require("goods/item_texts")
    listed, _ = purge.purge(store, remove=False)
    assert purge.main(["--yes"]) == 0
    assert "Removed 3 folders in" in capsys.readouterr().out
    assert not any(one.folder.exists() for one in listed)
    assert store.require("goods/item_texts") == current
    assert store.require("item_texts").rows == 3
    frame = pd.read_parquet(store.path("goods/item_texts").path)
    assert frame.pid.tolist() == list(range(6))
    assert store.current("goods/item_texts_rejected") is None
    assert not Path(store.path("goods/item_texts_rejected").path).is_symlink()
    assert purge.purge(store, remove=True) == ([], [])
    commit_texts(store, item_texts(range(7)), "goods/item_texts")  # the store still works


def test_sizes_are_those_of_the_files(store):
    listed, _ = purge.purge(store, remove=False)
    left = next(one for one in listed if "unfinished draft" in one.what)
    assert left.bytes == 5000 + (left.folder / "_staging.json").stat().st_size


def test_sizes_include_folders_below(store):
    left = next(iter(store.leftovers("goods/item_texts")))
    (left / "_sorting" / "vectors").mkdir(parents=True)
    (left / "_sorting" / "vectors" / "0.arrow").write_bytes(b"x" * 70_000)
    listed, _ = purge.purge(store, remove=True)
    assert next(one.bytes for one in listed if one.folder == left) > 75_000
    assert not left.exists()


def embedded_twice(store: Store) -> tuple[Version, Version]:
    """Two versions of vectors in seven parts each, of which they share all but one."""
    texts = item_texts(range(49))
    first = embed(store, texts, FakeEmbedder()).version
    return first, embed(store, texts | {8: "changed"}, FakeEmbedder()).version


@pytest.mark.parametrize("where", ["local", "memory"])
def test_parts_that_versions_share_are_neither_counted_nor_removed(tmp_path, monkeypatch, where):
    monkeypatch.setattr(cuts, "CHUNK_ROWS", 7)
    store = Store(tmp_path / "data" if where == "local" else f"memory://{tmp_path.name}")
    first, second = embedded_twice(store)
    if where == "local":
        with store.draft("item_embeddings") as left:
            left.begin("left")
            sharer = PartSharer(second, left.folder, lambda text: None)
            sharer.share(second.parts[0], "part-0.parquet")
    listed, _ = purge.purge(store, remove=False)
    sizes = {one.what: one.bytes for one in listed if one.table == "item_embeddings"}
    part = first.parts[1].bytes
    assert part <= sizes["the previous version"] < part + 10_000
    assert sizes.get("unfinished draft, which the next run resumes", 0) < 1000
    purge.purge(store, remove=True)
    assert vectors_by_pid(store.require("item_embeddings")) == expected_vectors(
        item_texts(range(49)) | {8: "changed"}, FakeEmbedder()
    )
    assert len(list(store.history("item_embeddings").rglob("part-*.parquet"))) == 7
    listed, _ = purge.purge(store, remove=False)
    assert [one for one in listed if one.table == "item_embeddings"] == []


def test_what_only_the_previous_version_refers_to_is_counted_and_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(cuts, "CHUNK_ROWS", 7)
    store = Store(f"memory://{tmp_path.name}")
    embedded_twice(store)
    later = item_texts(range(49)) | {8: "changed", 16: "changed", 24: "changed"}
    version = embed(store, later, FakeEmbedder()).version
    # Two parts of the first version are needed by the second one only.
    listed, _ = purge.purge(store, remove=True)
    size = next(one.bytes for one in listed if one.table == "item_embeddings")
    part = version.parts[0].bytes
    assert 2 * part <= size < 2 * part + 10_000
    assert len(list(store.history("item_embeddings").rglob("part-*.parquet"))) == 7
    assert vectors_by_pid(version) == expected_vectors(later, FakeEmbedder())


SCRATCH_OF_A_RUN = """
import os, sys
from upath import UPath
from sid_assets.core.store.scratch import scratch_folder
with scratch_folder(UPath(sys.argv[1])) as folder:
    os.makedirs(f"{folder}/runs")
    open(f"{folder}/runs/0.arrow", "wb").write(b"x" * 60_000)
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_scratch_of_a_killed_run_is_removed_and_that_of_a_living_run_stays(store, capsys):
    command = [sys.executable, "-c", SCRATCH_OF_A_RUN, store.root.path]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as run:
        assert run.stdout
        folder = UPath(run.stdout.readline().strip())
        listed, _ = purge.purge(store, remove=True)
        assert folder not in {one.folder for one in listed}
        assert (folder / "runs" / "0.arrow").exists()
        run.kill()
    (listed,), problems = purge.purge(store, remove=False)
    assert (listed.folder, listed.bytes, problems) == (folder, 60_000, [])
    assert folder.exists()
    assert purge.main(["--yes"]) == 0
    assert "scratch of an unfinished run" in capsys.readouterr().out
    assert not folder.exists()


def test_a_table_that_a_run_is_writing_is_left_alone(store, capsys):
    before = files(store)
    with store.draft("goods/item_texts"):
        assert purge.main(["--yes"]) == 1
    said = capsys.readouterr()
    assert "Left alone: " in said.err
    assert "another run is writing it" in said.err
    gone = before - files(store)
    assert {path.parts[-3] for path in gone if path.suffix == ".json"} == {"item_texts_rejected"}


def test_a_damaged_table_is_left_alone(store):
    version = store.require("item_texts")
    (version.folder / "_manifest.json").write_text("{")
    listed, problems = purge.purge(store, remove=True)
    assert {one.table for one in listed} == {"goods/item_texts", "goods/item_texts_rejected"}
    assert len(problems) == 1
    assert "_manifest.json: is damaged" in problems[0]
    assert version.folder.exists()


def test_an_empty_folder_has_nothing_to_remove(tmp_path):
    assert purge.purge(Store(tmp_path / "none"), remove=True) == ([], [])


def test_on_an_object_store_unfinished_work_is_left_alone(tmp_path):
    store = filled(Store(f"memory://{tmp_path.name}"))
    left = store.leftovers("goods/item_texts")
    removed, problems = purge.purge(store, remove=True)
    assert problems == []
    assert {one.what for one in removed} == {
        "the previous version",
        "2 rejected rows of the catalog",
    }
    assert store.leftovers("goods/item_texts") == left
    assert store.require("goods/item_texts").rows == 6
    assert store.current("goods/item_texts_rejected") is None
