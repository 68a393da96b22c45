"""The quantising run reuses codes where the vector and the tokenizer are unchanged."""

from pathlib import Path

import numpy as np
import pytest

from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.embeddings import cuts
from sid_assets.core.errors import InputError
from sid_assets.core.quantise import run as codes
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.run import CodesProgress, encode_items
from sid_assets.core.quantise.tokenizer import (
    MadeTokenizer,
    TokenizerMaking,
    TokenizerSource,
    commit_tokenizer,
    load_tokenizer,
)
from sid_assets.core.store import chunks
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets_tests.core.drawn_vectors import FakeEmbedder, embed, item_texts

SOURCE = TokenizerSource("train")


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path) -> Store:
    return Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch) -> None:
    """Parts of ten vectors."""
    monkeypatch.setattr(cuts, "CHUNK_ROWS", 10)


def tokenizer(store: Store, embeddings: Version, seed: int = 0) -> Version:
    draw = np.random.default_rng(seed)
    centroids = draw.normal(0, 0.02, (3, 16, 4096)).astype(np.float32)
    made = MadeTokenizer(centroids, TokenizerMaking(SOURCE, centroids.shape))
    return commit_tokenizer(store, made, embeddings)


def encode(store: Store, embeddings: Version, made: Version, warnings: list[str] | None = None):
    said = [] if warnings is None else warnings
    return encode_items(store, "codes", embeddings, made, None, said.append, lambda progress: None)


def encode_and_commit(store: Store, embeddings: Version, made: Version) -> CodesProgress:
    draft, progress = encode(store, embeddings, made)
    store.commit(draft)
    return progress


def codes_by_pid(version: Version) -> dict:
    rows = version.stream(["pid", "codes"]).read_all()
    return dict(zip(rows["pid"].to_pylist(), rows["codes"].to_pylist(), strict=True))


def expected_codes(embeddings: Version, made: Version) -> dict:
    rows = embeddings.stream(["pid", "embedding"]).read_all()
    encoded = Encoder(load_tokenizer(made)).encode(vectors_of(rows["embedding"]))
    return dict(zip(rows["pid"].to_pylist(), encoded.codes.tolist(), strict=True))


def test_every_vector_gets_its_codes(store):
    embeddings = embed(store, item_texts(range(35)), FakeEmbedder()).version
    made = tokenizer(store, embeddings)
    progress = encode_and_commit(store, embeddings, made)
    version = store.require("codes")
    assert codes_by_pid(version) == expected_codes(embeddings, made)
    assert [part.rows for part in version.parts] == [part.rows for part in embeddings.parts]
    assert progress.computed == progress.rows == progress.total_rows == 35
    assert version.provenance.tokenizer == made.provenance.tokenizer
    assert version.provenance.inputs == {
        "item_embeddings": embeddings.provenance.version,
        "tokenizer_checkpoint": made.provenance.version,
    }
    hashes = embeddings.stream(["vector_hash"]).read_all()
    assert version.stream(["vector_hash"]).read_all().equals(hashes)


def test_only_new_vectors_are_quantised(store):
    texts = item_texts(range(0, 80, 2))
    first = embed(store, texts, FakeEmbedder()).version
    made = tokenizer(store, first)
    encode_and_commit(store, first, made)
    later = {pid: text for pid, text in texts.items() if pid % 20} | {3: "new", 8: "changed"}
    second = embed(store, later, FakeEmbedder()).version
    progress = encode_and_commit(store, second, made)
    assert codes_by_pid(store.require("codes")) == expected_codes(second, made)
    assert (progress.computed, progress.reused) == (2, len(later) - 2)


def test_nothing_is_reused_with_another_tokenizer(store):
    embeddings = embed(store, item_texts(range(20)), FakeEmbedder()).version
    encode_and_commit(store, embeddings, tokenizer(store, embeddings))
    other = tokenizer(store, embeddings, seed=1)
    progress = encode_and_commit(store, embeddings, other)
    assert codes_by_pid(store.require("codes")) == expected_codes(embeddings, other)
    assert progress.reused == 0


def test_nothing_is_reused_when_ids_became_text(store):
    texts = item_texts(range(20))
    first = embed(store, texts, FakeEmbedder()).version
    made = tokenizer(store, first)
    encode_and_commit(store, first, made)
    second = embed(store, {str(pid): text for pid, text in texts.items()}, FakeEmbedder()).version
    progress = encode_and_commit(store, second, made)
    assert (progress.computed, progress.reused) == (20, 0)


def test_a_tokenizer_of_another_space_is_refused(store):
    first = embed(store, item_texts(range(5)), FakeEmbedder()).version
    made = tokenizer(store, first)
    other = embed(store, item_texts(range(5)), FakeEmbedder(model="other")).version
    with pytest.raises(InputError, match="different embedding spaces"):
        encode(store, other, made)


def test_finished_parts_are_not_quantised_again(store, monkeypatch):
    embeddings = embed(store, item_texts(range(35)), FakeEmbedder()).version
    made = tokenizer(store, embeddings)
    write = chunks.write_chunk

    def fail_at_the_third(path, schema, chunk, blocks):
        if chunk.number == 2:
            raise ZeroDivisionError
        return write(path, schema, chunk, blocks)

    with monkeypatch.context() as patch:
        patch.setattr(chunks, "write_chunk", fail_at_the_third)
        with pytest.raises(ZeroDivisionError):
            encode(store, embeddings, made)
    draft, progress = encode(store, embeddings, made)
    assert (progress.resumed, progress.computed) == (18, 17)
    assert codes_by_pid(draft.as_version()) == expected_codes(embeddings, made)


def test_damaged_codes_are_made_again(tmp_path):
    store = Store(tmp_path)
    embeddings = embed(store, item_texts(range(35)), FakeEmbedder()).version
    made = tokenizer(store, embeddings)
    encode_and_commit(store, embeddings, made)
    path = Path(store.require("codes").paths[1].path)
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    embeddings = embed(store, item_texts(range(34)), FakeEmbedder()).version
    warnings: list[str] = []
    draft, progress = encode(store, embeddings, made, warnings)
    assert codes_by_pid(draft.as_version()) == expected_codes(embeddings, made)
    assert progress.computed == 9
    assert [path.name in said for said in warnings] == [True, True]
    assert "is damaged or missing" in warnings[0]
    assert "quantised again" in warnings[1]


def test_vectors_of_a_part_without_changes_are_not_read(tmp_path, monkeypatch):
    store = Store(tmp_path)
    texts = item_texts(range(30))
    first = embed(store, texts, FakeEmbedder()).version
    made = tokenizer(store, first)
    encode_and_commit(store, first, made)
    second = embed(store, texts | {15: "changed"}, FakeEmbedder()).version
    read: list[str] = []

    def reading(batches, *arguments):
        for batch in batches:
            read.extend(batch["pid"].to_pylist())
            yield batch

    quantise = codes.quantise
    monkeypatch.setattr(codes, "quantise", lambda batches, *rest: quantise(reading(batches), *rest))
    progress = encode_and_commit(store, second, made)
    assert read == list(range(10, 20))
    assert (progress.computed, progress.reused) == (1, 29)
    assert codes_by_pid(store.require("codes")) == expected_codes(second, made)


def test_a_refresh_without_a_change_writes_no_codes(store):
    texts = item_texts(range(35))
    embeddings = embed(store, texts, FakeEmbedder()).version
    made = tokenizer(store, embeddings)
    encode_and_commit(store, embeddings, made)
    before = store.require("codes")
    progress = encode_and_commit(store, embed(store, texts, FakeEmbedder()).version, made)
    after = store.require("codes")
    assert (progress.rows, progress.reused) == (35, 35)
    assert after.folder != before.folder
    assert after.provenance.version == before.provenance.version
    for mine, theirs in zip(after.paths, before.paths, strict=True):
        assert mine == theirs or Path(mine.path).samefile(theirs.path)
    assert codes_by_pid(after) == expected_codes(embeddings, made)


def test_codes_of_other_vectors_are_not_shared(store):
    """The items and their ranges are the same, but one vector is another one."""
    first = embed(store, item_texts(range(35)), FakeEmbedder()).version
    made = tokenizer(store, first)
    encode_and_commit(store, first, made)
    before = store.require("codes")
    second = embed(store, item_texts(range(35)) | {4: "changed"}, FakeEmbedder()).version
    progress = encode_and_commit(store, second, made)
    after = store.require("codes")
    assert (progress.computed, progress.reused) == (1, 34)
    assert [part.digest in {p.digest for p in before.parts} for part in after.parts] == [
        False,
        True,
        True,
        True,
    ]
    assert after.provenance.inputs["item_embeddings"] == second.provenance.version
    assert codes_by_pid(after) == expected_codes(second, made)


def test_damaged_vectors_are_an_error_that_names_the_file(tmp_path):
    store = Store(tmp_path)
    embeddings = embed(store, item_texts(range(35)), FakeEmbedder()).version
    made = tokenizer(store, embeddings)
    path = Path(embeddings.paths[2].path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Exception, match=path.name):
        encode(store, embeddings, made)
    assert store.current("codes") is None
    mended = embed(store, item_texts(range(35)), FakeEmbedder()).version
    encode_and_commit(store, mended, made)


def test_progress_in_words():
    progress = CodesProgress(total_rows=1000, rows=300, computed=100, reused=150, resumed=50)
    assert progress.describe() == (
        "300 of 1,000 items: 100 quantised, 150 reused, 50 done by an earlier run"
    )
