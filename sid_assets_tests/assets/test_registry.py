"""The registry in the graph: what stays, what comes back, what is refused, and what is told."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from sid_assets.settings import Refresh, Settings
from sid_assets_tests.graph import (
    failed_checks,
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    table,
    write_catalog,
    write_frame,
)

TABLES = (
    *("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes"),
    *("sid_registry", "sid_moves", "sid_refreshes", "pid2sid"),
)
UP_TO_REGISTRY = TABLES[:5]
ITEMS = 40


def _settings(folder: Path, **values: str) -> Settings:
    return settings_for(folder, codebook_size="2", max_changed_share="1", **values)


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with published SIDs; each test copies it."""
    folder = tmp_path_factory.mktemp("made")
    write_catalog(folder / "catalog.parquet", items=ITEMS)
    result = materialize(_settings(folder), *TABLES, checks=True)
    assert result.success, failure_message(result)
    assert failed_checks(result) == set()
    return folder


@pytest.fixture
def folder(_made: Path, tmp_path: Path) -> Path:
    shutil.copytree(_made, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def _sids(settings: Settings) -> dict[int, list[int]]:
    frame = table(settings, "pid2sid")
    return {pid: sid.tolist() for pid, sid in zip(frame.pid, frame.sid, strict=True)}


def _refresh(settings: Settings, *tables: str, checks: bool = False, **refresh: bool):
    result = materialize(settings, *(tables or TABLES), refresh=Refresh(**refresh), checks=checks)
    assert result.success, failure_message(result)
    return result


def test_removed_and_changed_items_find_their_sids_again(folder):
    settings = _settings(folder)
    published = _sids(settings)
    whole = pd.read_parquet(folder / "catalog.parquet")
    changed = whole.copy()
    changed.loc[changed.pid == 7, ["title", "description"]] = "something else"
    write_frame(folder / "catalog.parquet", changed[changed.pid > 3].sample(frac=1))
    result = _refresh(settings, checks=True)
    assert failed_checks(result) == set()
    counts = metadata_of(result, "sid_registry")
    assert [counts[name] for name in ("items", "new", "changed", "removed")] == [ITEMS - 3, 0, 1, 3]
    kept = _sids(settings)
    assert all(kept[pid] == published[pid] for pid in kept if pid != 7)
    write_frame(folder / "catalog.parquet", whole)
    counts = metadata_of(_refresh(settings), "sid_registry")
    assert [counts[name] for name in ("new", "changed", "returned")] == [0, 1, 3]
    assert _sids(settings) == published
    history = table(settings, "sid_refreshes")
    assert history[["items", "new", "removed", "returned"]].to_numpy().tolist() == [
        *[[ITEMS, ITEMS, 0, 0], [ITEMS - 3, 0, 3, 0], [ITEMS, 0, 0, 3]]
    ]


def test_a_run_that_stops_after_the_registry_is_made_up_for_by_the_next(folder):
    settings = _settings(folder)
    write_catalog(folder / "catalog.parquet", items=ITEMS + 5)
    _refresh(settings, *UP_TO_REGISTRY)
    before = settings.store().require("sid_registry")
    assert len(_sids(settings)) == ITEMS
    again = _refresh(settings, checks=True)
    assert failed_checks(again) == set()
    assert settings.store().require("sid_registry").provenance.version == before.provenance.version
    assert len(_sids(settings)) == ITEMS + 5
    assert table(settings, "sid_refreshes").new.tolist() == [ITEMS, 5, 0]


def test_every_item_has_a_sid_of_its_own_if_collisions_are_resolved(tmp_path, capsys):
    write_catalog(tmp_path / "catalog.parquet", items=ITEMS)
    settings = settings_for(tmp_path, codebook_size="6", max_items_per_sid="1")
    result = _refresh(settings, checks=True)
    assert failed_checks(result) == set()
    sids = table(settings, "pid2sid").sid.map(tuple)
    assert sids.is_unique
    codes = table(settings, "codes").codes.map(tuple)
    moves = table(settings, "sid_moves")
    assert len(moves) == (sids != codes).sum() == metadata_of(result, "sid_registry")["resolved"]
    assert metadata_of(result, "sid_moves")["items_moved"] == len(moves)
    shared = (codes.value_counts() > 1).sum()
    assert shared
    cost = (
        f"{len(moves)} of them since this refresh; this adds {moves.extra_error.mean():.4f} to "
        "their relative reconstruction error on average; SIDs of more than one item: "
        f"{shared} before resolving -> 0 after."
    )
    assert cost in capsys.readouterr().err
    _refresh(settings)
    assert cost.replace(f"{len(moves)} of", "0 of") in capsys.readouterr().err


def test_published_sids_that_collide_stay_if_resolving_is_switched_on(folder):
    published = _sids(_settings(folder))
    result = _refresh(_settings(folder, max_items_per_sid="1"), checks=True)
    assert failed_checks(result) == {"sid_registry:room"}
    assert metadata_of(result, "sid_registry")["over"] == ITEMS - len(
        {*map(tuple, published.values())}
    )
    assert _sids(_settings(folder)) == published


def test_no_room_is_refused_with_what_to_do_or_shared(tmp_path):
    write_catalog(tmp_path / "catalog.parquet", items=ITEMS)
    values = {"codebook_size": "2", "max_items_per_sid": "1"}
    result = materialize(settings_for(tmp_path, **values), *TABLES)
    assert not result.success
    message = failure_message(result)
    assert "SID_MAX_ITEMS_PER_SID=1: " in message
    assert "SID_NO_ROOM=share" in message
    assert not (tmp_path / "data" / "sid_registry.parquet").exists()
    result = _refresh(settings_for(tmp_path, **values, no_room="share"), checks=True)
    assert failed_checks(result) == {"sid_registry:room"}
    assert metadata_of(result, "sid_registry")["distinct_sids"] == 8


def test_another_template_is_refused_unless_a_new_generation_is_asked_for(folder):
    settings = _settings(folder)
    published = _sids(settings)
    other = _settings(folder, text_template="{title}")
    for _ in range(2):  # the texts so far were not replaced
        result = materialize(other, *TABLES, refresh=Refresh(allow_large_change=True))
        assert not result.success
        message = failure_message(result)
        assert "SID_TEXT_TEMPLATE: " in message
        assert "new_generation" in message
    result = materialize(_settings(folder, text_rules="1"), *TABLES)
    assert "SID_TEXT_RULES: 2 -> 1" in failure_message(result)
    result = _refresh(other, checks=True, new_generation=True)
    assert failed_checks(result) == set()
    registry = table(other, "sid_registry")
    assert registry.generation.value_counts().tolist() == [ITEMS, ITEMS]
    assert _sids(other) != published


def test_a_damaged_registry_is_never_made_again(folder):
    settings = _settings(folder)
    store = settings.store()
    manifest = store.require("sid_registry").folder / "_manifest.json"
    content = manifest.read_text()
    manifest.write_text("{}")
    result = materialize(settings, *TABLES)
    assert not result.success
    assert "Only it knows the SIDs that are published" in failure_message(result)
    manifest.write_text(content)
    path = Path(store.require("sid_registry").paths[0].path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + bytes(40))
    result = materialize(settings, *TABLES)
    assert "Only it knows the SIDs that are published" in failure_message(result)
    path.write_bytes(whole)
    shutil.rmtree(folder / "data" / ".versions" / "sid_registry")
    (folder / "data" / "sid_registry.parquet").unlink()
    result = materialize(settings, *TABLES)
    assert "sid_registry.parquet: is missing, although" in failure_message(result)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", "short", "other columns"])
def test_a_damaged_history_stops_nothing_and_begins_again(folder, content, capsys):
    settings = _settings(folder)
    published = _sids(settings)
    path = Path(settings.store().require("sid_refreshes").paths[0].path)
    if content == "other columns":
        pd.DataFrame({"at": [1]}).to_parquet(path)
    else:
        path.write_bytes(path.read_bytes()[:-60] if content == "short" else content)
    result = _refresh(settings, checks=True)
    assert failed_checks(result) == set()
    said = capsys.readouterr().err
    assert f"{path}: the history of refreshes cannot be read (" in said
    assert _sids(settings) == published
    assert len(table(settings, "sid_refreshes")) == 2  # the registry remembers the first one
    _refresh(settings)
    assert "cannot be read" not in capsys.readouterr().err
    assert len(table(settings, "sid_refreshes")) == 3


def test_a_history_with_a_damaged_manifest_stops_no_publication(folder):
    settings = _settings(folder)
    write_catalog(folder / "catalog.parquet", items=ITEMS + 5)
    history = settings.store().require("sid_refreshes").folder
    (history / "_manifest.json").write_text("{}")
    result = materialize(settings, *TABLES)
    assert f"{history}/_manifest.json: is damaged" in failure_message(result)
    assert len(_sids(settings)) == ITEMS + 5
    shutil.move(history.parent.path, folder / "moved")  # as the message says
    assert failed_checks(_refresh(settings, checks=True)) == set()
    assert len(table(settings, "sid_refreshes")) == 3


def test_ids_of_another_type_are_refused(folder):
    result = materialize(_settings(folder, pid_type="string"), *TABLES)
    assert not result.success
    result = materialize(
        _settings(folder, pid_type="string"), *TABLES, refresh=Refresh(new_generation=True)
    )
    assert "Set SID_PID_TYPE=int to read them as before" in failure_message(result)
