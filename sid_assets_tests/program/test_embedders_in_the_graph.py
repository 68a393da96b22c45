"""The graph with the vectors of a server."""

from pathlib import Path

import numpy as np
import pytest

from sid_assets.core.embedders.openai_server import KEY_VARIABLE
from sid_assets.core.embedders.qwen3 import Qwen3Embedder
from sid_assets_tests.embedding_server import KEY, EmbeddingServer, served
from sid_assets_tests.films import STAGES
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
        result = materialize(settings, *STAGES)
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
