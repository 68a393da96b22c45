"""The files to train on: those listed are there, and are those of today's SIDs and inputs."""

import json
from pathlib import Path

import pandas as pd
import pytest
from upath import UPath

from sid_assets.settings import Settings
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    settings_for,
    write_catalog,
    write_frame,
    write_interactions,
)


def listed(settings: Settings) -> list[str]:
    """What `pretrain_file_list.json` names; each file is there."""
    root = settings.store().root
    paths = json.loads((root / "pretrain_file_list.json").read_text())
    assert all(UPath(path).exists() for path in paths)
    return paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalog, interactions with it and captions."""
    frame = write_catalog(tmp_path / "catalog.parquet")
    write_interactions(tmp_path / "interactions.parquet", frame.pid.tolist())
    captions = pd.DataFrame({"pid": frame.pid, "dense_caption": "A caption."})
    write_frame(tmp_path / "captions.parquet", captions)
    return tmp_path


def settings_of(folder: Path, **others: str) -> Settings:
    captions = str(folder / "captions.parquet")
    interactions = str(folder / "interactions.parquet")
    return settings_for(folder, captions=captions, **{"interactions": interactions, **others})


def test_files_on_an_object_store_are_listed_where_they_are(folder):
    settings = settings_of(folder, data_dir=f"memory://{folder.name}")
    result = materialize(settings)
    assert result.success, failure_message(result)
    assert len(listed(settings)) == 2


def test_what_was_made_before_a_failure_is_listed_and_what_failed_is_not(folder):
    settings = settings_of(folder)
    assert materialize(settings).success
    assert len(listed(settings)) == 2
    frame = pd.read_parquet(folder / "interactions.parquet")
    write_frame(folder / "interactions.parquet", frame[:10])
    captions = pd.DataFrame({"pid": range(1, 61), "dense_caption": 7})
    write_frame(folder / "captions.parquet", captions)
    assert not materialize(settings).success
    assert [Path(path).parent.name for path in listed(settings)] == ["video_rec_dataset.parquet"]


def test_a_data_set_that_makes_no_row_anymore_is_not_listed(folder):
    settings = settings_of(folder)
    assert materialize(settings).success
    write_interactions(folder / "interactions.parquet", range(5000, 5010))
    result = materialize(settings)
    assert not result.success
    assert "video_rec_dataset" not in str(listed(settings))


def test_a_data_set_whose_input_is_gone_is_not_listed_by_a_run_of_another(folder):
    assert materialize(settings_of(folder)).success
    settings = settings_of(folder, interactions="")
    assert materialize(settings, "item_understand_dataset").success
    assert [Path(p).parent.name for p in listed(settings)] == ["item_understand_dataset.parquet"]
