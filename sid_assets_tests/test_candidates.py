"""Tokenizers to compare: their names, and what is refused before work starts."""

from dataclasses import replace

import numpy as np
import pytest

from sid_assets import candidates
from sid_assets.candidates import find_candidates
from sid_assets.core.errors import InputError
from sid_assets.core.quantise import codebook_size
from sid_assets.core.quantise.checkpoint import load_checkpoint, save_checkpoint
from sid_assets.core.quantise.hub import DownloadedCheckpoint
from sid_assets.core.store.provenance import require_space
from sid_assets_tests.graph import materialize, settings_for, write_catalog

MADE_FROM = ("item_texts", "item_embeddings", "tokenizer_checkpoint")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty items, their vectors, and a tokenizer of 8 centroids per layer."""
    path = tmp_path_factory.mktemp("candidates")
    write_catalog(path / "catalog.parquet")
    assert materialize(settings_for(path), *MADE_FROM).success
    return path


@pytest.fixture
def found(folder):
    """The candidates of some names, with these settings."""

    def find(*names: str, **values: str):
        settings = settings_for(folder, **values)
        return find_candidates(settings, names, settings.store().require("item_embeddings"))

    return find


def write_tokenizer(path, layers=3, size=4, width=4096, **provenance) -> str:
    drawn = np.random.default_rng(0).normal(size=(layers, size, width))
    save_checkpoint(path, drawn.astype(np.float32), provenance)
    return str(path)


def test_the_current_one_and_a_file_are_loaded(found, folder, tmp_path):
    path = write_tokenizer(tmp_path / "other.pt")
    current, other = found("current", path)
    assert (current.kind, other.kind) == ("current", "file")
    stored = load_checkpoint(folder / "data" / "tokenizer_checkpoint.pt").centroids
    assert np.array_equal(current.load().centroids, stored)
    assert np.array_equal(other.load().centroids, load_checkpoint(path).centroids)
    assert current.load().seconds is None


@pytest.mark.parametrize(
    ("name", "size"), [("train", 8), ("train:4", 4), ("train:kmeans", 8), ("train:kmeans:5", 5)]
)
def test_one_is_trained_as_its_name_says(found, name, size):
    [candidate] = found(name, training_restarts="1", training_iterations="2")
    loaded = candidate.load()
    assert loaded.centroids.shape == (3, size, 4096)
    assert loaded.seconds is not None
    assert loaded.seconds > 0
    assert loaded.held_out_error is not None
    assert 0 < loaded.held_out_error < 2


def test_methods_differ(found):
    plain, balanced = found("train:kmeans:8", "train:balanced:8")
    assert not np.array_equal(plain.load().centroids, balanced.load().centroids)


def test_one_of_the_hub_has_a_revision(found, tmp_path, monkeypatch):
    path = write_tokenizer(tmp_path / "from_hub.pt")
    asked = []

    def download(repository, revision):
        asked.append((repository, revision))
        return DownloadedCheckpoint(tmp_path / "from_hub.pt", repository, "0" * 40, "model.pt")

    monkeypatch.setattr(candidates, "download_checkpoint", download)
    first, second = found("owner/name", "owner/name@v2")
    assert asked == [("owner/name", "main"), ("owner/name", "v2")]
    assert first.kind == second.kind == "hub"
    assert np.array_equal(first.load().centroids, load_checkpoint(path).centroids)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"width": 1024}, "3 layers of centroids of width 1024; these vectors need 3 layers"),
        ({"layers": 2}, "2 layers of centroids of width 4096"),
        ({"size": 9}, "9 centroids per layer; at most 8 are possible"),
    ],
)
def test_another_shape_is_refused(found, tmp_path, monkeypatch, shape, said):
    monkeypatch.setattr(candidates, "MAX_CODEBOOK_SIZE", 8)
    path = write_tokenizer(tmp_path / "other.pt", **shape)
    with pytest.raises(InputError) as error:
        found(path)
    assert str(error.value).startswith(f"{path}: has ")
    assert said in str(error.value)


def test_another_embedding_space_is_refused(found, folder, tmp_path):
    made = load_checkpoint(folder / "data" / "tokenizer_checkpoint.pt").provenance
    same = write_tokenizer(tmp_path / "same.pt", space=made["space"])
    assert found(same)
    other = write_tokenizer(tmp_path / "other.pt", space={**made["space"], "model": "elsewhere"})
    with pytest.raises(InputError, match=r"another embedding space.*'elsewhere' -> "):
        found(other)


@pytest.mark.parametrize("space", ["a text", {"model": ["a", "list"]}, {"unknown": 1}, None])
def test_a_space_that_says_nothing_is_no_reason_to_refuse(found, tmp_path, space):
    assert found(write_tokenizer(tmp_path / "other.pt", space=space))


def test_a_current_tokenizer_of_an_earlier_embedding_space_is_refused(folder):
    settings = settings_for(folder)
    embeddings = settings.store().require("item_embeddings")
    space = replace(require_space(embeddings.provenance), model="new")
    moved = replace(embeddings, provenance=replace(embeddings.provenance, space=space))
    with pytest.raises(InputError, match=r"^current .*another embedding space"):
        find_candidates(settings, ["current"], moved)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train:kmeans:50", "a codebook of 50 is too large for 60 items"),
        ("train:kmeans:20", ""),
        ("train:balanced:4", "a codebook of 4 is too small for 60 items"),
        ("train", ""),
    ],
)
def test_a_size_that_does_not_suit_the_catalog_is_a_note(found, monkeypatch, name, said):
    monkeypatch.setattr(codebook_size, "TOO_SMALL", 4)
    [candidate] = found(name, codebook_size="0")
    assert len(candidate.notes) == bool(said)
    assert said in "".join(candidate.notes)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.pt", "there is no such file"),
        ("/no/such/tokenizer", "there is no such file"),
        ("nothing", "there is no such file"),
        ("train:fast", "'fast' is neither a method (balanced, kmeans) nor a number"),
        ("train:kmeans:0", "'0' is neither"),
        ("train:8193", "'8193' is neither"),
        ("train:kmeans:60", "fewer than the 60 centroids per layer"),
    ],
)
def test_names_that_mean_nothing_are_refused(found, name, said):
    with pytest.raises(InputError) as error:
        found(name)
    assert str(error.value).startswith(f"{name}: ")
    assert said in str(error.value)


def test_a_file_that_is_no_tokenizer_is_refused(found, tmp_path):
    path = tmp_path / "text.pt"
    path.write_text("no tokenizer")
    with pytest.raises(InputError, match=r"text\.pt"):
        found(str(path))


def test_all_that_is_wrong_is_said_at_once(found):
    with pytest.raises(InputError) as error:
        found("missing.pt", "train:fast", "current")
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["missing.pt", "train"]


def test_a_name_given_twice_is_refused(found):
    with pytest.raises(InputError, match="current: named twice"):
        found("current", "train", "current")
