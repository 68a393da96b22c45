"""Bad input: one clear message, a failed run, and the previous version untouched."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sid_assets_tests.films import STAGES
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    settings_with_interactions,
    table,
    write_catalog,
    write_frame,
)

GOOD_TABLES = ("item_texts", "item_embeddings", "codes", "pid2sid", "video_rec_dataset")


@pytest.fixture
def folder(made_folder):
    """Tables made from good input."""
    return made_folder


def _message_of_refused(folder: Path, tables: tuple[str, ...] = GOOD_TABLES, **values: str) -> str:
    """The message of a run that must fail and leave the tables as they were."""
    good = {name: table(settings_with_interactions(folder), name) for name in tables}
    tried = (*STAGES, "video_rec_dataset")
    result = materialize(settings_with_interactions(folder, **values), *tried)
    assert not result.success
    for name, frame in good.items():
        pd.testing.assert_frame_equal(
            frame, table(settings_with_interactions(folder), name), obj=name
        )
    return failure_message(result)


def _edit_catalog(folder: Path, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / "catalog.parquet"
    write_frame(path, edit(pd.read_parquet(path)))


def test_a_missing_file(folder):
    message = _message_of_refused(folder, catalog=str(folder / "gone.parquet"))
    assert "gone.parquet" in message


def test_no_rows(folder):
    _edit_catalog(folder, lambda frame: frame[:0])
    message = _message_of_refused(folder)
    assert "catalog.parquet" in message
    assert "no rows" in message


def test_a_truncated_file(folder):
    path = folder / "catalog.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    message = _message_of_refused(folder)
    assert "catalog.parquet" in message
    assert "truncated" in message


def test_a_missing_pid_column_lists_the_existing_columns(folder):
    message = _message_of_refused(folder, pid_column="item_id")
    for word in ("catalog.parquet", "item_id", "pid", "title", "description", "category"):
        assert word in message


def test_a_missing_column_of_the_template_lists_the_existing_columns(folder):
    message = _message_of_refused(folder, text_template="Title: {name}")
    for word in ("catalog.parquet", "name", "title", "description", "category"):
        assert word in message


def test_null_pids(folder):
    def edit(frame):
        frame["pid"] = frame["pid"].astype("Int64").mask(frame["pid"] <= 7)
        return frame

    _edit_catalog(folder, edit)
    message = _message_of_refused(folder)
    for word in ("catalog.parquet", "pid", "7 rows", "null"):
        assert word in message


def test_one_pid_with_two_texts(folder):
    _edit_catalog(folder, lambda frame: pd.concat([frame, frame[:6].assign(title="another")]))
    message = _message_of_refused(folder)
    for word in ("catalog.parquet", "different texts", "1, 2, 3, 4, 5"):
        assert word in message
    assert "6" not in message.split("1, 2, 3, 4, 5")[1][:5]


def test_identical_rows_collapse_with_a_warning(folder):
    _edit_catalog(folder, lambda frame: pd.concat([frame, frame[:6]]))
    result = materialize(settings_with_interactions(folder), "item_texts")
    assert result.success
    assert len(table(settings_with_interactions(folder), "item_texts")) == 60
    metadata = metadata_of(result, "item_texts")
    assert metadata["rows_collapsed"] == 6


def test_rows_without_a_text(folder):
    def edit(frame):
        frame.loc[frame.pid <= 8, ["title", "description", "category"]] = ["", None, "  "]
        return frame

    _edit_catalog(folder, edit)
    message = _message_of_refused(folder)
    for word in ("catalog.parquet", "text is empty", "8 rows", "1, 2, 3, 4, 5"):
        assert word in message


def test_ids_as_text_in_the_interactions_and_as_int_in_the_catalog(folder):
    path = folder / "interactions.parquet"
    frame = pd.read_parquet(path)
    frame["hist_video_pid"] = [[str(pid) for pid in pids] for pids in frame["hist_video_pid"]]
    write_frame(path, frame)
    message = _message_of_refused(folder)
    for word in ("interactions.parquet", "hist_video_pid", "catalog.parquet", "SID_PID_TYPE"):
        assert word in message


def test_sid_pid_type_reads_both_as_one_type(folder):
    path = folder / "interactions.parquet"
    frame = pd.read_parquet(path)
    frame["hist_video_pid"] = [[str(pid) for pid in pids] for pids in frame["hist_video_pid"]]
    write_frame(path, frame)
    result = materialize(settings_with_interactions(folder, pid_type="int"))
    assert result.success, failure_message(result)


def test_nan_in_vectors(folder, monkeypatch):
    from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder

    embed = HashedWordsEmbedder.embed

    def embed_badly(self, texts):
        embedded = embed(self, texts)
        embedded.vectors[:3, 5] = np.nan
        return embedded

    _edit_catalog(folder, lambda frame: frame.assign(title=frame.title.where(frame.pid > 8, "x y")))
    monkeypatch.setattr(HashedWordsEmbedder, "embed", embed_badly)
    monkeypatch.setattr("sid_assets.core.embeddings.proof.check_canary", lambda *_: None)
    message = _message_of_refused(folder, GOOD_TABLES[1:])
    for word in ("embedding", "not finite"):
        assert word in message


def test_a_tokenizer_of_the_wrong_width(tmp_path):
    write_catalog(tmp_path / "catalog.parquet")
    path = tmp_path / "narrow.pt"
    torch.save({f"centroids.{layer}": torch.randn(8, 64) for layer in range(3)}, path)
    settings = settings_for(tmp_path, tokenizer=str(path))
    result = materialize(settings, *STAGES)
    assert not result.success
    message = failure_message(result)
    for word in ("narrow.pt", "64", "4096"):
        assert word in message
    assert not (tmp_path / "data" / "item_embeddings.parquet").exists()  # refused before embedding
    assert not (tmp_path / "data" / "tokenizer_checkpoint.pt").exists()


def test_interactions_without_the_columns_of_video_rec(folder):
    path = folder / "interactions.parquet"
    write_frame(path, pd.read_parquet(path).drop(columns="target_video_pid"))
    message = _message_of_refused(folder)
    for word in ("interactions.parquet", "target_video_pid", "hist_video_pid"):
        assert word in message


def test_interactions_that_give_no_training_rows(folder):
    path = folder / "interactions.parquet"
    frame = pd.read_parquet(path)
    frame["hist_video_pid"] = [[pid + 10_000 for pid in pids] for pids in frame["hist_video_pid"]]
    write_frame(path, frame)
    message = _message_of_refused(folder)
    for word in ("interactions.parquet", "none of the 19 rows"):
        assert word in message


def test_on_bad_rows_drop_sets_them_aside_with_the_reason(folder):
    def edit(frame):
        frame.loc[frame.pid <= 3, ["title", "description", "category"]] = [None, None, None]
        return pd.concat([frame, frame[10:12].assign(title="another")])

    _edit_catalog(folder, edit)
    settings = settings_with_interactions(folder)
    result = materialize(
        settings, *STAGES, ops={"item_texts": {"on_bad_rows": "drop"}}, checks=True
    )
    assert result.success, failure_message(result)
    rejected = table(settings, "item_texts_rejected")
    assert rejected.reason.value_counts().to_dict() == {
        "the same id has different texts": 4,
        "the text is empty": 3,
    }
    assert len(table(settings, "pid2sid")) == 55
    assert "item_texts:rejected" in {
        f"{check.asset_key.to_user_string()}:{check.check_name}"
        for check in result.get_asset_check_evaluations()
        if not check.passed
    }


def test_the_command_reports_it_with_a_nonzero_exit_status(tmp_path):
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "SID_CATALOG": str(tmp_path / "gone.parquet"),
        "SID_DATA_DIR": str(tmp_path / "data"),
    }
    result = subprocess.run(
        ["dagster", "asset", "materialize", "--select", "*", "-m", "sid_assets.definitions"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "gone.parquet" in result.stdout + result.stderr
    assert not (tmp_path / "data" / "item_texts.parquet").exists()
