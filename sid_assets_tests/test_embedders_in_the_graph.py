"""The graph with embedders other than the demo's."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from sid_assets.assets import catalog
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.embedders.openai_server import KEY_VARIABLE, OpenAIServerEmbedder
from sid_assets.core.embedders.qwen3 import Qwen3Embedder
from sid_assets.core.errors import InputError
from sid_assets.resources import make_embedder
from sid_assets_tests.embedding_server import KEY, EmbeddingServer, served
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    table,
    write_catalog,
)


@pytest.mark.parametrize("tokenise_here", [True, False])
def test_a_server_makes_the_vectors(
    tmp_path: Path,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    tokenise_here: bool,
) -> None:
    model = Qwen3Embedder(str(small_model), device="cpu")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    write_catalog(tmp_path / "catalog.parquet")
    with EmbeddingServer(served(model)) as server:
        settings = settings_for(
            tmp_path,
            embedder="openai",
            embedding_url=server.url,
            embedding_model="served",
            embedding_tokenizer=str(small_model) if tokenise_here else "server",
        )
        result = materialize(settings)
    assert result.success, failure_message(result)
    assert len(table(settings, "pid2sid")) == 60
    assert {request["model"] for request in server.requests} == {"served"}
    cut = metadata_of(result, "item_embeddings")["texts_cut"]
    assert cut == (0 if tokenise_here else "unknown: the server truncates texts")
    planned = metadata_of(result, "item_texts")
    assert ("plan_texts_cut" in planned) == tokenise_here
    assert planned["plan_seconds"] > 0
    sent_texts = {isinstance(request["input"][0], str) for request in server.requests}
    assert sent_texts == {not tokenise_here}
    expected = model.embed(table(settings, "item_texts").text.tolist()).vectors
    vectors = np.stack(table(settings, "item_embeddings").embedding.tolist())
    assert ((vectors * expected).sum(axis=1) > 0.9999).all()


def test_a_server_needs_a_url(tmp_path: Path) -> None:
    write_catalog(tmp_path / "catalog.parquet")
    result = materialize(settings_for(tmp_path, embedder="openai"), "item_texts", "item_embeddings")
    assert not result.success
    assert "SID_EMBEDDING_URL is not set" in failure_message(result)


def test_item_texts_estimates_the_time_from_the_last_run_instead_of_loading_weights(
    tmp_path: Path,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog, "SECONDS_THAT_TELL", 1e-6)
    write_catalog(tmp_path / "catalog.parquet")
    settings = settings_for(tmp_path, embedder="qwen3", embedding_model=str(small_model))
    with dg.DagsterInstance.ephemeral() as instance:
        first = materialize(settings, "item_texts", "item_embeddings", instance=instance)
        assert first.success, failure_message(first)
        write_catalog(tmp_path / "catalog.parquet", items=70)
        second = materialize(settings, "item_texts", instance=instance)
    before = metadata_of(first, "item_texts")
    assert "plan_seconds" not in before
    assert "Time: not measured (no earlier run gives the speed" in before["plan"]
    made = metadata_of(first, "item_embeddings")
    planned = metadata_of(second, "item_texts")
    speed = made["tokens"] / made["seconds_embedding"]
    assert planned["plan_seconds"] == pytest.approx(planned["plan_tokens"] / speed)


@pytest.mark.parametrize(
    ("values", "revision"),
    [
        ({}, "main"),
        ({"embedding_revision": "a1"}, "a1"),
        ({"embedding_revision": "a1", "embedding_tokenizer_revision": "b2"}, "b2"),
        ({"embedding_revision": "a1", "embedding_tokenizer": "org/other"}, "main"),
        ({"embedding_tokenizer": "org/other", "embedding_tokenizer_revision": "b2"}, "b2"),
    ],
)
def test_the_tokenizer_of_a_server_can_be_pinned(
    tmp_path: Path, values: dict[str, str], revision: str
) -> None:
    values = {"embedder": "openai", "embedding_url": "http://a/v1"} | values
    embedder = make_embedder(settings_for(tmp_path, **values))
    assert isinstance(embedder, OpenAIServerEmbedder)
    assert embedder.tokenizer_revision == revision
    assert embedder.revision == values.get("embedding_revision", "main")


def test_the_servers_own_tokenizer_cannot_be_pinned(tmp_path: Path) -> None:
    values = {"embedder": "openai", "embedding_url": "http://a/v1", "embedding_tokenizer": "server"}
    make_embedder(settings_for(tmp_path, **values))
    with pytest.raises(InputError, match="SID_EMBEDDING_TOKENIZER_REVISION=b2 has no effect"):
        make_embedder(settings_for(tmp_path, **values, embedding_tokenizer_revision="b2"))


def test_settings_decide_the_size_of_batches_and_the_number_of_requests(tmp_path: Path) -> None:
    server = {"embedder": "openai", "embedding_url": "http://a/v1"}
    sizes = {"batch_tokens": "300", "embedding_requests": "3"}
    usual = make_embedder(settings_for(tmp_path, **server))
    asked = make_embedder(settings_for(tmp_path, **server, **sizes))
    assert isinstance(usual, OpenAIServerEmbedder)
    assert isinstance(asked, OpenAIServerEmbedder)
    assert (usual.batch_tokens, usual.requests) == (16384, 8)
    assert (asked.batch_tokens, asked.requests) == (300, 3)
    in_process = make_embedder(settings_for(tmp_path, embedder="qwen3", batch_tokens="300"))
    device_decides = make_embedder(settings_for(tmp_path, embedder="qwen3"))
    assert isinstance(in_process, Qwen3Embedder)
    assert isinstance(device_decides, Qwen3Embedder)
    assert (in_process.batch_tokens, device_decides.batch_tokens) == (300, None)


def test_a_failing_embedder_releases_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: HashedWordsEmbedder, texts: Sequence[str]) -> None:
        raise InputError("out of order")

    closed: list[HashedWordsEmbedder] = []
    monkeypatch.setattr(HashedWordsEmbedder, "embed", fail)
    monkeypatch.setattr(HashedWordsEmbedder, "close", lambda self: closed.append(self))
    write_catalog(tmp_path / "catalog.parquet")
    settings = settings_for(tmp_path)
    assert materialize(settings, "item_texts").success
    closed.clear()
    result = materialize(settings, "item_embeddings")
    assert "out of order" in failure_message(result)
    assert len(closed) == 1


def write_vectors(folder: Path, texts: dict[int, str]) -> np.ndarray:
    """Vectors made elsewhere, one for each pid, close to those of the hashing embedder."""
    vectors = HashedWordsEmbedder().embed(list(texts.values())).vectors
    vectors += np.random.default_rng(1).normal(scale=1e-5, size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    frame = pd.DataFrame({"pid": list(texts), "embedding": list(vectors)})
    frame.to_parquet(folder / "vectors.parquet", index=False)
    return vectors


def test_existing_vectors_are_adopted(tmp_path: Path) -> None:
    write_catalog(tmp_path / "catalog.parquet")
    assert materialize(settings_for(tmp_path), "item_texts").success
    texts = table(settings_for(tmp_path), "item_texts").set_index("pid").text
    vectors = write_vectors(tmp_path, {pid: texts[pid] for pid in range(60, 5, -1)})
    adopting = settings_for(
        tmp_path,
        embeddings=str(tmp_path / "vectors.parquet"),
        embeddings_space='{"model": "HashingVectorizer(char_wb, 2-4)"}',
    )
    result = materialize(adopting)
    assert result.success, failure_message(result)
    metadata = metadata_of(result, "item_embeddings")
    assert metadata["items_adopted"] == 55
    assert metadata["items_embedded"] == 5
    texts = metadata_of(result, "item_texts")
    assert texts["plan_items_adopted"] == 55
    made = np.stack(table(adopting, "item_embeddings").embedding.tolist())
    np.testing.assert_array_equal(made[5:], vectors[::-1])
    later = materialize(settings_for(tmp_path))
    assert later.success, failure_message(later)
    metadata = metadata_of(later, "item_embeddings")
    assert metadata["items_reused"] == 60


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("", "SID_EMBEDDINGS_SPACE is not set"),
        ('{"model": "Qwen/Qwen3-Embedding-8B"}', "another embedding space"),
    ],
)
def test_vectors_of_another_space_are_rejected(tmp_path: Path, space: str, words: str) -> None:
    write_catalog(tmp_path / "catalog.parquet")
    write_vectors(tmp_path, {1: "one", 2: "two"})
    settings = settings_for(
        tmp_path, embeddings=str(tmp_path / "vectors.parquet"), embeddings_space=space
    )
    result = materialize(settings, "item_texts", "item_embeddings")
    assert not result.success
    assert words in failure_message(result)
