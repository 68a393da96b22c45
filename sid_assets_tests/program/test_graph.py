"""The graph from a catalog to training data, and what a refresh leaves unchanged."""

import numpy as np
import pandas as pd
import pytest

from sid_assets.settings import Refresh
from sid_assets_tests.films import STAGES
from sid_assets_tests.graph import (
    failed_checks,
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    settings_with_interactions,
    table,
    write_catalog,
    write_frame,
    write_interactions,
)

WARNINGS = {"sid_quality:collisions", "sid_quality:reconstruction"}
"""Checks that may warn on a catalog of sixty items."""


@pytest.fixture
def folder(tmp_path):
    write_catalog(tmp_path / "catalog.parquet")
    return tmp_path


def test_a_catalog_and_interactions_become_semantic_ids_and_training_data(made):
    folder, result = made
    settings = settings_with_interactions(folder)
    assert result.success, failure_message(result)
    assert failed_checks(result) <= WARNINGS
    sids = table(settings, "pid2sid")
    assert sids.pid.tolist() == list(range(1, 61))
    assert all(len(sid) == 3 and max(sid) < 8 for sid in sids.sid)
    rows = table(settings, "video_rec_dataset")
    assert len(rows) == 19
    assert set(rows.columns) == {"source", "uuid", "segments", "metadata"}


def test_a_catalog_alone_is_enough(folder):
    settings = settings_for(folder)
    result = materialize(settings)
    assert result.success, failure_message(result)
    assert len(table(settings, "pid2sid")) == 60
    assert not (folder / "data" / "video_rec_dataset.parquet").exists()


def test_a_data_set_that_can_no_longer_be_made_is_marked_stale(made_folder):
    listed = made_folder / "data" / "pretrain_file_list.json"
    assert "video_rec_dataset" in listed.read_text()
    result = materialize(settings_for(made_folder))
    assert result.success, failure_message(result)
    stale = [
        event.asset_observation_data.asset_observation
        for event in result.all_events
        if event.event_type_value == "ASSET_OBSERVATION"
    ]
    assert "video_rec_dataset" in {found.asset_key.to_user_string() for found in stale}
    assert all("stale_since" in found.metadata for found in stale)
    assert "video_rec_dataset" not in listed.read_text()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_csv_and_json_lines_give_the_same_sids_as_parquet(folder, ending):
    frame = pd.read_parquet(folder / "catalog.parquet")
    write_frame(folder / f"catalog.{ending}", frame)
    sids = []
    for name in ("catalog.parquet", f"catalog.{ending}"):
        settings = settings_for(folder, catalog=str(folder / name), data_dir=str(folder / name[8:]))
        assert materialize(settings, "item_texts", "item_embeddings").success
        sids.append(table(settings, "item_embeddings"))
    assert sids[0].pid.tolist() == sids[1].pid.tolist()
    assert sids[0].vector_hash.tolist() == sids[1].vector_hash.tolist()


def test_string_ids_stay_strings_to_the_end(tmp_path):
    pids = [f"{number:03d}" for number in range(60)]
    write_catalog(tmp_path / "catalog.parquet", pids=pids)
    write_interactions(tmp_path / "interactions.parquet", pids)
    settings = settings_with_interactions(tmp_path)
    result = materialize(settings, *STAGES, "pid_map", "video_rec_dataset")
    assert result.success, failure_message(result)
    assert table(settings, "pid2sid").pid.tolist() == pids
    assert table(settings, "pid_map").number.tolist() == list(range(1, 61))
    assert len(table(settings, "video_rec_dataset")) == 19


def test_a_second_run_reuses_everything_and_changes_nothing(made_folder):
    settings = settings_with_interactions(made_folder)
    before = {name: table(settings, name) for name in ("codes", "pid2sid", "video_rec_dataset")}
    result = materialize(settings)
    assert result.success, failure_message(result)
    for name, frame in before.items():
        pd.testing.assert_frame_equal(frame, table(settings, name))
    metadata = metadata_of(result, "item_embeddings")
    assert metadata["items_embedded"] == 0
    assert metadata_of(result, "codes")["items_quantised"] == 0
    assert metadata_of(result, "tokenizer_checkpoint")["kept"]


def test_added_changed_and_removed_items_leave_the_sids_of_the_others_unchanged(made_folder):
    settings = settings_with_interactions(made_folder)
    before = table(settings, "pid2sid").set_index("pid").sid
    frame = pd.read_parquet(made_folder / "catalog.parquet")
    frame.loc[frame.pid <= 5, "title"] = "an altogether different title"
    frame = pd.concat([frame[frame.pid <= 55], frame.assign(pid=frame.pid + 1000)[:5]])
    write_frame(made_folder / "catalog.parquet", frame.sample(frac=1, random_state=0))
    result = materialize(settings, *STAGES, checks=True)
    assert result.success, failure_message(result)
    after = table(settings, "pid2sid").set_index("pid").sid
    assert sorted(after.index) == [*range(1, 56), *range(1001, 1006)]
    for pid in range(6, 56):
        assert np.array_equal(before[pid], after[pid])
    metadata = metadata_of(result, "item_embeddings")
    counts = {name: metadata[f"items_{name}"] for name in ("new", "changed", "removed")}
    assert counts == {"new": 5, "changed": 5, "removed": 5}
    assert "sid_registry:unmoved" not in failed_checks(result)


@pytest.mark.parametrize("tag", ["dagster/schedule_name", "dagster/sensor_name"])
def test_no_schedule_and_no_sensor_starts_a_new_generation(folder, tag):
    result = materialize(
        settings_for(folder), refresh=Refresh(new_generation=True), tags={tag: "refresh"}
    )
    assert not result.success
    assert "by hand" in failure_message(result)


def test_a_truncated_catalog_stops_the_refresh_unless_allowed(made_folder):
    settings = settings_with_interactions(made_folder)
    frame = pd.read_parquet(made_folder / "catalog.parquet")
    write_frame(made_folder / "catalog.parquet", frame[:30])
    result = materialize(settings, *STAGES)
    assert not result.success
    assert "50%" in failure_message(result)
    assert len(table(settings, "item_embeddings")) == 60
    assert materialize(settings, *STAGES, refresh=Refresh(allow_large_change=True)).success
    assert len(table(settings, "pid2sid")) == 30
