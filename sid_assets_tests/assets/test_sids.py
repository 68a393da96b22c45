"""The way back from a SID in the graph, and shuffled training data."""

import json
from pathlib import Path

import pandas as pd
import pytest

from sid_assets.core.errors import StoreError
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.purge import purge
from sid_assets_tests.films import STAGES
from sid_assets_tests.graph import (
    failed_checks,
    failure_message,
    materialize,
    settings_for,
    settings_with_interactions,
    table,
    write_catalog,
    write_frame,
    write_interactions,
)


def test_the_shuffled_rows_of_a_phase_are_what_the_loader_gets(made_folder):
    settings, orders = settings_with_interactions(made_folder), []
    for seed in ("0", "0", "1"):
        mixed = settings_with_interactions(made_folder, shuffle="true", seed=seed)
        result = materialize(mixed, "sft_video_rec_dataset", "video_rec_dataset")
        assert result.success, failure_message(result)
        listed = json.loads(Path(settings.data_dir, "pretrain_file_list.json").read_text())
        assert all("pretrain_shuffled.parquet" in path for path in listed)
        orders.append(pd.concat(map(pd.read_parquet, listed)))
    plain = table(settings, "video_rec_dataset")
    first, again, other = (list(rows.segments) for rows in orders)
    assert sorted(first) == sorted(plain.segments)
    assert first == again
    assert first != list(plain.segments)
    assert first != other


def test_shuffled_rows_are_withdrawn_when_they_are_no_longer_made(made_folder):
    mixed = settings_with_interactions(made_folder, shuffle="true")
    assert materialize(mixed, "sft_video_rec_dataset", "video_rec_dataset").success
    visible = made_folder / "data" / "pretrain_shuffled.parquet"
    assert visible.exists()
    settings = settings_with_interactions(made_folder)
    assert materialize(settings, "video_rec_dataset").success
    assert not visible.is_symlink()
    assert (made_folder / "data" / "sft_shuffled.parquet").exists()
    listed = json.loads((made_folder / "data" / "pretrain_file_list.json").read_text())
    assert listed
    assert all("video_rec_dataset.parquet" in path for path in listed)
    assert all(Path(path).exists() for path in listed)
    assert any(one.table == "pretrain_shuffled" for one in purge(settings.store(), True)[0])
    assert materialize(mixed, "video_rec_dataset").success
    assert visible.exists()


def test_string_ids_and_a_catalog_alone_have_a_reverse_index_too(tmp_path):
    write_catalog(tmp_path / "catalog.parquet", pids=[f"ä{number:03d}" for number in range(60)])
    settings = settings_for(tmp_path)
    result = materialize(settings, *STAGES, checks=True)
    assert result.success, failure_message(result)
    assert not {name for name in failed_checks(result) if "sid_quality" not in name}
    rows = table(settings, "sid2pid")
    assert sorted(rows.pids.explode()) == [f"ä{number:03d}" for number in range(60)]
    assert set(rows.counts.explode()) == {0}


def test_interactions_whose_ids_are_of_another_type_are_refused(made_folder):
    write_interactions(made_folder / "interactions.parquet", ["a", "b", "c"])
    result = materialize(settings_with_interactions(made_folder), "sid2pid")
    assert not result.success
    assert "SID_PID_TYPE" in failure_message(result)
    assert materialize(settings_for(made_folder), "sid2pid").success  # nothing is left locked


@pytest.mark.parametrize("where", ["local", "memory"])
def test_the_json_of_sid2pid_changes_with_the_table(folder, monkeypatch, where):
    """A run that is stopped before the commit leaves both as they were."""
    root = str(folder / "data") if where == "local" else f"memory://{folder.name}"
    settings = settings_for(folder, data_dir=root)
    assert materialize(settings, *STAGES).success
    path = settings.store().root / "sid2pid.json"
    before = path.read_text()
    frame = pd.read_parquet(folder / "catalog.parquet")[1:]
    write_frame(folder / "catalog.parquet", frame)
    commit = Store.commit

    def stopped(store: Store, draft: Draft) -> Version:
        if draft.table == "sid2pid":
            raise StoreError("stopped here")
        return commit(store, draft)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", stopped)
        assert not materialize(settings, *STAGES).success
    assert path.read_text() == before
    assert materialize(settings, *STAGES).success
    assert sum(map(len, json.loads(path.read_text()).values())) == 59


def test_the_json_of_a_folder_of_the_version_before_is_replaced(made_folder):
    """There it is a file, not a link."""
    settings = settings_with_interactions(made_folder)
    path = made_folder / "data" / "sid2pid.json"
    content = path.read_text()
    path.unlink()
    path.write_text("{}")
    assert materialize(settings, "sid2pid").success
    assert path.read_text() == content
