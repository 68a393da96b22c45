"""Quantising as a stream: order, reuse, memory, and errors from the reading thread."""

import threading

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core import schema
from sid_assets.core.arrow.hashes import vector_hashes
from sid_assets.core.arrow.vectors import vector_array
from sid_assets.core.errors import InputError
from sid_assets.core.quantise import stream as module
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.stream import Quantised, prefetched, quantise

DIM, SIZE, ROWS = 12, 30, 3000


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)


class CountingEncoder(Encoder):
    """An encoder that records the number of rows of each call."""

    def __init__(self, centroids):
        super().__init__(centroids)
        self.calls = []

    def encode(self, vectors):
        self.calls.append(len(vectors))
        return super().encode(vectors)


@pytest.fixture
def encoder():
    centroids = np.random.default_rng(1).standard_normal((3, SIZE, DIM)).astype(np.float32)
    return CountingEncoder(centroids)


def embeddings(vectors, pids=None, batch_rows=250):
    pids = pa.array(range(len(vectors)) if pids is None else pids)
    table = pa.table(
        {
            "pid": pids,
            "embedding": vector_array(vectors),
            "vector_hash": vector_hashes(vectors),
        }
    )
    return table.to_batches(max_chunksize=batch_rows)


def table_of(batches):
    return pa.Table.from_batches(list(batches))


def test_rows_are_those_of_the_encoder_in_their_order(vectors, encoder):
    counts = Quantised()
    table = table_of(quantise(embeddings(vectors), encoder, counts=counts))
    assert table.schema == schema.codes("int")
    assert table["pid"].to_pylist() == list(range(ROWS))
    expected = encoder.encode(vectors)
    np.testing.assert_array_equal(np.stack(table["codes"].to_numpy()), expected.codes)
    norms = table["residual_norms"].combine_chunks().flatten().to_numpy().reshape(-1, 4)
    np.testing.assert_array_equal(norms, expected.residual_norms)
    assert table["vector_hash"].combine_chunks().equals(vector_hashes(vectors))
    assert counts == Quantised(computed=ROWS, reused=0)


def test_string_ids(vectors, encoder):
    pids = [f"{number:05d}" for number in range(ROWS)]
    table = table_of(quantise(embeddings(vectors, pids), encoder))
    assert table.schema == schema.codes("string")
    assert table["pid"].to_pylist() == pids


@pytest.mark.parametrize("batch_rows", [1, 7, 5000])
def test_batches_do_not_matter(vectors, encoder, batch_rows):
    some = vectors[:600]
    whole = table_of(quantise(embeddings(some, batch_rows=600), encoder))
    cut = table_of(quantise(embeddings(some, batch_rows=batch_rows), encoder))
    assert whole.combine_chunks().equals(cut.combine_chunks())


def test_batches_that_are_slices_of_larger_ones(vectors, encoder):
    batch = embeddings(vectors, batch_rows=ROWS)[0]
    slices = [batch.slice(start, 100) for start in range(100, 900, 100)]
    whole = table_of(quantise(embeddings(vectors), encoder))
    assert table_of(quantise(slices, encoder)).equals(whole.slice(100, 800))


def test_empty_batches_and_no_batches(vectors, encoder):
    full = embeddings(vectors[:10])
    assert table_of(quantise([full[0].slice(0, 0), *full], encoder)).num_rows == 10
    assert list(quantise([], encoder)) == []


def changed(vectors, rows, seed=5):
    new = vectors.copy()
    new[rows] = np.random.default_rng(seed).standard_normal((len(rows), DIM))
    return new


def test_codes_of_unchanged_vectors_are_reused(vectors, encoder):
    earlier = list(quantise(embeddings(vectors), encoder))
    rows = np.random.default_rng(2).choice(ROWS, 30, replace=False)
    new = changed(vectors, rows)
    expected = table_of(quantise(embeddings(new), encoder))
    encoder.calls.clear()
    counts = Quantised()
    table = table_of(quantise(embeddings(new), encoder, earlier, counts))
    assert table.combine_chunks().equals(expected.combine_chunks())
    assert counts == Quantised(computed=30, reused=ROWS - 30)
    assert encoder.calls == [30]  # one product for all batches, not one for each


def test_reused_codes_are_not_computed(vectors, encoder):
    """Codes that no encoder would return are kept where pid and vector are the same."""
    earlier = table_of(quantise(embeddings(vectors), encoder))
    odd = pa.array([[SIZE, SIZE, SIZE]] * ROWS, schema.CODES)
    earlier = earlier.set_column(1, earlier.schema.field(1), odd)
    new = changed(vectors, [4, 2000])
    table = table_of(quantise(embeddings(new), encoder, earlier.to_batches()))
    others = [row for row, codes in enumerate(table["codes"].to_pylist()) if codes != [SIZE] * 3]
    assert others == [4, 2000]


def test_items_that_came_went_and_moved(vectors, encoder):
    pids = np.arange(0, 2 * ROWS, 2)
    earlier = list(quantise(embeddings(vectors, pids), encoder))
    rng = np.random.default_rng(3)
    kept = np.sort(rng.choice(ROWS, ROWS - 200, replace=False))
    new_pids = np.sort(rng.choice(np.arange(1, 2 * ROWS, 2), 150, replace=False))
    all_pids = np.concatenate([pids[kept], new_pids])
    order = all_pids.argsort()
    # New items with the vectors of other items: only the pid differs.
    all_vectors = np.concatenate([vectors[kept], vectors[:150]])[order]
    counts = Quantised()
    batches = embeddings(all_vectors, all_pids[order], batch_rows=97)
    table = table_of(quantise(batches, encoder, earlier, counts))
    assert counts == Quantised(computed=150, reused=ROWS - 200)
    assert table.combine_chunks().equals(table_of(quantise(batches, encoder)).combine_chunks())


def test_nothing_to_reuse(vectors, encoder):
    counts = Quantised()
    batches = embeddings(vectors[:100])
    table = table_of(quantise(batches, encoder, [], counts))
    assert counts == Quantised(computed=100, reused=0)
    assert table.equals(table_of(quantise(batches, encoder)))


def test_output_continues_while_everything_is_reused(vectors, encoder, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS_HELD", 500)
    earlier = list(quantise(embeddings(vectors), encoder))
    read = []

    def reading():
        for batch in embeddings(vectors):
            read.append(batch.num_rows)
            yield batch

    first = next(quantise(reading(), encoder, earlier))
    assert first.num_rows == 250
    assert sum(read) < ROWS


def test_vectors_that_are_not_finite_are_named_by_pid(vectors, encoder):
    bad = vectors.copy()
    bad[[300, 301, 1200], 1] = np.nan
    pids = [f"p{number:05d}" for number in range(ROWS)]
    earlier = list(quantise(embeddings(vectors, pids), encoder))
    message = r"somewhere: column 'embedding': .*NaN.*\(3 rows\).*'p00300', 'p00301', 'p01200'"
    for known in (None, earlier):
        with pytest.raises(InputError, match=message):
            list(quantise(embeddings(bad, pids), encoder, known, source="somewhere"))


def test_vectors_of_another_width(encoder):
    with pytest.raises(InputError, match=r"this tokenizer takes \(n, 12\)"):
        list(quantise(embeddings(np.zeros((3, 5), np.float32)), encoder))


def test_reading_stays_a_few_items_ahead_and_keeps_order():
    read = []

    def numbers():
        for number in range(100):
            read.append(number)
            yield number

    items = prefetched(numbers(), ahead=2)
    assert next(items) == 0
    assert list(items) == list(range(1, 100))
    assert read == list(range(100))


def test_an_error_while_reading_arrives_after_what_was_read():
    def numbers():
        yield 1
        raise OSError("disk gone")

    items = prefetched(numbers())
    assert next(items) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(items)


def test_the_reading_thread_ends_when_the_consumer_stops():
    closed = threading.Event()

    def numbers():
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed.set()

    items = prefetched(numbers())
    assert next(items) == 0
    items.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
    assert closed.wait(1)
