"""Runs with `new_generation`, also repeated ones: when a generation begins, and when none does."""

import shutil
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from sid_assets.core.store.versions import Version
from sid_assets.definitions import definitions
from sid_assets.settings import Refresh, Settings
from sid_assets_tests.graph import (
    assets_and_checks,
    failed_checks,
    failure_message,
    settings_for,
    table,
    write_catalog,
    write_frame,
)

TOKENIZER = ("item_texts", "item_embeddings", "tokenizer_checkpoint")
OF_A_DOMAIN = ("item_texts", "item_embeddings", "codes", "sid_registry", "sid_moves", "pid2sid")
ITEMS = (*TOKENIZER, *OF_A_DOMAIN[2:])
GOODS = tuple(f"goods/{name}" for name in OF_A_DOMAIN)
NEW, NO = Refresh(new_generation=True), Refresh()


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_catalog(folder / "catalog.parquet", items=40)
    write_catalog(folder / "goods.parquet", items=20, seed=7)
    run(both(folder), *ITEMS, *GOODS, refresh=NO, checks=False)
    frame = write_catalog(folder / "more.parquet", items=50, seed=3)
    old = pd.read_parquet(folder / "catalog.parquet")
    write_frame(folder / "catalog.parquet", pd.concat([old, frame[frame.pid > 40]]))
    return folder


@pytest.fixture
def folder(_made: Path, tmp_path: Path) -> Path:
    """Items and goods that are published, and a catalog with other items since then."""
    return shutil.copytree(_made, tmp_path / "copy", symlinks=True)


@pytest.fixture(scope="module")
def _published(_made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "copy"
    shutil.copytree(_made, folder, symlinks=True)
    run(both(folder), *ITEMS, *GOODS)
    return folder


@pytest.fixture
def published(_published: Path, tmp_path: Path) -> Path:
    """The same, after a new generation of all of them."""
    return shutil.copytree(_published, tmp_path / "copy", symlinks=True)


def both(folder: Path, **values: str) -> Settings:
    values = {"goods_catalog": str(folder / "goods.parquet"), **values}
    return settings_for(folder, codebook_size="4", max_changed_share="1", **values)


def materialize(
    settings: Settings, *tables: str, refresh: Refresh = NO, checks: bool = True
) -> dg.ExecuteInProcessResult:
    """Materialise tables of the graph with goods, and their checks."""
    defs = definitions(settings)
    return dg.materialize(
        [part for part in assets_and_checks(defs) if checks or part.keys],
        selection=dg.AssetSelection.assets(*(dg.AssetKey(name.split("/")) for name in tables)),
        resources={**(defs.resources or {}), "refresh": refresh},
        raise_on_error=False,
    )


def run(settings: Settings, *tables: str, refresh: Refresh = NEW, checks: bool = True) -> None:
    result = materialize(settings, *tables, refresh=refresh, checks=checks)
    assert result.success, failure_message(result)
    assert not checks or failed_checks(result) == set()


def generation(settings: Settings, name: str = "sid_registry") -> str:
    return settings.store().require(name).provenance.generation


def tokenizer(settings: Settings) -> Version:
    return settings.store().require("tokenizer_checkpoint")


def sids(settings: Settings, name: str = "pid2sid") -> dict[int, tuple[int, ...]]:
    frame = table(settings, name)
    return {pid: tuple(sid) for pid, sid in zip(frame.pid, frame.sid, strict=True)}


def test_a_run_that_died_after_training_goes_on_with_its_tokenizer(folder, capsys):
    settings, published = both(folder), sids(both(folder))
    run(settings, *TOKENIZER, checks=False)
    trained = tokenizer(settings)
    # Meanwhile the catalog has another item, so that training again would give other centroids.
    frame = pd.read_parquet(folder / "catalog.parquet")
    more = write_catalog(folder / "more.parquet", items=1, seed=9, pids=[99])
    write_frame(folder / "catalog.parquet", pd.concat([frame, more]))
    run(settings, *ITEMS, *GOODS)
    assert tokenizer(settings) == trained
    assert sids(settings) != published
    for name in ("sid_registry", "goods/sid_registry"):
        assert settings.store().require(name).provenance.tokenizer == trained.provenance.tokenizer
    assert "is not published by sid_registry and goods/sid_registry." in capsys.readouterr().err


def test_fixed_texts_or_another_seed_are_not_waited_for(folder):
    run(both(folder), *TOKENIZER, checks=False)
    trained = tokenizer(both(folder)).provenance.tokenizer
    other = both(folder, text_template="{title}")
    run(other, *TOKENIZER, checks=False)
    assert (again := tokenizer(other).provenance.tokenizer) != trained
    run(both(folder, text_template="{title}", seed="5"), *TOKENIZER, checks=False)
    assert tokenizer(other).provenance.tokenizer != again


@pytest.mark.parametrize("killed", ["before goods", "before goods/pid2sid", "before pid2sid"])
def test_a_repeated_run_goes_on_with_the_generation_that_is_not_finished(folder, killed):
    settings = both(folder)
    first = {
        "before goods": ITEMS,
        "before goods/pid2sid": (*ITEMS, *GOODS[:-1]),
        "before pid2sid": (*ITEMS[:-1], *GOODS),
    }[killed]
    run(settings, *first, checks=False)
    trained, begun = tokenizer(settings), generation(settings)
    published = table(settings, "sid_registry")
    run(settings, *ITEMS, *GOODS)
    assert (tokenizer(settings), generation(settings)) == (trained, begun)
    pd.testing.assert_frame_equal(table(settings, "sid_registry"), published)
    goods = settings.store().require("goods/sid_registry").provenance
    assert goods.tokenizer == trained.provenance.tokenizer
    assert generation(settings, "pid2sid") == begun
    assert generation(settings, "goods/pid2sid") == goods.generation
    # Once it is finished, a run without the permission keeps everything.
    run(settings, *ITEMS, *GOODS, refresh=NO)
    assert generation(settings) == begun


def test_goods_that_lag_are_refused_and_follow_without_moving_items(folder):
    settings = both(folder)
    run(settings, *ITEMS, checks=False)
    published = sids(settings)
    result = materialize(settings, *GOODS)
    message = failure_message(result)
    assert "sid_registry has published SIDs of the new tokenizer already" in message
    assert "moves the SIDs of this catalog, and those in sid_registry stay" in message
    begun = generation(settings)
    run(settings, *GOODS, *ITEMS)
    assert (generation(settings), sids(settings)) == (begun, published)


def test_a_generation_after_a_published_one_keeps_the_tokenizer_if_nothing_changed(
    published, capsys
):
    settings = both(published)
    before = {name: generation(settings, name) for name in ("sid_registry", "goods/sid_registry")}
    trained, items, goods = tokenizer(settings), sids(settings), sids(settings, "goods/pid2sid")
    run(settings, *ITEMS, *GOODS)
    assert "kept in the new generation, because it was trained on these" in capsys.readouterr().err
    assert tokenizer(settings).provenance == trained.provenance
    for name, earlier in before.items():
        assert generation(settings, name) != earlier
    assert (sids(settings), sids(settings, "goods/pid2sid")) == (items, goods)
    # This generation can be killed between the domains, too.
    run(settings, *ITEMS, checks=False)
    begun = generation(settings)
    run(settings, *ITEMS, *GOODS)
    assert generation(settings) == begun
    assert sids(settings) == items


def test_other_vectors_train_a_tokenizer_in_the_next_generation(published):
    settings = both(published)
    trained = tokenizer(settings).provenance.tokenizer
    more = write_catalog(published / "more.parquet", items=12, seed=11, pids=range(101, 113))
    frame = pd.read_parquet(published / "catalog.parquet")
    write_frame(published / "catalog.parquet", pd.concat([frame, more]))
    run(settings, *ITEMS, *GOODS)
    assert tokenizer(settings).provenance.tokenizer != trained


def test_the_registry_alone_begins_no_generation_and_says_so(published, capsys):
    settings = both(published)
    begun = generation(settings)
    run(settings, "sid_registry")
    assert generation(settings) == begun
    assert f"stays in generation {begun}" in capsys.readouterr().err
