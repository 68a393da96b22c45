"""Damaged files in a data folder: one run repairs them, or an error names the file."""

from pathlib import Path

import pandas as pd
import pytest

from sid_assets.settings import Settings
from sid_assets_tests.films import STAGES
from sid_assets_tests.graph import (
    failed_checks,
    failure_message,
    materialize,
    settings_with_interactions,
    table,
    write_frame,
)

TABLES = ("item_texts", "item_embeddings", "codes", "pid2sid", "sid2pid", "video_rec_dataset")


@pytest.fixture
def settings(made_folder: Path) -> Settings:
    """The data of a folder, and its catalog with one new text."""
    frame = pd.read_parquet(made_folder / "catalog.parquet")
    frame.loc[3, "title"] = "another title"
    write_frame(made_folder / "catalog.parquet", frame)
    return settings_with_interactions(made_folder)


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
    result = materialize(settings, *STAGES, "video_rec_dataset", checks=True)
    assert result.success, failure_message(result)
    assert failed_checks(result) == set()
    now = table(settings, "pid2sid").set_index("pid").sid
    pd.testing.assert_series_equal(published.drop(4), now.drop(4))
