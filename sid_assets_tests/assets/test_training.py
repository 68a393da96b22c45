"""The training data sets in the graph: which are made and listed, and what is reported."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow.parquet as pq
import pytest
from upath import UPath

from sid_assets.core.training_sets import DATA_SETS
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

PRETRAIN = ("video_rec_dataset", "user_profile_dataset", "item_understand_dataset")


@pytest.fixture(scope="module")
def _with_sids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with its SIDs, users and captions; each test copies it."""
    folder = tmp_path_factory.mktemp("sids")
    frame = write_catalog(folder / "catalog.parquet")
    captions = pd.DataFrame({"pid": frame.pid, "dense_caption": frame.title})
    write_frame(folder / "captions.parquet", captions)
    _write_users(folder, 2500)
    tables = (
        "item_texts",
        "item_embeddings",
        "tokenizer_checkpoint",
        "codes",
        "sid_registry",
        "pid2sid",
    )
    result = materialize(settings_for(folder), *tables)
    assert result.success, failure_message(result)
    return folder


@pytest.fixture
def folder(_with_sids: Path, tmp_path: Path) -> Path:
    shutil.copytree(_with_sids, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def _write_users(folder: Path, users: int) -> None:
    frame = write_interactions(folder / "interactions.parquet", range(1, 61), users)
    frame["inter_user_profile_with_sid"] = "likes stones"
    write_frame(folder / "interactions.parquet", frame)


def _settings(folder: Path, **values: str) -> Settings:
    given = {name: str(folder / f"{name}.parquet") for name in ("interactions", "captions")}
    return settings_for(folder, **given | values)


def _listed(settings: Settings, phase: str = "pretrain") -> dict[str, int]:
    """How many files of each data set are listed; each file must exist."""
    paths = json.loads(UPath(settings.data_dir, f"{phase}_file_list.json").read_text())
    assert all(UPath(path).exists() for path in paths)
    tables = [Path(name).stem for path in paths for name in path.split("/") if "_dataset" in name]
    return {name: tables.count(name) for name in dict.fromkeys(tables)}


def _run(settings: Settings, *tables: str) -> tuple[dg.ExecuteInProcessResult, set[str], str]:
    """Materialise tables: the result, the tables that it marks as stale, and its log."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(settings, *tables, instance=instance, checks=True)
        log = "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))
        stale = set()
        for name in DATA_SETS:
            key = dg.AssetKey(f"{name}_dataset")
            for found in instance.fetch_observations(key, limit=9).records:
                assert found.asset_observation
                assert "stale_since" in found.asset_observation.metadata
                stale.add(f"{name}_dataset")
    return result, stale, log


def _numbers(result: dg.ExecuteInProcessResult, name: str) -> dict[str, object]:
    """What the metadata of a data set says about the rows of its input."""
    made = {
        found.asset_key.to_user_string(): found.metadata
        for event in result.get_asset_materialization_events()
        if (found := event.materialization).asset_key
    }[name]
    names = ("rows_of_split_0", "rows_read", "candidates", "rows_written")
    return {one: made[one].value for one in names if one in made}


def test_every_listed_file_exists(folder):
    settings = _settings(folder)
    assert materialize(settings, *PRETRAIN).success
    assert list(_listed(settings).values()) == [3, 3, 1]


def test_every_listed_file_exists_on_an_object_store(folder):
    """Readers there see no `<asset>.parquet`."""
    settings = _settings(folder, data_dir=f"memory://{folder.parent.name}")
    result = materialize(settings)
    assert result.success, failure_message(result)
    assert list(_listed(settings).values()) == [3, 3, 1]
    assert list(_listed(settings, "sft").values()) == [3, 1]


def test_a_step_that_fails_halfway_lists_what_it_made(folder):
    settings = _settings(folder, shuffle="true")
    assert materialize(settings, *PRETRAIN).success
    shuffled = folder / "data" / "pretrain_shuffled.parquet"
    assert shuffled.exists()
    _write_users(folder, 20)
    write_frame(folder / "captions.parquet", pd.DataFrame({"pid": [1], "dense_caption": [7]}))
    result, stale, _ = _run(settings, *PRETRAIN)
    assert "dense_caption" in failure_message(result)
    assert _listed(settings) == dict.fromkeys(PRETRAIN[:2], 1)
    assert stale == {"item_understand_dataset"}
    assert not shuffled.exists()


def test_interactions_that_no_longer_give_a_row(folder):
    settings = _settings(folder)
    assert materialize(settings, *PRETRAIN).success
    frame = pd.read_parquet(folder / "interactions.parquet").assign(split=1)
    write_frame(folder / "interactions.parquet", frame)
    result, stale, log = _run(settings, *PRETRAIN)
    assert "none of the 0 rows" in failure_message(result)
    assert "video_rec_dataset" not in _listed(settings)
    assert stale == {"video_rec_dataset"}
    assert "video_rec_dataset.parquet is stale" in log


def test_data_sets_that_have_lost_their_input_and_are_not_selected(folder):
    assert materialize(_settings(folder), *PRETRAIN).success
    settings = _settings(folder, interactions="")
    result, stale, log = _run(settings, "item_understand_dataset")
    assert result.success, failure_message(result)
    assert list(_listed(settings)) == ["item_understand_dataset"]
    assert stale == {"video_rec_dataset", "user_profile_dataset"}
    assert "user_profile_dataset.parquet is stale" in log


def test_a_data_set_without_rows_is_written_with_a_warning(folder):
    frame = pd.read_parquet(folder / "interactions.parquet")
    frame["inter_user_profile_with_sid"] = pd.Series(None, frame.index, dtype="str")
    write_frame(folder / "interactions.parquet", frame)
    settings = _settings(folder)
    result, _, log = _run(settings, *PRETRAIN)
    assert result.success, failure_message(result)
    assert failed_checks(result) == {"user_profile_dataset:not_empty"}
    assert "none of the 2,499 rows of split 0 became a row of user_profile_dataset " in log
    assert "(inter_user_profile_with_sid is null: 2,499)" in log
    assert "those of this catalog?" not in log
    (file,) = (folder / "data" / "user_profile_dataset.parquet").glob("*.parquet")
    empty = pq.read_table(file)
    assert empty.num_rows == 0
    assert empty.schema.equals(DATA_SETS["user_profile"].schema)
    assert "user_profile_dataset" not in _listed(settings)


def test_ids_of_another_catalog_are_reported(folder):
    captions = pd.DataFrame({"pid": [1001, 1002], "dense_caption": ["a", "b"]})
    write_frame(folder / "captions.parquet", captions)
    result, _, log = _run(_settings(folder), "item_understand_dataset")
    assert failed_checks(result) == {
        "item_understand_dataset:not_empty",
        "item_understand_dataset:coverage",
    }
    assert "(pid has no SID: 2). Are its ids from this catalog?" in log


def test_the_counts_of_input_rows_add_up_in_the_metadata(folder):
    frame = pd.read_parquet(folder / "interactions.parquet")[:2].assign(split=0)
    frame["inter_keyword_to_items"] = ['{"a": [1], "b": [2], "c": [1001]}', "no JSON"]
    write_frame(folder / "interactions.parquet", frame)
    result = materialize(
        _settings(folder), "sft_interactive_rec_dataset", "item_understand_dataset"
    )
    assert result.success, failure_message(result)
    read = {"rows_of_split_0": 2, "candidates": 3, "rows_written": 2}
    assert _numbers(result, "sft_interactive_rec_dataset") == read
    captions = {"rows_read": 60, "candidates": 60, "rows_written": 60}
    assert _numbers(result, "item_understand_dataset") == captions


def test_the_log_gives_the_reason_why_a_data_set_is_skipped(folder):
    result, stale, log = _run(_settings(folder, captions=""), *PRETRAIN, "sft_label_pred_dataset")
    assert result.success, failure_message(result)
    assert "item_understand_dataset is skipped: SID_CAPTIONS is not set." in log
    interactions = folder / "interactions.parquet"
    assert f"is skipped: {interactions} has no column 'target_video_longview'; " in log
    assert "has none of the columns 'hist_video_longview', " in log
    assert not (folder / "data" / "item_understand_dataset.parquet").exists()
    assert stale == set()


def test_interactions_in_several_files_that_differ(folder):
    """A column that one file lacks is told; a file that does not belong there is named."""
    frame = pd.read_parquet(folder / "interactions.parquet")
    parts = folder / "parts"
    for split, rows in frame[:40].groupby("split"):
        (parts / f"split={split}").mkdir(parents=True)
        write_frame(parts / f"split={split}" / "0.parquet", rows.drop(columns="split"))
    lacking = frame[:40].query("split == 0").drop(columns=["split", "inter_user_profile_with_sid"])
    write_frame(parts / "split=0" / "1.parquet", lacking)
    settings = _settings(folder, interactions=str(parts))
    result, _, log = _run(settings, *PRETRAIN)
    assert result.success, failure_message(result)
    assert f"{parts}/split=0/1.parquet: no column 'inter_user_profile_with_sid', which" in log
    assert len(table(settings, "video_rec_dataset")) == 2 * len(lacking)
    assert len(table(settings, "user_profile_dataset")) == len(lacking)

    stray = parts / "split=0" / "catalog.parquet"
    shutil.copy(folder / "catalog.parquet", stray)
    message = failure_message(materialize(settings, "video_rec_dataset"))
    assert f"{stray}: there is no column 'uid', 'hist_video_pid', 'target_video_pid'. " in message


def test_the_users_own_wordings(folder):
    prompts = folder / "prompts.yaml"
    prompts.write_text("item_understand:\n  text: ['{sid} shows {caption}']\n")
    settings = _settings(folder, prompts=str(prompts))
    result = materialize(settings, "item_understand_dataset")
    assert result.success, failure_message(result)
    captions = pd.read_parquet(folder / "captions.parquet").dense_caption
    for segments, caption in zip(
        table(settings, "item_understand_dataset").segments, captions, strict=True
    ):
        (segment,) = json.loads(segments)
        assert segment["text"].endswith(f"<|sid_end|> shows {caption}")

    prompts.write_text("item_understand:\n  text: ['{sid} shows {what}']\n")
    assert "what" in failure_message(materialize(settings, "item_understand_dataset"))


CURRENT_SIDS = dg.AssetCheckKey(dg.AssetKey("video_rec_dataset"), "current_sids")


def _new_title(folder: Path) -> None:
    frame = pd.read_parquet(folder / "catalog.parquet")
    frame.loc[0, "title"] = "another title"
    write_frame(folder / "catalog.parquet", frame)


def test_when_sids_are_replaced_the_lists_are_withdrawn_and_a_check_of_each_data_set_warns(folder):
    """As after a run that was stopped between the commits of `pid2sid` and the training data."""
    settings = _settings(folder)
    lists = [folder / "data" / f"{phase}_file_list.json" for phase in ("pretrain", "sft")]
    with dg.DagsterInstance.ephemeral() as instance:

        def current_sids() -> bool:
            storage = instance.event_log_storage
            (found,) = storage.get_asset_check_execution_history(CURRENT_SIDS, limit=1)
            assert found.event
            evaluation = found.event.asset_check_evaluation
            assert evaluation
            assert evaluation.severity == dg.AssetCheckSeverity.WARN
            return evaluation.passed

        assert materialize(settings, *PRETRAIN, instance=instance, checks=True).success
        assert current_sids()
        assert materialize(
            settings, "pid2sid", instance=instance, checks=True
        ).success  # the same SIDs again
        assert current_sids()
        assert list(map(Path.exists, lists)) == [True, False]
        _new_title(folder)
        result = materialize(
            settings,
            "item_texts",
            "item_embeddings",
            "codes",
            "sid_registry",
            "pid2sid",
            instance=instance,
            checks=True,
        )
        assert result.success, failure_message(result)
        assert not current_sids()
        assert list(map(Path.exists, lists)) == [False, False]
        assert materialize(settings, *PRETRAIN, instance=instance, checks=True).success
        assert current_sids()
        assert list(_listed(settings)) == list(PRETRAIN)


def test_a_list_of_shuffled_rows_is_withdrawn_as_well(folder):
    settings = _settings(folder, shuffle="true")
    assert materialize(settings, *PRETRAIN).success
    assert "pretrain_shuffled" in (folder / "data" / "pretrain_file_list.json").read_text()
    _new_title(folder)
    assert materialize(
        settings, "item_texts", "item_embeddings", "codes", "sid_registry", "pid2sid"
    ).success
    assert not (folder / "data" / "pretrain_file_list.json").exists()
