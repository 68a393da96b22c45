"""Quantising as a stream: rows of `item_embeddings` in, rows of `codes` out, in the same order."""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.columns import as_bool, codes_array, codes_column
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.arrow.vectors import vector_array, vectors_of
from sid_assets.core.quantise.residual_kmeans import BATCH, Encoded, Encoder, NotFiniteError

BATCHES_AHEAD = 2
"""Batches read ahead while one is computed."""

MOST_ROWS_HELD = 32 * BATCH
"""The most rows that are held back until enough rows to compute fill a batch. Rows with reused
codes wait too, to keep the order."""

_EARLIER = pa.schema(
    [
        ("earlier_codes", schema.CODES),
        ("earlier_norms", schema.RESIDUAL_NORMS),
        ("earlier_hash", schema.HASH),
    ]
)


@dataclass
class Quantised:
    """Counts of what a run has done so far.

    Attributes:
        computed: Rows that were encoded.
        reused: Rows whose codes were reused.
    """

    computed: int = 0
    reused: int = 0


def quantise(
    batches: Iterable[pa.RecordBatch],
    encoder: Encoder,
    earlier: Iterable[pa.RecordBatch] | None = None,
    counts: Quantised | None = None,
    source: Any = "item_embeddings",
) -> Iterator[pa.RecordBatch]:
    """Make the rows of `codes` for rows of `item_embeddings`.

    A separate thread reads ahead of the computation. Memory use depends on the size of the batches,
    not on their number.

    Args:
        batches: Rows with `pid`, `embedding` and `vector_hash`; sorted by pid if `earlier` is
            given.
        encoder: The tokenizer.
        earlier: Rows of an earlier `codes` of the same tokenizer, sorted by pid. The codes are
            reused where pid and `vector_hash` are the same.
        counts: Updated with the number of rows.
        source: The source of the vectors, for error messages.

    Yields:
        Batches of `schema.codes`, one for each batch that is not empty.

    Raises:
        InputError: Vectors have the wrong width, or are not finite (names the first pids).
    """
    counts = Quantised() if counts is None else counts
    held: list[_Rows] = []
    for batch in prefetched(batches if earlier is None else _beside(batches, earlier)):
        if not batch.num_rows:
            continue
        held.append(_Rows.of(batch))
        to_compute = sum(len(rows.vectors) for rows in held)
        if to_compute >= BATCH or sum(len(rows.pids) for rows in held) >= MOST_ROWS_HELD:
            yield from _encode(held, encoder, counts, source)
            held = []
    yield from _encode(held, encoder, counts, source)


def prefetched(items: Iterable[Any], ahead: int = BATCHES_AHEAD) -> Generator[Any, None, None]:
    """The items, read in a thread that stays a few items ahead of the consumer."""
    ready: queue.Queue[tuple[Any, BaseException | None, bool]] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def put(item: Any, error: BaseException | None, last: bool) -> None:
        while not stopped.is_set():
            try:
                return ready.put((item, error, last), timeout=0.1)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put(item, None, False)
                if stopped.is_set():
                    return
        except BaseException as error:  # raised again in the consumer's thread
            put(None, error, True)
        else:
            put(None, None, True)

    thread = threading.Thread(target=make, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = ready.get()
            if error:
                raise error
            if last:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


@dataclass(frozen=True)
class _Rows:
    """A batch, with the vectors of the rows to compute.

    Attributes:
        pids: Ids of all rows.
        hashes: Vector hashes of all rows.
        vectors: float32, shape (m, dim), of the rows to compute.
        taken: Which rows are reused, bool of shape (n,); None if none are.
        earlier: Codes and norms of the reused rows.
    """

    pids: pa.Array
    hashes: pa.Array
    vectors: np.ndarray
    taken: np.ndarray | None = None
    earlier: Encoded | None = None

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> "_Rows":
        pids, hashes, vectors = batch["pid"], batch["vector_hash"], batch["embedding"]
        if "earlier_hash" not in batch.schema.names:
            return cls(pids, hashes, vectors_of(vectors))
        same = pc.fill_null(pc.equal(hashes, batch["earlier_hash"]), False)
        earlier = Encoded(
            codes_array(batch["earlier_codes"].filter(same)),
            vectors_of(batch["earlier_norms"].filter(same)),
        )
        taken = as_bool(same)
        return cls(pids, hashes, vectors_of(vectors.filter(pc.invert(same))), taken, earlier)

    def finish(self, encoded: Encoded) -> pa.RecordBatch:
        """The rows of `codes`, from the computed ones and the reused ones."""
        if self.taken is not None and self.earlier is not None:
            encoded = Encoded(
                _merge(self.taken, self.earlier.codes, encoded.codes),
                _merge(self.taken, self.earlier.residual_norms, encoded.residual_norms),
            )
        table = schema.codes("int" if pa.types.is_integer(self.pids.type) else "string")
        codes, norms = codes_column(encoded.codes), vector_array(encoded.residual_norms)
        return pa.RecordBatch.from_arrays([self.pids, codes, self.hashes, norms], schema=table)


def _merge(taken: np.ndarray, earlier: np.ndarray, computed: np.ndarray) -> np.ndarray:
    rows = np.empty((len(taken), computed.shape[1]), computed.dtype)
    rows[taken], rows[~taken] = earlier, computed
    return rows


def _beside(
    batches: Iterable[pa.RecordBatch], earlier: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The batches, with the earlier codes, norms and hash of each row as extra columns."""
    renamed = (
        pa.RecordBatch.from_arrays(
            [batch["pid"], batch["codes"], batch["residual_norms"], batch["vector_hash"]],
            names=["pid", *_EARLIER.names],
        )
        for batch in earlier
    )
    return joined(batches, renamed, _EARLIER)


def _encode(
    held: list[_Rows], encoder: Encoder, counts: Quantised, source: Any
) -> Iterator[pa.RecordBatch]:
    if not held:
        return
    vectors = held[0].vectors if len(held) == 1 else np.concatenate([r.vectors for r in held])
    try:
        encoded = encoder.encode(vectors)
    except NotFiniteError as error:
        pids = pa.concat_arrays([_pids_to_compute(rows) for rows in held])
        raise error.of_items(pids, source) from error
    start = 0
    for rows in held:
        some = slice(start, start + len(rows.vectors))
        yield rows.finish(Encoded(encoded.codes[some], encoded.residual_norms[some]))
        counts.computed += len(rows.vectors)
        counts.reused += len(rows.pids) - len(rows.vectors)
        start = some.stop


def _pids_to_compute(rows: _Rows) -> pa.Array:
    return rows.pids if rows.taken is None else rows.pids.filter(pa.array(~rows.taken))
