"""`tokenizer_checkpoint` as Dagster runs it: another tokenizer must be asked for."""

import shutil
from functools import cache

import numpy as np
import pandas as pd
import pytest

from sid_assets.core.quantise.checkpoint import save_checkpoint
from sid_assets.core.quantise.tokenizer import load_tokenizer
from sid_assets.settings import Refresh, Settings
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    table,
    write_catalog,
    write_frame,
)

MADE_FROM = ("item_texts", "item_embeddings", "tokenizer_checkpoint")
SIDS_FROM = (*MADE_FROM, "codes", "sid_registry", "pid2sid")


@pytest.fixture(scope="module")
def _published(tmp_path_factory):
    """By kind of training, a folder with published SIDs."""

    @cache
    def made(training):
        folder = tmp_path_factory.mktemp(training or "default")
        write_catalog(folder / "catalog.parquet")
        settings = settings_for(folder, training=training)
        assert materialize(settings, *SIDS_FROM).success
        return folder

    return made


@pytest.fixture
def publish(_published, tmp_path):
    """Copies a folder with SIDs of a tokenizer that was trained in some way."""
    return lambda training, name="copy": shutil.copytree(
        _published(training), tmp_path / name, symlinks=True
    )


@pytest.fixture
def folder(publish):
    """A folder with published SIDs, made with the settings of `settings_for`."""
    return publish(Settings().training)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"codebook_size": "4"}, "codebook_size: 8 -> 4"),
        ({"training": "kmeans"}, "method: 'balanced' -> 'kmeans'"),
        ({"seed": "1"}, "seed"),
    ],
)
def test_another_tokenizer_is_refused_before_anything_is_embedded(publish, change, words):
    folder = publish("balanced")
    before = table(settings_for(folder), "pid2sid")
    write_catalog(folder / "catalog.parquet", items=61)
    settings = settings_for(folder, **{"training": "balanced", **change})
    result = materialize(settings, *SIDS_FROM)
    assert not result.success
    message = failure_message(result)
    assert words in message
    assert "new_generation" in message
    assert len(table(settings, "item_embeddings")) == 60
    pd.testing.assert_frame_equal(before, table(settings, "pid2sid"))


def test_a_new_generation_is_made_when_a_person_asks_for_it(folder):
    settings = settings_for(folder, codebook_size="4")
    result = materialize(settings, *SIDS_FROM, refresh=Refresh(new_generation=True))
    assert result.success, failure_message(result)
    assert max(max(sid) for sid in table(settings, "pid2sid").sid) < 4
    assert not metadata_of(result, "tokenizer_checkpoint")["figures"]["warm_start"]


def add_items(folder, count):
    frame = pd.read_parquet(folder / "catalog.parquet")
    pids = range(len(frame) + 1, len(frame) + 1 + count)
    new = write_catalog(folder / "catalog.parquet", items=count, seed=1, pids=pids)
    write_frame(folder / "catalog.parquet", pd.concat([frame, new]))


@pytest.mark.parametrize("training", ["balanced", "kmeans"])
def test_a_new_generation_in_the_same_space_starts_from_the_old_centroids(publish, training):
    folder = publish(training)
    settings = settings_for(folder, training=training)
    before = table(settings, "pid2sid").set_index("pid").sid
    add_items(folder, 3)
    result = materialize(settings, *SIDS_FROM, refresh=Refresh(new_generation=True))
    assert result.success, failure_message(result)
    said = metadata_of(result, "tokenizer_checkpoint")
    assert (said["figures"]["warm_start"], said["method"]) == (True, training)
    after = table(settings, "pid2sid").set_index("pid").sid
    assert sum(after[pid][0] == before[pid][0] for pid in before.index) > 30


def kept(before, after):
    """How many items keep their first code, two codes and the SID."""
    both = before.index.intersection(after.index)
    same = np.array(before[both].tolist()) == np.array(after[both].tolist())
    return np.logical_and.accumulate(same, axis=1).sum(axis=0)


@pytest.mark.parametrize("training", ["balanced", "kmeans"])
def test_a_new_generation_is_numbered_by_the_published_sids(publish, training):
    sids = {}
    for name in ("true", "false"):
        folder = publish(training, name)
        settings = settings_for(folder, training=training, align_generations=name)
        before = table(settings, "pid2sid").set_index("pid").sid
        frame = pd.read_parquet(folder / "catalog.parquet").iloc[6:]
        new = write_catalog(folder / "catalog.parquet", items=6, seed=1, pids=range(101, 107))
        write_frame(folder / "catalog.parquet", pd.concat([frame, new]))
        result = materialize(settings, *SIDS_FROM, refresh=Refresh(new_generation=True))
        assert result.success, failure_message(result)
        sids[name] = kept(before, table(settings, "pid2sid").set_index("pid").sid)
        said = metadata_of(result, "tokenizer_checkpoint")["figures"]
        assert ("aligned" in said) == (name == "true")
        if name == "true":
            kept_codes = metadata_of(result, "tokenizer_checkpoint")["kept_codes"]
            assert kept_codes == said["aligned"]
            items = kept_codes["items"]
            assert 0 < items <= 54
            # The sample is the catalog.
            assert items * kept_codes["matched"][0] == pytest.approx(sids[name][0])
    assert sids["true"][0] >= sids["false"][0]


def test_sids_of_another_tokenizer_number_no_centroids(folder, capsys):
    settings = settings_for(folder)
    for count in (3, 5):  # the second run, with another seed, finds SIDs of the first tokenizer
        add_items(folder, count)
        settings = settings_for(folder, seed=str(count))
        result = materialize(settings, *MADE_FROM, refresh=Refresh(new_generation=True))
        assert result.success, failure_message(result)
    assert "aligned" not in metadata_of(result, "tokenizer_checkpoint")["figures"]
    assert "was not made with the tokenizer that is replaced" in capsys.readouterr().err


def test_a_tokenizer_of_a_file_keeps_its_numbers(folder, tmp_path):
    settings = settings_for(folder)
    path = tmp_path / "mine.pt"
    centroids = load_tokenizer(settings.store().require("tokenizer_checkpoint"))[:, ::-1].copy()
    save_checkpoint(path, centroids, {})
    settings = settings_for(folder, tokenizer=str(path))
    result = materialize(settings, *MADE_FROM, refresh=Refresh(new_generation=True))
    assert result.success, failure_message(result)
    made = settings.store().require("tokenizer_checkpoint")
    np.testing.assert_array_equal(load_tokenizer(made), centroids)


def test_a_new_generation_is_trained_from_nothing_if_the_old_centroids_are_damaged(folder):
    settings = settings_for(folder)
    (folder / "data" / "tokenizer_checkpoint.pt").resolve().write_bytes(b"damaged")
    result = materialize(settings, *MADE_FROM, refresh=Refresh(new_generation=True))
    assert result.success, failure_message(result)
    assert not metadata_of(result, "tokenizer_checkpoint")["figures"]["warm_start"]


def test_the_size_is_chosen_from_the_items_and_kept_with_the_generation(tmp_path):
    write_catalog(tmp_path / "catalog.parquet")
    settings = settings_for(tmp_path, codebook_size="0", training="balanced")
    result = materialize(settings, *SIDS_FROM)
    assert result.success, failure_message(result)
    assert metadata_of(result, "tokenizer_checkpoint")["codebook_size"] == 16
    add_items(tmp_path, 140)
    result = materialize(settings, *SIDS_FROM)
    assert result.success, failure_message(result)
    said = metadata_of(result, "tokenizer_checkpoint")
    assert (said["codebook_size"], said["kept"]) == (16, True)
    result = materialize(settings, *SIDS_FROM, refresh=Refresh(new_generation=True))
    assert metadata_of(result, "tokenizer_checkpoint")["codebook_size"] == 64


@pytest.mark.parametrize(
    ("items", "size", "words"), [(60, "55", "at most 54,"), (1, "8", "1 vector: a tokenizer")]
)
def test_too_many_centroids_are_told_before_anything_is_embedded(tmp_path, items, size, words):
    write_catalog(tmp_path / "catalog.parquet", items=items)
    settings = settings_for(tmp_path, codebook_size=size)
    result = materialize(settings, *SIDS_FROM)
    assert not result.success
    assert words in failure_message(result)
    assert settings.store().current("item_embeddings") is None
    assert not settings.store().unfinished("item_embeddings")


def test_a_size_that_does_not_suit_is_a_warning_before_embedding(tmp_path, capsys):
    write_catalog(tmp_path / "catalog.parquet", items=60)
    result = materialize(settings_for(tmp_path, codebook_size="21"), *MADE_FROM[:2])
    assert result.success, failure_message(result)
    assert "SID_CODEBOOK_SIZE=21 is too large for 60 items" in capsys.readouterr().err
