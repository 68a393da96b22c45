"""`sid-assets compare` on a catalog, as a user calls it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from sid_assets import cli, compare
from sid_assets.core.quantise.checkpoint import load_checkpoint, save_checkpoint
from sid_assets_tests.core.probe.small_decoder import use_small_decoder
from sid_assets_tests.graph import (
    materialize,
    metadata_of,
    settings_for,
    write_catalog,
    write_interactions,
)

MADE_FROM = ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes")
CASES = {"interactions": "interactions.parquet", "quality_column": "category"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty items with codes of a tokenizer of 8, interactions, and two bad tokenizers."""
    path = tmp_path_factory.mktemp("compare")
    frame = write_catalog(path / "catalog.parquet")
    write_interactions(path / "interactions.parquet", frame.pid.tolist())
    assert materialize(settings_for(path), *MADE_FROM).success
    good = load_checkpoint(path / "data" / "tokenizer_checkpoint.pt").centroids
    collapsed = np.full_like(good, 50)
    collapsed[:, 0] = 0
    save_checkpoint(path / "collapsed.pt", collapsed, {})
    drawn = np.random.default_rng(0).normal(size=good.shape)
    random = drawn / np.linalg.norm(drawn, axis=2, keepdims=True)
    save_checkpoint(path / "random.pt", random.astype(np.float32), {})
    return path


@pytest.fixture
def call(folder, monkeypatch):
    """Run the command in a folder with these settings."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SID_CATALOG", str(folder / "catalog.parquet"))
    monkeypatch.setenv("SID_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("SID_CODEBOOK_SIZE", "8")
    monkeypatch.setenv("SID_INTERACTIONS", "")

    def run(*arguments: str, **values: str):
        for name, value in values.items():
            monkeypatch.setenv(f"SID_{name.upper()}", value)
        return CliRunner().invoke(cli.main, ["compare", *arguments])

    return run


def content(folder: Path) -> dict[str, str]:
    """The digest of every file in the data folder, but not of the page."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != compare.PAGE
    }


def test_the_table_the_page_and_the_progress(call, folder):
    before = content(folder / "data")
    result = call("current", "collapsed.pt", "train:kmeans:4", **CASES)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("60 items. Neighbours and margins: 60 queries against 60 items.")
    assert lines[2].split() == ["current", "collapsed.pt", "train:kmeans:4"]
    assert "3 of 3: train:kmeans:4: training" in result.stderr
    page = folder / "data" / compare.PAGE
    assert lines[-1] == f"The same as a page: {page}"
    for heading in ("Neighbours", "Behaviour", "What collisions cost", "Purity", "Time"):
        assert f"<h2>{heading}</h2>" in page.read_text(), heading
        assert heading in lines, heading
    assert content(folder / "data") == before


def test_a_collapse_and_random_centroids_are_best_in_nothing_that_tells(call):
    result = call("current", "collapsed.pt", "random.pt", "--json", **CASES)
    found = json.loads(result.stdout)
    assert [one["name"] for one in found["tokenizers"]] == ["current", "collapsed.pt", "random.pt"]
    current, collapsed, random = (one["figures"] for one in found["tokenizers"])
    assert collapsed["sid_distinct_share"] == pytest.approx(1 / 60)
    assert not [name for name, best in found["best"].items() if "collapsed.pt" in best]
    for name in ("neighbours_in_first_10", "neighbours_in_first_30"):
        assert found["best"][name] == ["current"]
        assert current[name] > random[name] > collapsed[name]
    assert collapsed["margin_1_mean"] == 0
    assert {"training_seconds", "held_out_error"}.isdisjoint(current)


def test_its_figures_are_those_of_sid_quality(call, folder):
    result = call("current", "--json", **CASES)
    [one] = json.loads(result.stdout)["tokenizers"]
    settings = settings_for(
        folder, interactions=str(folder / "interactions.parquet"), quality_column="category"
    )
    wanted = metadata_of(materialize(settings, "sid_quality"), "sid_quality")
    figures = {name: value for name, value in wanted.items() if isinstance(value, int | float)}
    shown = {name: one["figures"].get(name) for name in figures}
    # Collisions by text need `item_texts`, which a comparison does not read.
    del shown["collisions_same_text"], figures["collisions_same_text"]
    del shown["collisions_other_text"], figures["collisions_other_text"]
    assert shown == pytest.approx(figures)


def test_bad_tokenizers_are_said_before_work_starts(call, folder):
    save_checkpoint(folder / "narrow.pt", np.zeros((3, 8, 64), np.float32), {})
    result = call("train:kmeans:4", "narrow.pt", "gone.pt")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "narrow.pt: has 3 layers of centroids of width 64" in result.stderr
    assert "gone.pt: there is no such file" in result.stderr
    assert "training" not in result.stderr


def test_a_column_that_is_not_there_is_said_before_work_starts(call):
    result = call("train:kmeans:4", quality_column="colour")
    assert result.exit_code == 1
    assert "no column 'colour'" in result.stderr
    assert "training" not in result.stderr


def test_what_is_unusual_is_said_before_the_first_tokenizer_is_measured(call, folder):
    known = pd.read_parquet(folder / "interactions.parquet")
    known.assign(split=0).to_parquet(folder / "no_split_1.parquet")
    result = call("train:kmeans:50", interactions="no_split_1.parquet")
    assert result.exit_code == 0, result.stderr
    said, _, measured = result.stderr.partition("1 of 1: train:kmeans:50: training")
    assert measured
    assert "no_split_1.parquet: no targets in split 1, so the recall ceiling" in said
    assert "train:kmeans:50: a codebook of 50 is too large for 60 items" in said
    [line] = [line for line in result.stdout.splitlines() if "those of split" in line]
    assert line.split()[-1] == "0"


def test_without_vectors_it_says_what_to_make(call, tmp_path):
    result = call("train", data_dir=str(tmp_path / "empty"))
    assert result.exit_code == 1
    assert "Materialise item_embeddings first" in result.stderr


def test_without_interactions_there_is_no_behaviour(call):
    result = call("current", "--json")
    [one] = json.loads(result.stdout)["tokenizers"]
    assert "neighbours_in_first_10" in one["figures"]
    assert not [name for name in one["figures"] if name.startswith(("behaviour", "popularity"))]


PROBE = ("probe_hit_rate_10", "probe_ndcg_10")


def test_a_probe_adds_its_figures_and_its_differences(call, folder, monkeypatch):
    use_small_decoder(monkeypatch, steps=4, between=2)
    result = call("current", "collapsed.pt", "--probe", "30", "--json", **CASES)
    assert result.exit_code == 0, result.stderr
    assert "probe: at most " in result.stderr
    assert "2 of 2 are probed in the 30 min asked for" in result.stderr
    found = json.loads(result.stdout)
    for one in found["tokenizers"]:
        assert set(PROBE) <= one["figures"].keys()
    assert found["tokenizers"][1]["figures"]["probe_hit_rate_10"] <= 1
    assert not set(PROBE) & found["best"].keys()  # the note says which difference counts
    [note] = found["notes"]
    assert "current" in note
    assert "collapsed.pt" in note
    page = (folder / "data" / compare.PAGE).read_text()
    assert "<h2>Probe</h2>" in page
    assert note in page


def test_as_many_tokenizers_are_probed_as_fit_into_the_time(call, monkeypatch):
    use_small_decoder(monkeypatch, steps=4, between=2)
    monkeypatch.setattr("sid_assets.probe.time_of_run", lambda *_: 60.0)
    result = call("current", "collapsed.pt", "random.pt", "--probe", "7", **CASES)
    assert result.exit_code == 0, result.stderr
    assert "at most 3 min a tokenizer; 2 of 3 are probed in the 7 min asked for" in result.stderr
    [line] = [line for line in result.stdout.splitlines() if line.startswith("  Hit rate@10  ")]
    first, second, third = line.split()[2:]
    assert first.endswith("%")
    assert second.endswith("%")
    assert third == "–"


def test_a_probe_without_interactions_is_refused_before_work_starts(call):
    result = call("train:kmeans:4", "--probe", "5")
    assert result.exit_code == 1
    assert "There are no interactions" in result.stderr
    assert "training" not in result.stderr
