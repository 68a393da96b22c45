"""The sample of items: who is in it, and where its vectors are read from."""

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.errors import StoreError
from sid_assets.core.quality import sample
from sid_assets.core.quality.sample import choose, keep_sample, pid_hashes, read_sample, rows_of
from sid_assets.core.store.store import Store
from sid_assets_tests.core.drawn_vectors import FakeEmbedder, embed, item_texts

COLUMNS = ["pid", "vector_hash"]


@pytest.fixture
def small(monkeypatch):
    """A sample of 20 items, 5 of them queries; one item may be missing among the kept."""
    monkeypatch.setattr(sample, "SAMPLE_ITEMS", 20)
    monkeypatch.setattr(sample, "QUERIES", 5)
    monkeypatch.setattr(sample, "MOST_MISSING", 1)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def pid_batches(pids: list, rows: int = 7) -> list[pa.RecordBatch]:
    return pa.table({"pid": pids, "place": range(len(pids))}).to_batches(max_chunksize=rows)


def test_hashes_of_pids_are_the_same_on_every_machine():
    hashes = pid_hashes(pa.array([0, 1, -1, 2**63 - 1]))
    # The first value is the first output of SplitMix64 for seed 0.
    assert hashes.tolist()[0] == 0xE220A8397B1DCDAF
    assert len(set(hashes.tolist())) == 4
    [text] = pid_hashes(pa.array(["abc"]))
    assert int(text).to_bytes(8, "little").hex() == "ba7816bf8f01cfea"  # SHA-256 of "abc"


@pytest.mark.parametrize("as_text", [False, True])
def test_the_items_with_the_smallest_hashes_are_chosen_in_the_order_of_pids(small, as_text):
    pids = sorted(map(str, range(1000))) if as_text else list(range(1000))
    hashes = pid_hashes(pa.array(pids))
    wanted = sorted(np.argsort(hashes)[:20].tolist())
    for rows in (1, 7, 1000):
        chosen = choose(pid_batches(pids, rows))
        assert chosen.columns["place"].to_pylist() == wanted
        assert chosen.pids.to_pylist() == [pids[place] for place in wanted]
        assert np.argsort(chosen.ranks).tolist() == np.argsort(hashes[wanted]).tolist()


def test_other_items_do_not_change_who_is_in_it(small):
    before = set(choose(pid_batches(list(range(0, 1000)))).pids.to_pylist())
    after = set(choose(pid_batches(list(range(1, 1010)))).pids.to_pylist())
    assert len(before & after) >= 19


def test_a_small_catalog_is_in_it_as_a_whole(small):
    assert choose(pid_batches([3, 4, 9])).pids.to_pylist() == [3, 4, 9]
    assert not len(choose([]).pids)


def test_queries_are_its_first_items_by_hash(small, store):
    version = embed(store, item_texts(range(30)), FakeEmbedder()).version
    found = read_sample(choose(version.stream(COLUMNS)), [version])
    by_hash = np.argsort(pid_hashes(found.pids))
    assert found.queries().tolist() == sorted(by_hash[:5].tolist())
    among = np.sort(by_hash[10:])
    assert found.queries(among).tolist() == sorted(by_hash[10:15].tolist())


def test_vectors_are_those_of_the_items(small, store):
    embedder, texts = FakeEmbedder(), item_texts(range(50))
    version = embed(store, texts, embedder).version
    found = read_sample(choose(version.stream(COLUMNS)), [version])
    assert len(found.pids) == 20
    for pid, vector in zip(found.pids.to_pylist(), found.vectors, strict=True):
        assert vector.tobytes() == embedder.vector(texts[pid]).tobytes()


def test_row_groups_without_its_items_are_not_read(store, monkeypatch):
    version = embed(store, item_texts(range(2500)), FakeEmbedder()).version
    rows = rows_of(version, pa.array([5, 2400]), ["pid"])
    assert pa.Table.from_batches(rows)["pid"].to_pylist() == [5, 2400]
    groups = []
    whole = sample.open_part

    def counting(path, footer):
        file = whole(path, footer)
        batches = file.iter_batches
        monkeypatch.setattr(
            type(file),
            "iter_batches",
            lambda _, **options: groups.extend(options["row_groups"]) or batches(**options),
        )
        return file

    monkeypatch.setattr(sample, "open_part", counting)
    assert [len(batch) for batch in rows_of(version, pa.array([5, 7]), ["pid"])] == [2]
    assert groups == [0]


def test_a_small_catalog_is_not_kept_twice(small, store):
    version = embed(store, item_texts(range(20)), FakeEmbedder()).version
    assert keep_sample(store, "quality_sample", version) == 0
    assert store.current("quality_sample") is None


def test_kept_vectors_are_written_once_and_again_when_many_have_changed(small, store):
    embedder, texts = FakeEmbedder(), item_texts(range(60))
    version = embed(store, texts, embedder).version
    assert keep_sample(store, "quality_sample", version) == 20
    kept = store.require("quality_sample")
    assert kept.provenance.inputs == {"item_embeddings": version.provenance.version}
    assert keep_sample(store, "quality_sample", version) == 0

    pids = kept.stream(["pid"]).read_all()["pid"].to_pylist()
    one = embed(store, texts | {pids[0]: "other"}, embedder).version
    assert keep_sample(store, "quality_sample", one) == 0  # one may be missing
    two = embed(store, texts | {pids[0]: "other", pids[1]: "another"}, embedder).version
    assert keep_sample(store, "quality_sample", two) == 20
    assert store.require("quality_sample").provenance.version != kept.provenance.version


def test_kept_vectors_are_used_if_their_hash_is_that_of_today(small, store):
    embedder, texts = FakeEmbedder(), item_texts(range(60))
    keep_sample(store, "quality_sample", embed(store, texts, embedder).version)
    kept = store.require("quality_sample")
    changed = kept.stream(["pid"]).read_all()["pid"][0].as_py()
    texts[changed] = "other"
    today = embed(store, texts, embedder).version
    chosen = choose(today.stream(COLUMNS))
    without = read_sample(chosen, [kept])
    assert len(without.pids) == len(without.vectors) == 19
    assert changed not in without.pids.to_pylist()
    assert len(without.columns) == len(without.ranks) == 19
    both = read_sample(chosen, [kept, today])
    assert both.pids.equals(chosen.pids)
    vectors = [embedder.vector(texts[pid]).tobytes() for pid in both.pids.to_pylist()]
    assert [vector.tobytes() for vector in both.vectors] == vectors


def test_ids_of_another_type_start_a_new_sample(small, store):
    embedder = FakeEmbedder()
    keep_sample(store, "quality_sample", embed(store, item_texts(range(60)), embedder).version)
    texts = {str(pid): text for pid, text in item_texts(range(60)).items()}
    version = embed(store, texts, embedder).version
    chosen = choose(version.stream(COLUMNS))
    assert not len(read_sample(chosen, [store.require("quality_sample")]).pids)
    assert keep_sample(store, "quality_sample", version) == 20


def test_a_damaged_part_is_named(small, store):
    version = embed(store, item_texts(range(60)), FakeEmbedder()).version
    chosen = choose(version.stream(COLUMNS))
    path = version.paths[0]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoreError, match=path.name):
        read_sample(chosen, [version])


def test_damaged_kept_vectors_are_read_and_written_again(small, store):
    version = embed(store, item_texts(range(60)), FakeEmbedder()).version
    keep_sample(store, "quality_sample", version)
    kept, chosen = store.require("quality_sample"), choose(version.stream(COLUMNS))
    kept.paths[0].write_bytes(b"damaged")
    assert read_sample(chosen, [kept, version]).pids.equals(chosen.pids)
    assert keep_sample(store, "quality_sample", version) == 20
    assert len(read_sample(chosen, [store.require("quality_sample")]).pids) == 20
