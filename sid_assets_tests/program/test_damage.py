"""Damaged files in a data folder: one run repairs them, or an error names the file."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from sid_assets.settings import Settings
from sid_assets_tests.graph import (
    failed_checks,
    failure_message,
    materialize,
    settings_for,
    table,
    write_catalog,
    write_frame,
    write_interactions,
)

TABLES = ("item_texts", "item_embeddings", "codes", "pid2sid", "sid2pid", "video_rec_dataset")


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything made; each test copies it."""
    folder = tmp_path_factory.mktemp("made")
    frame = write_catalog(folder / "catalog.parquet")
    write_interactions(folder / "interactions.parquet", frame.pid)
    result = materialize(_settings(folder))
    assert result.success, failure_message(result)
    return folder


@pytest.fixture
def settings(_made: Path, tmp_path: Path) -> Settings:
    """The data of the folder, and its catalog with one new text."""
    shutil.copytree(_made, tmp_path / "copy", symlinks=True)
    frame = pd.read_parquet(_made / "catalog.parquet")
    frame.loc[3, "title"] = "another title"
    write_frame(tmp_path / "copy" / "catalog.parquet", frame)
    return _settings(tmp_path / "copy")


def _settings(folder: Path) -> Settings:
    return settings_for(folder, interactions=str(folder / "interactions.parquet"))


def _damage(settings: Settings, name: str) -> None:
    path = Path(settings.store().require(name).paths[0].path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    content[-1] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damaged", [["item_embeddings"], ["codes", "pid2sid"], TABLES], ids=" ".join
)
def test_one_run_repairs_damaged_tables(settings, damaged):
    published = table(settings, "pid2sid").set_index("pid").sid
    for name in damaged:
        _damage(settings, name)
    result = materialize(settings)
    assert result.success, failure_message(result)
    assert failed_checks(result) == set()
    now = table(settings, "pid2sid").set_index("pid").sid
    pd.testing.assert_series_equal(published.drop(4), now.drop(4))
