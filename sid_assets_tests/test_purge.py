"""`python -m sid_assets.purge` lists what can be removed, and removes nothing that is in use."""

import datetime as dt
import json
import re
import shutil
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
from sid_assets.core.probe.run import RUNS
from sid_assets.core.store import lease
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.sharing import PartSharer
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets.settings import Settings
from sid_assets_tests.core.drawn_vectors import (
    FakeEmbedder,
    commit_texts,
    embed,
    expected_vectors,
    item_texts,
    vectors_by_pid,
)
from sid_assets_tests.graph import (
    failed_checks,
    materialize,
    settings_for,
    table,
    write_catalog,
    write_frame,
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
            sharer = PartSharer(second, left.folder)
            sharer.share(second.parts[0], "part-0.parquet", print)
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


def test_kept_runs_of_the_probe_are_removed(store, capsys):
    (store.root / RUNS / "a").mkdir(parents=True)
    (store.root / RUNS / "a" / "run.safetensors").write_bytes(b"x" * 500)
    listed, _ = purge.purge(store, remove=False)
    assert [one.bytes for one in listed if one.folder == store.root / RUNS] == [500]
    assert purge.main(["--yes"]) == 0
    assert "the runs that a probe kept" in capsys.readouterr().out
    assert not (store.root / RUNS).exists()


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


def test_unfinished_work_in_a_bucket_is_removed_under_the_write_lock(bucket, monkeypatch):
    monkeypatch.setattr(lease, "TERMS", lease.Terms(renewal=0.2, look=0.2))
    store = filled(Store(f"{bucket}/data"))
    with store.draft("goods/item_texts"):
        _, (problem,) = purge.purge(store, remove=True)
    assert "another run is writing it" in problem
    assert store.leftovers("goods/item_texts")
    _, problems = purge.purge(store, remove=True)
    assert problems == []
    assert store.leftovers("goods/item_texts") == []
    assert store.require("goods/item_texts").rows == 6


def test_on_a_store_without_conditional_writes_unfinished_work_is_left_alone(tmp_path):
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


TABLES = (
    *("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes"),
    *("sid_registry", "sid_refreshes", "pid2sid"),
)
TOMORROW = (dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).date().isoformat()


@pytest.fixture(scope="module")
def _delisted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with SIDs of its own for each of 20 items, three of which were then removed."""
    folder = tmp_path_factory.mktemp("delisted")
    frame = write_catalog(folder / "catalog.parquet", items=20)
    settings = _one_item_per_sid(folder)
    assert materialize(settings, *TABLES).success
    write_frame(folder / "catalog.parquet", frame[frame.pid > 3])
    assert materialize(settings, *TABLES).success
    return folder


def _one_item_per_sid(folder: Path) -> Settings:
    return settings_for(folder, codebook_size="16", max_changed_share="1", max_items_per_sid="1")


@pytest.fixture
def delisted(_delisted, tmp_path, monkeypatch) -> Settings:
    shutil.copytree(_delisted, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SID_DATA_DIR", str(tmp_path / "data"))
    return _one_item_per_sid(tmp_path)


def _sids(settings: Settings) -> dict[int, tuple[int, ...]]:
    frame = table(settings, "pid2sid")
    return {pid: tuple(sid) for pid, sid in zip(frame.pid, frame.sid, strict=True)}


def test_it_lists_the_sids_that_items_have_left_and_frees_them_only_if_asked(delisted, capsys):
    store = delisted.store()
    before = files(store)
    assert purge.main(["--sids-left-before", TOMORROW]) == 0
    said = capsys.readouterr().out
    assert files(store) == before
    generation = store.require("sid_registry").provenance.generation
    assert f"generation {generation} (the current one): 3 SIDs" in said
    assert "first ids: 1, 2, 3\n" in said
    assert f"3 SIDs that items left before {TOMORROW} (UTC) can be freed" in said
    assert "Nothing was changed; pass --yes to free them." in said
    assert "models that were trained before may take the new items for the old ones" in said
    assert purge.main(["--sids-left-before", TOMORROW, "--yes"]) == 0
    assert f"Freed 3 SIDs that items left before {TOMORROW} (UTC)." in capsys.readouterr().out
    registry = table(delisted, "sid_registry")
    assert registry.pid[registry.freed_at.notna()].tolist() == [1, 2, 3]
    assert purge.main(["--sids-left-before", TOMORROW, "--yes"]) == 0
    assert f"No SID is reserved that an item left before {TOMORROW}" in capsys.readouterr().out


def test_nothing_else_is_removed(delisted):
    store = delisted.store()
    before = files(store)
    purge.main(["--sids-left-before", "2026-01-31", "--yes"])
    assert files(store) == before
    previous = store.require("item_texts").before
    purge.main(["--sids-left-before", TOMORROW, "--yes"])
    assert (store.history("item_texts") / previous).exists()


def test_the_previous_version_of_a_registry_is_kept(delisted, capsys):
    store = delisted.store()
    registry = store.require("sid_registry")
    before = store.history("sid_registry") / registry.before
    assert purge.main(["--yes"]) == 0
    said = capsys.readouterr().out
    assert f"Kept: {before}, the previous version of sid_registry" in said
    assert len(store.kept("sid_registry")) == 2
    assert [len(store.kept(table)) for table in TABLES if table != "sid_registry"] == [1] * 6
    assert purge.main([]) == 0
    assert "Nothing to remove in" in capsys.readouterr().out
    # It is whole: what a damaged registry's message says brings it back.
    (registry.folder / "_manifest.json").write_text("{}")
    current = Path(store.history("sid_registry").path, "current")
    current.unlink()
    current.symlink_to(before.name)
    assert store.require("sid_registry").stream().read_all().num_rows == 20


@pytest.mark.parametrize("freed", [False, True], ids=["reserved", "freed"])
def test_new_items_get_the_sids_of_removed_ones_only_after_a_purge(delisted, freed):
    folder = Path(delisted.data_dir).parent
    registry = table(delisted, "sid_registry")
    left = {tuple(sid) for sid in registry.sid[registry.left_at.notna()]}
    published = _sids(delisted)
    if freed:
        assert purge.main(["--sids-left-before", TOMORROW, "--yes"]) == 0
    before = delisted.store().require("sid_registry")
    # The same items under new ids: their codes are those of the items that were removed.
    frame = write_catalog(folder / "catalog.parquet", items=20)
    frame.loc[frame.pid <= 3, "pid"] += 100
    write_frame(folder / "catalog.parquet", frame)
    result = materialize(delisted, *TABLES, checks=True)
    assert result.success
    assert failed_checks(result) == set()
    sids = _sids(delisted)
    assert {pid: sids[pid] for pid in published} == published
    assert ({sids[pid] for pid in (101, 102, 103)} == left) == freed
    assert len(set(sids.values())) == 20
    assert delisted.store().require("sid_registry").previous() == before


def test_a_refresh_after_a_purge_changes_nothing_by_itself(delisted):
    assert purge.main(["--sids-left-before", TOMORROW, "--yes"]) == 0
    registry, published = delisted.store().require("sid_registry"), _sids(delisted)
    result = materialize(delisted, *TABLES, checks=True)
    assert result.success
    assert failed_checks(result) == set()
    now = delisted.store().require("sid_registry")
    assert now.provenance.version == registry.provenance.version
    assert _sids(delisted) == published


def test_the_sids_of_a_registry_that_a_run_is_writing_are_left_alone(delisted, capsys):
    with delisted.store().draft("sid_registry"):
        assert purge.main(["--sids-left-before", TOMORROW, "--yes"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Left alone: ")
    assert table(delisted, "sid_registry").freed_at.isna().all()


@pytest.mark.parametrize("date", ["2999-01-01", "2026-13-01", "yesterday"])
def test_a_date_that_cannot_be_meant_is_refused(delisted, date, capsys):
    assert purge.main(["--sids-left-before", date, "--yes"]) in (1, 2)
    assert date in capsys.readouterr().err
    assert table(delisted, "sid_registry").freed_at.isna().all()


def test_a_folder_without_a_registry_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SID_DATA_DIR", str(tmp_path / "data"))
    assert purge.main(["--sids-left-before", "2026-01-31"]) == 1
    assert "has no sid_registry" in capsys.readouterr().err


def test_freed_sids_as_json_have_the_keys_that_the_docs_name(delisted, capsys):
    assert purge.main(["--sids-left-before", TOMORROW, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (registry,) = found["registries"]
    assert (found["freed"], registry["first_pids"], found["left_alone"]) == (False, [1, 2, 3], [])
    current = registry["current_generation"]
    assert registry["generations"] == [{"generation": current, "sids": 3}]
    page = Path(__file__).parents[1] / "docs" / "commands.md"
    (row,) = (
        line
        for line in page.read_text("utf-8").splitlines()
        if line.startswith("| `purge --sids-left-before`")
    )
    named = set(re.findall("`([a-z_]+)`", row))
    assert named == {*found, *registry, *registry["generations"][0]}
