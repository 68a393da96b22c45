"""An embedder that no longer gives the same vectors embeds nothing."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.embedders.canary import PROBES
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.vector_files import VectorFiles
from sid_assets_tests.core.drawn_vectors import (
    FakeEmbedder,
    commit_texts,
    draft_embeddings,
    embed,
    item_texts,
)
from sid_assets_tests.core.embeddings.interrupted import FailingEmbedder


def test_a_model_that_changed_under_the_same_name_embeds_nothing(store):
    texts = item_texts(range(10))
    first = embed(store, texts, FakeEmbedder())
    changed = FakeEmbedder(actual="something else")
    with pytest.raises(InputError, match="no longer gives the same vectors"):
        draft_embeddings(store, commit_texts(store, texts | {50: "new"}), changed)
    assert set(changed.embedded) == set(PROBES)
    assert store.require("item_embeddings") == first.version


@pytest.mark.usefixtures("small_chunks")
def test_a_model_that_changed_after_an_unfinished_first_run_embeds_nothing(store):
    texts = commit_texts(store, item_texts(range(20)))
    with pytest.raises(ZeroDivisionError):
        draft_embeddings(store, texts, FailingEmbedder(fails_at="Title: film 10"))
    changed = FakeEmbedder(actual="something else")
    with pytest.raises(InputError, match="no longer gives the same vectors"):
        draft_embeddings(store, texts, changed)
    assert set(changed.embedded) == set(PROBES)


@pytest.mark.usefixtures("small_chunks")
def test_a_model_that_changed_after_all_vectors_were_adopted_is_detected(store, tmp_path):
    """Adopted vectors reveal nothing about the embedder; vectors it made since then do."""
    old, new = item_texts(range(10)), item_texts(range(40))
    vectors = {"pid": list(old), "embedding": [FakeEmbedder().vector(t) for t in old.values()]}
    pq.write_table(pa.table(vectors), tmp_path / "vectors.parquet")
    files = VectorFiles(str(tmp_path / "vectors.parquet"))
    draft, *_ = draft_embeddings(store, commit_texts(store, old), FakeEmbedder(), files=files)
    store.commit(draft)
    texts = commit_texts(store, new)
    with pytest.raises(ZeroDivisionError):
        draft_embeddings(store, texts, FailingEmbedder(fails_at="Title: film 30"))
    with pytest.raises(InputError, match="no longer gives the same vectors"):
        draft_embeddings(store, texts, FakeEmbedder(actual="something else"))


def test_a_damaged_version_still_knows_its_model(local):
    """Only the same model may repair it."""
    texts = item_texts(range(10))
    first = embed(local, texts, FakeEmbedder())
    Path(first.version.paths[0].path).unlink()
    with pytest.raises(InputError, match="no longer gives the same vectors"):
        draft_embeddings(local, commit_texts(local, texts), FakeEmbedder(actual="other"))


def test_probe_texts_of_an_older_release_are_replaced(store, monkeypatch):
    texts = item_texts(range(5))
    with monkeypatch.context() as patch:
        patch.setattr("sid_assets.core.embedders.canary.PROBES", ("another", "text"))
        embed(store, texts, FakeEmbedder())
    run = embed(store, texts | {9: "new"}, FakeEmbedder())
    with pytest.raises(InputError, match="no longer gives the same vectors"):
        embed(store, texts | {9: "newer"}, FakeEmbedder(actual="other"))
    assert run.progress.reused == 5
