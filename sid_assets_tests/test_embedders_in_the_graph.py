"""The graph with an embedder that is not the demo's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sid_assets.core.embedders.openai_server import KEY_VARIABLE
from sid_assets.core.embedders.qwen3 import Qwen3Embedder
from sid_assets_tests.embedding_server import KEY, EmbeddingServer
from sid_assets_tests.graph import failure_message, materialize, settings_for, table, write_catalog
from sid_assets_tests.model_fixtures import small_model  # noqa: F401 - a fixture


@pytest.mark.parametrize("tokenise_here", [True, False])
def test_a_server_makes_the_vectors(
    tmp_path: Path,
    small_model: Path,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
    tokenise_here: bool,
) -> None:
    model = Qwen3Embedder(str(small_model))
    model.embed(["a"])

    def serve(inputs: Sequence[Any]) -> np.ndarray:
        if isinstance(inputs[0], str):
            return model.embed(inputs).vectors
        vectors = model._network.embed(inputs)
        assert vectors is not None
        return vectors

    monkeypatch.setenv(KEY_VARIABLE, KEY)
    write_catalog(tmp_path / "catalog.parquet")
    with EmbeddingServer(serve) as server:
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
    sent_texts = {isinstance(request["input"][0], str) for request in server.requests}
    assert sent_texts == {not tokenise_here}
    expected = model.embed(table(settings, "item_texts").text.tolist()).vectors
    vectors = np.stack(table(settings, "item_embeddings").embedding.tolist())
    assert ((vectors * expected).sum(axis=1) > 0.9999).all()


def test_a_server_needs_a_url(tmp_path: Path) -> None:
    write_catalog(tmp_path / "catalog.parquet")
    result = materialize(settings_for(tmp_path, embedder="openai"), "item_texts")
    assert not result.success
    assert "SID_EMBEDDING_URL is not set" in failure_message(result)
