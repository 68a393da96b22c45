"""`item_embeddings` as Dagster runs it: embedders that fail, and vectors made elsewhere."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.errors import InputError
from sid_assets_tests.films import STAGES
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    table,
    write_catalog,
)


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


def test_a_device_that_only_the_nodes_of_ray_may_have_is_refused_before_anything_is_embedded(
    tmp_path: Path,
) -> None:
    """The tokenizer is trained by the run itself."""
    write_catalog(tmp_path / "catalog.parquet")
    settings = settings_for(tmp_path, backend="ray", device="hpu")
    assert materialize(settings, "item_texts").success
    said = failure_message(materialize(settings, "item_embeddings"))
    assert "SID_DEVICE=hpu: with SID_TOKENIZER=train, the run itself trains the tokenizer" in said
    assert "Leave SID_DEVICE empty" in said


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
    result = materialize(adopting, *STAGES)
    assert result.success, failure_message(result)
    metadata = metadata_of(result, "item_embeddings")
    assert metadata["items_adopted"] == 55
    assert metadata["items_embedded"] == 5
    texts = metadata_of(result, "item_texts")
    assert texts["plan_items_adopted"] == 55
    made = np.stack(table(adopting, "item_embeddings").embedding.tolist())
    np.testing.assert_array_equal(made[5:], vectors[::-1])
    later = materialize(settings_for(tmp_path), *STAGES)
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
