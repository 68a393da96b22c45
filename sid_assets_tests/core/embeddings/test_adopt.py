"""Vectors that exist already are taken over, once, and never mixed up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sid_assets.core.arrow.hashes import text_hash
from sid_assets.core.embedders import Embedded
from sid_assets.core.embeddings import adopt as adoption
from sid_assets.core.embeddings import cuts, worker
from sid_assets.core.embeddings import run as embedding
from sid_assets.core.embeddings.adopt import declared_space
from sid_assets.core.embeddings.plan import make_plan
from sid_assets.core.embeddings.run import embed_items
from sid_assets.core.errors import InputError
from sid_assets.core.inputs import vector_files
from sid_assets.core.inputs.vector_files import VectorFiles
from sid_assets.core.schema import EMBEDDING_DIM
from sid_assets.core.store import parts
from sid_assets.core.store.store import Store
from sid_assets_tests.core.drawn_vectors import (
    ALLOW_ALL,
    Embedding,
    FakeEmbedder,
    commit_texts,
    expected_vectors,
    item_texts,
    text_table,
    vectors_by_pid,
)

OTHERS = FakeEmbedder("others")
"""Made the vectors that exist already; ours gives other ones, so that it shows whose they are."""


class NoEmbedder(FakeEmbedder):
    """One whose weights must not be loaded."""

    def embed(self, texts: Any) -> Embedded:
        raise AssertionError(f"was asked to embed {texts}")


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path) -> Store:
    return Store(tmp_path / "data" if request.param == "local" else f"memory://{tmp_path.name}")


@pytest.fixture
def small_parts(monkeypatch) -> None:
    """Several runs, parts, chunks and batches, of few rows."""
    monkeypatch.setattr(adoption, "VECTOR_RUN_BYTES", 4 * EMBEDDING_DIM * 4)
    monkeypatch.setattr(vector_files, "PID_RUN_BYTES", 64)
    monkeypatch.setattr(vector_files, "PID_ROWS", 3)
    monkeypatch.setattr(vector_files, "VECTOR_ROW_GROUP", 2)
    monkeypatch.setattr(adoption, "PID_ROWS", 3)
    monkeypatch.setattr(adoption, "ROWS_PER_PART", 3)
    monkeypatch.setattr(adoption, "VECTOR_ROW_GROUP", 2)
    monkeypatch.setattr(cuts, "CHUNK_ROWS", 7)
    monkeypatch.setattr(worker, "VECTOR_ROW_GROUP", 2)


def others_vectors(pids: list) -> np.ndarray:
    return np.stack([OTHERS.vector(str(pid)) for pid in pids])


def write_vectors(path: Path, pids: list, vectors: Any = None, kind: Any = None) -> VectorFiles:
    """A file of vectors, in the order of the pids; `kind` is the type of its column."""
    rows = list(others_vectors(pids) if vectors is None else vectors)
    column = pa.array(rows, pa.list_(pa.float32())).cast(kind or pa.list_(pa.float32()))
    pq.write_table(pa.table({"pid": pids, "embedding": column}), path, row_group_size=5)
    return VectorFiles(str(path))


def adopt(
    store: Store, texts: dict, files: VectorFiles | None, embedder: FakeEmbedder | None = None
) -> Embedding:
    """Commit these texts and their vectors."""
    warnings: list[str] = []
    draft, changes, progress = embed_items(
        store,
        "item_embeddings",
        commit_texts(store, texts),
        embedder or FakeEmbedder(),
        ALLOW_ALL,
        warnings.append,
        lambda progress: None,
        files=files,
    )
    return Embedding(store.commit(draft), changes, progress, warnings)


def of_others(pids: Any) -> dict:
    """What `vectors_by_pid` gives for adopted items."""
    return {pid: OTHERS.vector(str(pid)).tobytes() for pid in pids}


@pytest.mark.parametrize("order", ["sorted", "mixed"])
@pytest.mark.usefixtures("small_parts")
def test_all_items_take_their_vectors_and_no_model_is_loaded(store, tmp_path, order):
    pids = list(range(1, 41))
    if order == "mixed":
        np.random.default_rng(0).shuffle(pids)
    files = write_vectors(tmp_path / "vectors.parquet", pids)
    run = adopt(store, item_texts(range(1, 31)), files, NoEmbedder())
    assert vectors_by_pid(run.version) == of_others(range(1, 31))
    assert (run.progress.adopted, run.progress.reused, run.progress.embedded) == (30, 0, 0)
    assert run.version.provenance.details["adopted"] == 30
    hashes = run.version.stream(["text_hash"]).read_all()["text_hash"].to_pylist()
    assert hashes == [text_hash(text) for text in item_texts(range(1, 31)).values()]


@pytest.mark.usefixtures("small_parts")
def test_items_that_the_files_do_not_have_are_embedded(store, tmp_path):
    files = write_vectors(tmp_path / "vectors.parquet", [9, 3, 700, 4])
    texts = item_texts(range(20))
    run = adopt(store, texts, files)
    ours = {pid: text for pid, text in texts.items() if pid not in (3, 4, 9)}
    expected = expected_vectors(ours, FakeEmbedder()) | of_others([3, 4, 9])
    assert vectors_by_pid(run.version) == expected
    assert (run.progress.adopted, run.progress.embedded) == (3, 17)
    assert run.version.provenance.details["canary"]


def test_vectors_that_are_not_what_the_embedder_gives_are_refused_before_the_first_item(
    store, tmp_path
):
    files = write_vectors(tmp_path / "vectors.parquet", list(range(1, 31)))
    embedder = FakeEmbedder()
    with pytest.raises(InputError, match=r"8 of 8 compared.*1: -?0\.0.*30: -?0\.0.*model, pooling"):
        adopt(store, item_texts(range(1, 32)), files, embedder)
    assert store.current("item_embeddings") is None
    assert "Title: film 31" not in embedder.embedded


def test_they_are_compared_by_the_first_run_that_embeds_something(store, tmp_path):
    files = write_vectors(tmp_path / "vectors.parquet", list(range(1, 31)))
    adopt(store, item_texts(range(1, 31)), files, NoEmbedder())
    with pytest.raises(InputError, match=r"8 of 8 compared items.*another SID_DATA_DIR"):
        adopt(store, item_texts(range(1, 32)), None)


def test_a_vector_of_an_older_text_is_kept_and_that_is_said(store, tmp_path):
    texts = item_texts(range(1, 32))
    vectors = [FakeEmbedder().vector(texts[pid]) for pid in range(1, 31)]
    vectors[0] = FakeEmbedder().vector("an older text")
    files = write_vectors(tmp_path / "vectors.parquet", list(range(1, 31)), vectors)
    run = adopt(store, texts, files)
    assert vectors_by_pid(run.version)[1] == vectors[0].tobytes()
    assert any("1 of 8 compared items" in line for line in run.warnings)
    later = adopt(store, item_texts(range(1, 33)), files)
    assert not later.warnings  # from then on the canary stands for all vectors


def test_later_they_are_vectors_like_any_others(store, tmp_path):
    path = tmp_path / "vectors.parquet"
    files = write_vectors(path, [1, 2, 3, 4])
    adopt(store, item_texts([1, 2, 3]), files)
    texts = item_texts([1, 2, 4]) | {2: "another text"}
    write_vectors(path, [1, 2, 3, 4], others_vectors([10, 20, 30, 4]))
    run = adopt(store, texts, VectorFiles(str(path)))
    changed = {2: FakeEmbedder().vector("another text").tobytes()}
    assert vectors_by_pid(run.version) == of_others([1, 4]) | changed
    assert (run.progress.reused, run.progress.adopted, run.progress.embedded) == (1, 1, 1)
    path.unlink()
    again = adopt(store, texts, None, NoEmbedder())
    assert vectors_by_pid(again.version) == vectors_by_pid(run.version)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float16()),
        pa.list_(pa.float64()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), EMBEDDING_DIM),
        pa.list_(pa.float16(), EMBEDDING_DIM),
    ],
    ids=str,
)
def test_types_of_vectors(store, tmp_path, kind):
    files = write_vectors(tmp_path / "vectors.parquet", [2, 1], kind=kind)
    run = adopt(store, item_texts([1, 2]), files, NoEmbedder())
    assert vectors_by_pid(run.version) == of_others([1, 2])  # 1/64 and -1/64 are exact in all


def test_vectors_of_another_norm_are_normalised_and_that_is_said(store, tmp_path):
    vectors = others_vectors([1, 2, 3]) * np.array([[1], [64], [1e30]])
    files = write_vectors(tmp_path / "vectors.parquet", [1, 2, 3], vectors)
    run = adopt(store, item_texts([1, 2, 3]), files, NoEmbedder())
    assert any("2 of 3 adopted vectors did not have unit norm" in line for line in run.warnings)
    for pid, vector in vectors_by_pid(run.version).items():
        np.testing.assert_allclose(np.frombuffer(vector, "<f4"), OTHERS.vector(str(pid)), rtol=1e-6)


def test_several_files_of_string_ids_in_a_folder(store, tmp_path):
    folder = tmp_path / "vectors"
    folder.mkdir()
    write_vectors(folder / "a.parquet", ["b", "007"])
    write_vectors(folder / "b.parquet", ["ä", "a"])
    pids = ["007", "a", "b", "ä"]
    run = adopt(store, dict.fromkeys(pids, "a text"), VectorFiles(str(folder)), NoEmbedder())
    assert vectors_by_pid(run.version) == of_others(pids)


def spoiled(change: Callable[[np.ndarray], Any]) -> list:
    vectors = list(others_vectors([1, 2, 3]))
    vectors[1] = change(vectors[1])
    return vectors


@pytest.mark.parametrize(
    ("pids", "vectors", "words"),
    [
        ([1, 2, 3], spoiled(lambda v: v[:-1]), ["not 4096 wide", "First ids: 2"]),
        ([1, 2, 3], spoiled(lambda v: None), ["missing", "First ids: 2"]),
        ([1, 2, 3], spoiled(lambda v: v * np.nan), ["not finite", "First ids: 2"]),
        ([1, 2, 3], spoiled(lambda v: v * np.inf), ["not finite", "First ids: 2"]),
        ([1, 2, 3], spoiled(lambda v: v * 0), ["zero", "First ids: 2"]),
        ([1, 2, 3], spoiled(lambda v: [None, *v[1:]]), ["not finite", "First ids: 2"]),
        ([1, 2, 2], None, ["id of an earlier row", "First ids: 2"]),
        ([1, None, 3], None, ["without an id", "column 'pid'"]),
        (["1", "2", "x"], None, ["not 64-bit integers", "'x'"]),
    ],
)
def test_what_is_wrong_is_an_error_and_changes_nothing(tmp_path, pids, vectors, words):
    store = Store(tmp_path / "data")
    before = adopt(store, item_texts([5]), None).version
    files = write_vectors(tmp_path / "vectors.parquet", pids, vectors)
    with pytest.raises(InputError) as failure:
        adopt(store, item_texts([1, 2, 3, 5]), files)
    assert str(tmp_path / "vectors.parquet") in str(failure.value)
    assert all(word in str(failure.value) for word in words), failure.value
    assert store.require("item_embeddings") == before
    mended = write_vectors(tmp_path / "vectors.parquet", [1, 2, 3])
    assert adopt(store, item_texts([1, 2, 3, 5]), mended).progress.adopted == 3


def test_integers_do_not_match_text_unless_somebody_says_so(tmp_path):
    store = Store(tmp_path / "data")
    files = write_vectors(tmp_path / "vectors.parquet", [1, 2])
    with pytest.raises(InputError, match="SID_PID_TYPE"):
        adopt(store, {"1": "one", "x": "ex"}, files)
    run = adopt(store, {"1": "one", "x": "ex"}, VectorFiles(files.setting, "string"))
    assert run.progress.adopted == 1


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pa.table({"id": [1]}), "no column 'pid'"),
        (pa.table({"pid": [1], "embedding": ["x"]}), "lists of floats"),
        (pa.table({"pid": [1], "embedding": pa.array([[1.0]], pa.list_(pa.float32(), 1))}), "wide"),
    ],
)
def test_columns_that_are_no_vectors_are_refused_unread(tmp_path, table, words):
    pq.write_table(table, tmp_path / "vectors.parquet")
    with pytest.raises(InputError, match=words):
        adopt(
            Store(tmp_path / "data"),
            item_texts([1]),
            VectorFiles(f"{tmp_path / 'vectors.parquet'}"),
        )


@pytest.mark.parametrize("damage", ["gone", "row group"])
def test_an_item_whose_row_is_damaged_does_not_take_the_vector_of_its_old_text(
    tmp_path, monkeypatch, damage
):
    monkeypatch.setattr(parts, "VECTOR_ROW_GROUP", 2)  # the first two items are one
    monkeypatch.setattr(embedding, "SURVEYED_ROWS", 1)  # damage shows while the rows stream
    store = Store(tmp_path / "data")
    files = write_vectors(tmp_path / "vectors.parquet", [1, 2, 3, 4, 9])
    adopt(store, item_texts([1, 2, 3, 4]), files)
    texts = item_texts([1, 2, 3, 4]) | {2: "another text"}
    path = Path(adopt(store, texts, files).version.paths[0].path)
    if damage == "gone":
        path.unlink()
    else:
        _damage_text_hashes(path)
    run = adopt(store, texts | {9: "new"}, files)
    lost = [1, 2] if damage == "row group" else [1, 2, 3, 4]
    ours = expected_vectors({pid: texts[pid] for pid in lost}, FakeEmbedder())
    assert vectors_by_pid(run.version) == of_others({1, 2, 3, 4, 9} - set(lost)) | ours
    assert any("Its items are embedded again" in warning for warning in run.warnings)


def _damage_text_hashes(path: Path) -> None:
    """Flip a bit of the first row group, where its hashes are."""
    column = pq.read_metadata(path).row_group(0).column(2)
    assert column.path_in_schema == "text_hash"
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


def test_a_run_that_failed_after_adopting_does_not_read_the_files_again(tmp_path, monkeypatch):
    store = Store(tmp_path / "data")
    files = write_vectors(tmp_path / "vectors.parquet", [3, 1, 2])
    texts = item_texts([1, 2, 3, 4])
    with pytest.raises(AssertionError, match="asked to embed"):
        adopt(store, texts, files, NoEmbedder())

    def fail(*arguments: Any) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(VectorFiles, "vectors", fail)
    reader = commit_texts(store, texts).stream(["pid", "text", "text_hash"])
    plan = make_plan(store, "item_embeddings", reader, FakeEmbedder(), files=files)
    assert plan.adopted == 3
    assert plan.disk_needed < 5 * 16_384  # the version, and nothing of what is adopted already
    run = adopt(store, texts, files)
    assert (run.progress.adopted, run.progress.embedded) == (3, 1)
    left = [path for path in store.history("item_embeddings").iterdir() if path.is_dir()]
    assert {path.name for path in left} <= {run.version.folder.name, "current"}


def test_a_run_that_failed_while_adopting_begins_anew(tmp_path, monkeypatch):
    store = Store(tmp_path / "data")
    monkeypatch.setattr(adoption, "ROWS_PER_PART", 1)
    monkeypatch.setattr(adoption, "VECTOR_ROW_GROUP", 1)
    monkeypatch.setattr(vector_files, "VECTOR_ROW_GROUP", 1)
    files = write_vectors(tmp_path / "vectors.parquet", [1, 2, 3])
    real = VectorFiles.vectors

    def breaks_off(self, *arguments):
        rows = real(self, *arguments)
        yield next(rows)
        yield next(rows)
        raise OSError("the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(VectorFiles, "vectors", breaks_off)
        with pytest.raises(Exception, match="network is gone"):
            adopt(store, item_texts([1, 2, 3]), files)
    run = adopt(store, item_texts([1, 2, 3]), files, NoEmbedder())
    assert vectors_by_pid(run.version) == of_others([1, 2, 3])


def test_the_plan_tells_of_them_and_writes_nothing(tmp_path):
    store = Store(tmp_path / "data")
    files = write_vectors(tmp_path / "vectors.parquet", [3, 1, 9])
    reader = text_table(item_texts([1, 2, 3])).to_reader()
    plan = make_plan(store, "item_embeddings", reader, FakeEmbedder(), files=files)
    assert (plan.adopted, plan.texts, plan.changes.new) == (2, 1, 3)
    assert "vectors of 2 new items" in plan.describe()
    assert not (tmp_path / "data").exists()


SPACE = FakeEmbedder().space


@pytest.mark.parametrize("text", ['{"model": "fake"}', '{"model": "fake", "max_length": 0}'])
def test_a_declaration_that_is_true_of_the_embedder(text):
    declared_space(text, SPACE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fake", "must be a JSON object"),
        ("{}", "must be a JSON object"),
        ('["model"]', "must be a JSON object"),
        ('{"model": "fake", "colour": "red"}', "Possible fields: embedder, model"),
        ('{"model": "another"}', "model: 'another', but the embedder's is 'fake'"),
        ('{"model": "fake", "max_length": 512}', "max_length: 512"),
    ],
)
def test_a_declaration_that_is_none_or_another(text, words):
    with pytest.raises(InputError, match=words):
        declared_space(text, SPACE)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    # Eight vectors that are none of ours would be refused.
    there=st.lists(st.integers(-20, 20), unique=True, min_size=1, max_size=7),
    before=st.sets(st.integers(-20, 20), min_size=1),
    now=st.sets(st.integers(-20, 20), min_size=1),
)
@pytest.mark.usefixtures("small_parts")
def test_an_item_has_the_vector_of_before_else_an_adopted_one_else_its_own(
    tmp_path_factory, there, before, now
):
    folder = tmp_path_factory.mktemp("any")
    store = Store(folder / "data")
    adopt(store, item_texts(before), None)
    files = write_vectors(folder / "vectors.parquet", there)
    run = adopt(store, item_texts(now), files)
    adopted = (set(there) & now) - before
    ours = expected_vectors(item_texts(now - adopted), FakeEmbedder())
    assert vectors_by_pid(run.version) == ours | of_others(adopted)
