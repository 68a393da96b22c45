"""The checks as Dagster runs them: a tampered file fails its check, and what follows is stopped."""

import dagster as dg
import pyarrow.parquet as pq
import pytest

from sid_assets.checks import WARNINGS
from sid_assets.definitions import defs
from sid_assets.io_managers import ParquetIOManager
from sid_assets.settings import Refresh
from sid_assets_tests.graph import (
    GRAPH,
    failed_checks,
    materialize,
    settings_for,
    write_catalog,
    write_interactions,
)


@pytest.fixture
def settings(tmp_path):
    frame = write_catalog(tmp_path / "catalog.parquet")
    write_interactions(tmp_path / "interactions.parquet", frame.pid)
    made = settings_for(tmp_path, interactions=str(tmp_path / "interactions.parquet"))
    assert materialize(made).success
    return made


def _check(settings, table: str) -> dg.ExecuteInProcessResult:
    """Run the checks of a table alone."""
    return dg.materialize(
        [*defs.assets, *defs.asset_checks],
        selection=dg.AssetSelection.checks_for_assets(dg.AssetKey(table)),
        resources={
            "settings": settings,
            "refresh": Refresh(),
            "io_manager": ParquetIOManager(settings=settings),
        },
        raise_on_error=False,
    )


def _tamper(settings, table: str) -> None:
    """Write the first file of a table anew, with its first row left out."""
    path = settings.store().require(table).paths[0].path
    pq.write_table(pq.read_table(path).slice(1), path)


@pytest.mark.parametrize("table", ["item_texts", "item_embeddings", "codes", "pid2sid"])
def test_a_tampered_file_fails_its_checks(settings, table):
    assert _check(settings, table).success
    _tamper(settings, table)
    result = _check(settings, table)
    assert not result.success
    assert f"{table}:files" in failed_checks(result)


def test_a_tampered_training_set_fails_its_checks(settings):
    _tamper(settings, "video_rec_dataset")
    assert not _check(settings, "video_rec_dataset").success


def test_a_tampered_tokenizer_fails_its_checks(settings):
    path = settings.store().require("tokenizer_checkpoint", ".pt").paths[0].path
    with open(path, "r+b") as file:  # noqa: PTH123 - a plain path string
        file.truncate(1000)
    assert not _check(settings, "tokenizer_checkpoint").success


def test_all_checks_but_the_warnings_block():
    for key in GRAPH.asset_check_keys:
        spec = GRAPH.get_check_spec(key)
        warns = key.name in WARNINGS | {"collisions", "utilisation", "reconstruction"}
        assert spec.blocking != warns, key
