"""`sid-assets probe` on a catalog, as a user calls it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from sid_assets import cli
from sid_assets.core.probe import train
from sid_assets_tests.core.probe.small_decoder import use_small_decoder
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

MADE = ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes", "sid_registry", "pid2sid")
USERS = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty items with SIDs, and interactions of sixty users, half of them in split 1."""
    path = tmp_path_factory.mktemp("probe")
    frame = write_catalog(path / "catalog.parquet")
    draw = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "uid": range(USERS),
            "split": [user % 2 for user in range(USERS)],
            "hist_video_pid": [
                draw.choice(frame.pid, draw.integers(1, 6)).tolist() for _ in range(USERS)
            ],
            "target_video_pid": [draw.choice(frame.pid, 2).tolist() for _ in range(USERS)],
        }
    )
    write_frame(path / "interactions.parquet", rows)
    result = materialize(settings_for(path), *MADE)
    assert result.success, failure_message(result)
    sids = table(settings_for(path), "pid2sid")
    other = sids.assign(sid=sids.sid.sample(frac=1, random_state=0).tolist())
    other[["pid", "sid"]].iloc[:50].to_parquet(path / "other.parquet", index=False)
    return path


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy, in which a test may write."""
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


@pytest.fixture
def call(folder, monkeypatch):
    """Run the command in the folder with these settings and a small decoder."""
    use_small_decoder(monkeypatch, steps=4, between=2)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SID_CATALOG", str(folder / "catalog.parquet"))
    monkeypatch.setenv("SID_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("SID_CODEBOOK_SIZE", "8")
    monkeypatch.setenv("SID_INTERACTIONS", str(folder / "interactions.parquet"))

    def run(*arguments: str, **values: str) -> Result:
        for name, value in values.items():
            monkeypatch.setenv(f"SID_{name.upper()}", value)
        return CliRunner().invoke(cli.main, ["probe", *arguments])

    return run


def test_the_table_the_files_and_the_progress(call, folder):
    result = call()
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("30 rows of split 0 to learn from, 30 of 30 rows of split 1 scored")
    for name in (
        "popularity",
        "successors of the last item",
        "nearest vectors of the last item",
        "pid2sid",
        "pid2sid, dealt at random",
        "one token an item",
    ):
        assert [line for line in lines if line.startswith(f"{name}  ")], name
    assert "run 9 of 9: one token an item, seed 2: scoring 30 rows" in result.stderr
    assert (folder / "data" / "sid_probe.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((folder / "data" / "sid_probe.json").read_text())
    assert kept["rows"]["scored_rows"] == 30
    own = settings_for(folder).store().require("pid2sid").provenance
    assert (kept["generation"], kept["tokenizer"]) == (own.generation, own.tokenizer)


def test_a_second_call_reads_what_was_done_and_says_the_same(call):
    first, second = call("--seeds", "1"), call("--seeds", "1")
    assert second.stdout == first.stdout
    assert "run 1" in first.stderr
    assert "run 1" not in second.stderr


def test_a_second_set_of_sids_is_compared_on_the_items_of_both(call, folder):
    result = call("other.parquet", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    kept = json.loads((folder / "data" / "sid_probe.json").read_text())
    assert found.items() <= kept.items()
    assert found["rows"]["items"] == 50
    sids = [one["name"] for one in found["scored"] if one["kind"] == "sids"]
    assert sids == ["pid2sid", "other.parquet"]
    assert ("pid2sid", "other.parquet") in {(one["of"], one["to"]) for one in found["differences"]}


def test_two_files_of_one_name_keep_apart(call, folder):
    (folder / "more").mkdir()
    shutil.copy(folder / "other.parquet", folder / "more" / "other.parquet")
    result = call("other.parquet", "more/other.parquet", "--seeds", "1", "--json")
    names = [one["name"] for one in json.loads(result.stdout)["scored"] if one["kind"] == "sids"]
    assert names == ["pid2sid", "other.parquet", "more/other.parquet"]


def test_sids_of_a_file_need_no_data_folder(call, tmp_path):
    result = call("other.parquet", "--seeds", "1", "--json", data_dir=str(tmp_path / "new"))
    assert result.exit_code == 0, result.stderr
    names = [one["name"] for one in json.loads(result.stdout)["scored"]]
    assert "other.parquet" in names
    assert "nearest vectors of the last item" not in names
    assert "generation" not in json.loads((tmp_path / "new" / "sid_probe.json").read_text())


def test_the_time_limit_is_told_and_the_next_call_goes_on(call, monkeypatch):
    monkeypatch.setattr(train, "FEWEST_STEPS", 5_000)
    late = call("--minutes", "0.001", "--seeds", "1")
    assert late.exit_code == 0, late.stderr
    assert "not finished within the time limit" in late.stderr
    assert "Not finished within the time limit, and compared with nothing: pid2sid" in late.stdout
    assert " is better than " not in late.stdout
    monkeypatch.setattr(train, "FEWEST_STEPS", 4)
    assert "Not finished" not in call("--seeds", "1").stdout


def test_a_finished_result_is_kept_until_the_next_one_is_finished(call, folder, monkeypatch):
    call("--seeds", "1")
    kept = (folder / "data" / "sid_probe.json").read_bytes()
    assert json.loads(kept)["finished"]
    monkeypatch.setattr(train, "FEWEST_STEPS", 5_000)
    late = call("--minutes", "0.001", "--seeds", "1")
    assert "holds a finished result of this generation, and is kept" in late.stderr
    assert (folder / "data" / "sid_probe.json").read_bytes() == kept


def test_of_another_generation_an_unfinished_result_is_written(call, folder, monkeypatch):
    call("--seeds", "1")
    path = folder / "data" / "sid_probe.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "generation": "another"}))
    monkeypatch.setattr(train, "FEWEST_STEPS", 5_000)
    call("--minutes", "0.001", "--seeds", "1")
    assert not json.loads(path.read_text())["finished"]


def test_sid_quality_shows_the_last_probe_of_its_sids(call, folder):
    result = call("--seeds", "1", "--json")
    wanted = {one["name"]: one for one in json.loads(result.stdout)["scored"]}
    settings = settings_with_interactions(folder)
    metadata = metadata_of(materialize(settings, "sid_quality"), "sid_quality")
    assert metadata["probe_hit_rate_10"] == wanted["pid2sid"]["hit_rate@10"]["mean"]
    dealt = wanted["pid2sid, dealt at random"]["ndcg@10"]["mean"]
    assert metadata["probe_ndcg_10_of_dealt_sids"] == dealt
    page = (folder / "data" / "sid_report.html").read_text()
    assert "Can a model learn these SIDs?" in page


def test_of_other_sids_sid_quality_shows_nothing(call, folder):
    call("--seeds", "1")
    path = folder / "data" / "sid_probe.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer": "another"}))
    metadata = metadata_of(materialize(settings_for(folder), "sid_quality"), "sid_quality")
    assert not [name for name in metadata if name.startswith("probe")]


def refused(result: Result) -> str:
    assert (result.exit_code, result.stdout) == (1, ""), result.stdout
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def test_without_interactions_it_says_what_to_set(call):
    assert "There are no interactions. Set SID_EVENTS" in refused(call(interactions=""))


def test_without_sids_it_says_what_to_make(call, tmp_path):
    assert "Materialise pid2sid first" in refused(call(data_dir=str(tmp_path / "empty")))


@pytest.mark.parametrize("split", [0, 1])
def test_a_split_without_rows_is_named(call, folder, split):
    rows = pd.read_parquet(folder / "interactions.parquet").assign(split=1 - split)
    rows.to_parquet(folder / "one_split.parquet")
    said = refused(call(interactions=str(folder / "one_split.parquet")))
    assert f"one_split.parquet: no row of split {split} has a history and a target" in said


def test_sids_of_other_items_are_refused(call, folder):
    other = pd.read_parquet(folder / "other.parquet")
    other.assign(pid=other.pid + 1_000).to_parquet(folder / "others.parquet")
    assert "others.parquet: no id is that of an item" in refused(call("others.parquet"))


def test_a_file_that_is_not_there_is_named(call):
    assert "gone.parquet" in refused(call("gone.parquet"))
