"""Which tokenizer is requested, whether the current one is kept, and how its making is stored."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from upath import UPath

from sid_assets.core.errors import InputError
from sid_assets.core.quantise.tokenizer import (
    MadeTokenizer,
    TokenizerMaking,
    TokenizerSource,
    commit_tokenizer,
    keeps_tokenizer,
    load_tokenizer,
    require_tokenizer,
    tokenizer_source,
    training_of,
)
from sid_assets.core.quantise.train import DEFAULT_METHOD, TrainingSettings
from sid_assets.core.refresh import RefreshPolicy
from sid_assets.core.store.parts import Part
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version

SPACE = EmbeddingSpace("qwen3", "Qwen/Qwen3-Embedding-8B", revision="a1", max_length=8192)
DENY, NEW = RefreshPolicy(), RefreshPolicy(new_generation=True)


def version(table: str, space: EmbeddingSpace | None = SPACE, **details) -> Version:
    part = Part("part-0.parquet", rows=1, bytes=1, digest="", first_pid=1)
    provenance = Provenance(table, space=space, details=details)
    return Version(UPath("/data/.versions") / table, provenance, "", (part,))


def test_the_setting_names_a_tokenizer(tmp_path):
    path = tmp_path / "mine.pt"
    path.write_bytes(b"weights")
    training = {"seed": 1}
    assert tokenizer_source("train", "main", training) == TokenizerSource(
        "train", settings=training
    )
    named = tokenizer_source(str(path), "main", training)
    assert (named.kind, named.location, len(named.digest)) == ("path", "", 64)
    moved = path.rename(tmp_path / "moved.pt")
    assert tokenizer_source(str(moved), "main", training) == named
    assert tokenizer_source("owner/name", "v1", training) == TokenizerSource(
        "hub", "owner/name", "v1"
    )


@pytest.mark.parametrize("name", ["gone.pt", "/no/such/file", "a/b/c", "name", ""])
def test_a_setting_that_names_no_tokenizer_is_an_error(name):
    with pytest.raises(InputError, match="there is no such file"):
        tokenizer_source(name, "main", {})


TRAIN = TokenizerSource("train", settings={"codebook_size": 256, "seed": 0})
MADE = version("tokenizer_checkpoint", source=TRAIN.to_dict())


def test_a_refresh_never_retrains_by_itself():
    assert keeps_tokenizer(MADE, TRAIN, SPACE, DENY)
    assert not keeps_tokenizer(None, TRAIN, SPACE, DENY)
    assert not keeps_tokenizer(MADE, TRAIN, SPACE, NEW)


@pytest.mark.parametrize(
    ("wanted", "space", "difference"),
    [
        (
            TokenizerSource("train", settings={"codebook_size": 8192, "seed": 0}),
            SPACE,
            "codebook_size: 256 -> 8192",
        ),
        (TokenizerSource("hub", "owner/name", "v1"), SPACE, "kind: 'train' -> 'hub'"),
        (TRAIN, replace(SPACE, revision="b2"), "embedding space: revision: 'a1' -> 'b2'"),
    ],
)
def test_another_tokenizer_needs_a_new_generation(wanted, space, difference):
    with pytest.raises(InputError, match="not the one that this run requests") as stopped:
        keeps_tokenizer(MADE, wanted, space, DENY)
    assert difference in str(stopped.value)
    assert "new_generation" in str(stopped.value)
    assert not keeps_tokenizer(MADE, wanted, space, NEW)


def of_training(**values) -> TokenizerSource:
    return TokenizerSource("train", settings=asdict(TrainingSettings(**values)))


OLD = {
    name: value
    for name, value in asdict(TrainingSettings(codebook_size=256)).items()
    if name not in ("method", "inequality")
}
"""The settings of a tokenizer of version 0.1."""


@pytest.mark.parametrize(
    "wanted",
    [
        {"method": "", "codebook_size": 0},
        {"method": "", "codebook_size": 256},
        {"method": "kmeans", "codebook_size": 256},
        {"method": "kmeans", "codebook_size": 0, "inequality": 3.0},
    ],
)
def test_a_tokenizer_without_a_method_is_of_kmeans_and_kept(wanted):
    made = version("tokenizer_checkpoint", source=TokenizerSource("train", settings=OLD).to_dict())
    assert keeps_tokenizer(made, of_training(**wanted), SPACE, DENY)


def test_another_method_than_that_of_an_old_tokenizer_needs_a_new_generation():
    made = version("tokenizer_checkpoint", source=TokenizerSource("train", settings=OLD).to_dict())
    with pytest.raises(InputError, match=r"\(method: 'kmeans' -> 'balanced'\)"):
        keeps_tokenizer(made, of_training(method="balanced", codebook_size=0), SPACE, DENY)


@pytest.mark.parametrize(
    ("wanted", "difference"),
    [
        ({}, ""),
        ({"restarts": 5}, ""),
        ({"method": "kmeans"}, "method"),
        ({"inequality": 2.0}, "inequality: 1.5 -> 2.0"),
        ({"iterations": 7}, "iterations"),
    ],
)
def test_settings_that_changed_nothing_are_no_difference(wanted, difference):
    made = of_training(method="balanced")
    found = made.differences(of_training(**{"method": "balanced", **wanted}))
    assert len(found) == bool(difference)
    assert difference in "".join(found)


def test_the_method_of_the_tokenizer_that_is_there_is_kept_in_a_new_generation():
    left_open = of_training(method="", codebook_size=0)
    made = version("tokenizer_checkpoint", source=TokenizerSource("train", settings=OLD).to_dict())
    assert training_of(left_open, 5000, made)[0].method == "kmeans"
    assert (
        training_of(left_open, 5000, version("tokenizer_checkpoint", source=HUB.to_dict()))[
            0
        ].method
        == DEFAULT_METHOD
    )
    assert training_of(left_open, 5000, None)[0].method == DEFAULT_METHOD
    asked = of_training(method="balanced", codebook_size=0)
    assert training_of(asked, 5000, made)[0].method == "balanced"


def test_only_a_size_that_was_set_is_advised_against():
    assert training_of(of_training(codebook_size=0), 40, None)[1] == ""
    assert "too large for 40 items" in training_of(of_training(codebook_size=32), 40, None)[1]
    with pytest.raises(InputError, match="SID_CODEBOOK_SIZE to at most 36,"):
        training_of(of_training(codebook_size=64), 40, None)
    with pytest.raises(InputError, match="1 vector: "):
        training_of(of_training(codebook_size=0), 1, None)


HUB = TokenizerSource("hub", "owner/name", "v1")

TRAINED = TokenizerMaking(
    TRAIN,
    shape=(3, 4, 4096),
    space_is="known",
    figures={
        "layers": [{"held_out": {"relative_error": 0.9}}, {"held_out": {"relative_error": 0.4}}]
    },
)
OF_FILE = TokenizerMaking(TokenizerSource("path", digest="d"), (3, 4, 4096), "assumed", path="a.pt")
OF_HUB = TokenizerMaking(
    TokenizerSource("hub", "owner/name", "main"), (3, 4, 4096), "assumed", commit="c1", file="b.pt"
)


@pytest.mark.parametrize("making", [TRAINED, OF_FILE, OF_HUB], ids=["trained", "file", "hub"])
def test_the_making_survives_a_round_trip_through_json(making):
    details = json.loads(json.dumps(making.details()))
    assert TokenizerMaking.of(Provenance("tokenizer_checkpoint", details=details)) == making
    assert making.codebook_size == 4
    assert making.training_error == (0.4 if making is TRAINED else None)


def test_unknown_fields_of_a_later_release_are_ignored():
    details = {**OF_FILE.details(), "weather": "fine"}
    assert TokenizerMaking.of(Provenance("tokenizer_checkpoint", details=details)) == OF_FILE


@pytest.mark.parametrize("place", ["local", "memory"])
def test_the_store_returns_the_centroids_and_their_making(tmp_path, place):
    store = Store(tmp_path if place == "local" else f"memory://{tmp_path.name}")
    centroids = np.random.default_rng(0).normal(size=(3, 4, 4096)).astype(np.float32)
    commit_tokenizer(store, MadeTokenizer(centroids, OF_FILE), version("item_embeddings"))
    there = require_tokenizer(store)
    assert np.array_equal(load_tokenizer(there), centroids)
    assert TokenizerMaking.of(there.provenance) == OF_FILE
    assert store.path("tokenizer_checkpoint").name == "tokenizer_checkpoint.pt"
    if place == "local":
        assert (tmp_path / "tokenizer_checkpoint.pt").is_file()


def test_restarts_that_are_not_set_follow_the_tokenizer_that_is_there_or_the_size():
    made = of_training(method="kmeans", restarts=3)
    assert made.differences(of_training(method="kmeans", restarts=0)) == []
    assert made.differences(of_training(method="kmeans", restarts=2)) == ["restarts: 3 -> 2"]
    open_settings = TrainingSettings("kmeans", codebook_size=0, restarts=0)
    assert open_settings.decided(items=900).restarts == 3  # 256 centroids
    assert open_settings.decided(items=100_000).restarts == 1  # 512 centroids
