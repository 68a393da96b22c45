"""The worker of the embedding run: the rows of a chunk, also where a source is damaged."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sid_assets.core.embeddings.cuts import cut_chunks
from sid_assets.core.embeddings.proof import ProvenEmbedder
from sid_assets.core.embeddings.worker import ChunkEmbedder, ItemChunk
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.store.pid_ranges import SortedParts
from sid_assets_tests.core.drawn_vectors import (
    FakeEmbedder,
    commit_texts,
    draft_embeddings,
    embed,
    expected_vectors,
    item_texts,
    vectors_by_pid,
)
from sid_assets_tests.core.embeddings.interrupted import (
    DENY,
    FailingEmbedder,
    flip_a_bit,
    survey_of,
)


def test_vectors_that_are_not_unit_vectors_are_rejected(store):
    class Bad(FakeEmbedder):
        def vector(self, text: str) -> np.ndarray:
            return np.full(4096, np.nan, np.float32) if text == "bad" else super().vector(text)

    texts = commit_texts(store, {1: "good", 2: "bad"})
    with pytest.raises(InputError, match=r"fake: .*not finite.*\(1 row\)\. First ids: 2\."):
        draft_embeddings(store, texts, Bad())
    assert store.current("item_embeddings") is None


def test_damaged_texts_are_an_error(local):
    texts = commit_texts(local, item_texts(range(2000)))
    flip_a_bit(Path(texts.paths[0].path))
    with pytest.raises(StoreError, match=r"item_texts\.parquet: not a complete parquet file"):
        draft_embeddings(local, texts, FakeEmbedder())


def test_the_embedder_gets_all_texts_of_a_chunk_at_once(store):
    """It sorts them by length and embeds duplicates once."""
    texts = commit_texts(store, {pid: f"Text {pid % 7}" for pid in range(3000)})
    embedder = FakeEmbedder()
    draft_embeddings(store, texts, embedder)
    assert max(map(len, embedder.calls)) == 3000


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.999])
def test_a_damaged_part_of_an_unfinished_draft_is_made_again(local, place):
    texts = item_texts(range(40))
    version = commit_texts(local, texts)
    with pytest.raises(ZeroDivisionError):
        draft_embeddings(local, version, FailingEmbedder("Title: film 30"))
    (run,) = local.unfinished("item_embeddings")
    flip_a_bit(Path(run.folder.path, "part-00001-of-00006.parquet"), place)
    for changed in (texts, texts | {0: "so that the parts are read and not resumed"}):
        draft, _, progress, _ = draft_embeddings(
            local, commit_texts(local, changed), FakeEmbedder()
        )
        draft.close()
        assert vectors_by_pid(draft.as_version()) == expected_vectors(changed, FakeEmbedder())
        if changed is texts:
            assert progress.embedded == 40 - 21


@pytest.mark.parametrize("where", ["vectors", "hashes", "footer", "gone"])
def test_the_next_run_repairs_a_damaged_version(local, where):
    """Only items that cannot be read are embedded again, and the log says so."""
    texts = item_texts(range(1500))  # two row groups
    first = embed(local, texts, FakeEmbedder())
    path = Path(first.version.paths[0].path)
    if where == "gone":
        path.unlink()
    else:
        metadata = pq.read_metadata(path)
        column = metadata.row_group(1).column({"vectors": 1, "hashes": 2, "footer": 0}[where])
        offset = column.data_page_offset + column.total_compressed_size // 2
        flip_a_bit(path, 0.9999 if where == "footer" else offset / path.stat().st_size)
    embedder = FakeEmbedder()
    run = embed(local, texts, embedder, DENY)
    assert vectors_by_pid(run.version) == expected_vectors(texts, embedder)
    assert run.progress.embedded == (1500 if where in ("footer", "gone") else 1500 - 1024)
    assert any(path.name in warning and "embedded again" in warning for warning in run.warnings)
    assert run.changes.removed == run.changes.changed == 0


def copy_of(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - its own


def test_the_worker_can_be_sent_to_another_process(local):
    texts = item_texts(range(10))
    run = embed(local, texts, FakeEmbedder())
    version = local.require("item_texts")
    survey = survey_of(local, version)
    (cut,) = cut_chunks(version, survey.not_lasting(), 1000)
    canary = run.version.provenance.details["canary"]
    proven = ProvenEmbedder(FakeEmbedder(), canary)
    worker = ChunkEmbedder(SortedParts.of(version), survey.sources, proven, None)
    chunk = ItemChunk(**vars(cut), origins=survey.origins, is_unchanged=True)
    blocks, summary = copy_of(worker)(copy_of(chunk), print)
    assert sum(block.num_rows for block in blocks) == 10
    assert summary.embedded == 0
