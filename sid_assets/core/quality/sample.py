"""The sample that measures of vectors use: 20,000 items, chosen by a hash of their pid.

The hash depends on the pid only. So a refresh changes the sample only where it adds, removes or
changes items of the sample, and figures of two refreshes are about the same items.

Of a catalog with more items, the vectors of the sample are kept in a table of their own,
`quality_sample`. Vectors that it lacks are read from `item_embeddings`, which reads one row group
for each. A kept vector is used where pid and vector hash are those of today.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.vectors import vector_array, vectors_of
from sid_assets.core.errors import StoreError
from sid_assets.core.schema import PID_TYPES
from sid_assets.core.store.parts import VECTOR_ROW_GROUP, open_part, read_footer, readable
from sid_assets.core.store.provenance import derive
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows

TABLE = "quality_sample"
SAMPLE_ITEMS = 20_000
QUERIES = 2_000

MOST_MISSING = SAMPLE_ITEMS // 20
"""The kept vectors are written again once more than this many of the sample are missing there, and
not at each refresh: they take 328 MB."""

PIDS_AT_ONCE = 65_536
COLUMNS = ("pid", "vector_hash", "embedding")


@dataclass(frozen=True, eq=False)
class Chosen:
    """The items of the sample, sorted by pid.

    Attributes:
        pids: Their ids.
        ranks: int64 (m,): the rank of each item by the hash of its pid; 0 is the smallest hash.
        columns: Other columns of the table that they were chosen from.
    """

    pids: pa.Array
    ranks: np.ndarray
    columns: pa.Table


@dataclass(frozen=True, eq=False)
class Sample:
    """The items of the sample whose vectors are there, sorted by pid.

    Attributes:
        pids: Their ids.
        ranks: int64 (m,): their order by the hash of the pid; smaller is earlier.
        columns: Other columns of the table that they were chosen from.
        vectors: float32, shape (m, dim).
    """

    pids: pa.Array
    ranks: np.ndarray
    columns: pa.Table
    vectors: np.ndarray

    def queries(self, among: np.ndarray | None = None) -> np.ndarray:
        """The positions of the first 2,000 items by hash: int64, ascending.

        Args:
            among: Positions to choose from; by default all.
        """
        positions = np.arange(len(self.ranks)) if among is None else among
        first = np.argsort(self.ranks[positions], kind="stable")[:QUERIES]
        return np.sort(positions[first])


def pid_hashes(pids: pa.Array) -> np.ndarray:
    """A hash of each pid: uint64, shape (n,); the same on every machine.

    Integers are mixed as in SplitMix64; of strings, it is the start of the SHA-256.
    """
    if not pa.types.is_integer(pids.type):
        starts = (hashlib.sha256(pid.encode()).digest()[:8] for pid in pids.to_pylist())
        return np.frombuffer(b"".join(starts), "<u8").astype(np.uint64)
    mixed = pids.to_numpy().astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def choose(batches: Iterable[pa.RecordBatch]) -> Chosen:
    """Choose the 20,000 items with the smallest hashes, in one pass; all if there are fewer.

    Args:
        batches: Batches with `pid`, sorted by it, and other columns that are kept.
    """
    held: list[pa.RecordBatch] = []
    hashes = np.empty(0, np.uint64)
    limit = np.iinfo(np.uint64).max
    for batch in batches:
        of_batch = pid_hashes(batch["pid"])
        near = of_batch <= limit
        held.append(batch.filter(pa.array(near)))
        hashes = np.concatenate([hashes, of_batch[near]])
        if len(hashes) > 2 * SAMPLE_ITEMS:
            held, hashes = _smallest(held, hashes)
            limit = hashes.max()
    if not held:
        return Chosen(pa.array([], pa.int64()), np.empty(0, np.int64), pa.table({}))
    held, hashes = _smallest(held, hashes)
    ranks = np.empty(len(hashes), np.int64)
    ranks[np.argsort(hashes, kind="stable")] = np.arange(len(hashes))
    table = pa.Table.from_batches(held)
    return Chosen(table["pid"].combine_chunks(), ranks, table.drop_columns("pid"))


def _smallest(
    held: list[pa.RecordBatch], hashes: np.ndarray
) -> tuple[list[pa.RecordBatch], np.ndarray]:
    """The rows with the smallest hashes, still sorted by pid; the smaller pid wins a tie."""
    kept = np.sort(np.argsort(hashes, kind="stable")[:SAMPLE_ITEMS])
    return pa.Table.from_batches(held).take(pa.array(kept)).to_batches(), hashes[kept]


def read_sample(chosen: Chosen, sources: Sequence[Version]) -> Sample:
    """The vectors of the chosen items.

    An item is left out if no source has a vector with its hash: `item_embeddings` was made again
    after the codes.

    Args:
        chosen: The items, with the column `vector_hash`.
        sources: Tables with the columns `pid`, `vector_hash` and `embedding`; the first that has
            the vector is used.

    Raises:
        StoreError: A part of the last source is missing or damaged. The others are only quicker.
    """
    wanted = chosen.columns["vector_hash"].combine_chunks()
    missing = np.arange(len(chosen.pids))
    vectors = np.empty((len(chosen.pids), schema.EMBEDDING_DIM), np.float32)
    for number, source in enumerate(sources):
        pids, hashes = chosen.pids.take(pa.array(missing)), wanted.take(pa.array(missing))
        if not len(pids) or PID_TYPES[source.pid_type] != pids.type:
            continue
        found = [np.empty(0, np.int64)]
        try:
            for batch in rows_of(source, pids, COLUMNS):
                place = pc.index_in(batch["pid"], value_set=pids)
                same = pc.equal(batch["vector_hash"], hashes.take(place))
                found.append(missing[place.filter(same).to_numpy()])
                vectors[found[-1]] = vectors_of(batch["embedding"].filter(same))
        except StoreError:
            if number + 1 == len(sources):
                raise
        missing = np.setdiff1d(missing, np.concatenate(found))
    there = np.setdiff1d(np.arange(len(chosen.pids)), missing)
    if len(missing):
        vectors = vectors[there]
    rows = pa.array(there)
    return Sample(chosen.pids.take(rows), chosen.ranks[there], chosen.columns.take(rows), vectors)


def keep_sample(store: Store, table: str, embeddings: Version) -> int:
    """Keep the vectors of the sample, if there are more items and many of them are not kept yet.

    Args:
        store: The store of the tables.
        table: Asset key of `quality_sample`.
        embeddings: The version of `item_embeddings`.

    Returns:
        The vectors that were written; 0 if the kept ones will do.

    Raises:
        StoreError: Another run is writing the table, a part is damaged, or the disk is full.
    """
    if embeddings.rows <= SAMPLE_ITEMS:
        return 0
    chosen = choose(embeddings.stream(["pid", "vector_hash"], PIDS_AT_ONCE))
    kept = store.current(table)
    if kept is not None and _missing(kept, chosen) <= MOST_MISSING:
        return 0
    sample = read_sample(chosen, [kept, embeddings] if kept else [embeddings])
    table_schema = schema.quality_sample(embeddings.pid_type)
    rows = pa.RecordBatchReader.from_batches(
        table_schema, (batch.cast(table_schema) for batch in _rows(sample))
    )
    store.commit(draft_rows(store, table, rows, derive(table, embeddings.provenance)))
    return len(sample.pids)


def _missing(kept: Version, chosen: Chosen) -> int:
    """How many of the chosen items have no vector of today in the kept table; all if it is
    damaged.
    """
    if PID_TYPES[kept.pid_type] != chosen.pids.type:
        return len(chosen.pids)
    try:
        there = kept.stream(["pid", "vector_hash"], PIDS_AT_ONCE).read_all()
    except StoreError:
        return len(chosen.pids)
    place = pc.index_in(chosen.pids, value_set=there["pid"].combine_chunks())
    same = pc.equal(chosen.columns["vector_hash"], there["vector_hash"].take(place))
    return len(chosen.pids) - (pc.sum(same).as_py() or 0)


def _rows(sample: Sample) -> Iterator[pa.RecordBatch]:
    hashes = sample.columns["vector_hash"].combine_chunks()
    for start in range(0, len(sample.pids), VECTOR_ROW_GROUP):
        some = slice(start, start + VECTOR_ROW_GROUP)
        vectors = vector_array(sample.vectors[some])
        yield pa.record_batch([sample.pids[some], hashes[some], vectors], list(COLUMNS))


def rows_of(version: Version, pids: pa.Array, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of some items. Row groups without any of them are not read.

    Args:
        version: A table sorted by pid.
        pids: The ids, ascending.
        columns: The columns, including `pid`.

    Raises:
        StoreError: A part is missing or damaged.
    """
    wanted = pids.to_pylist()
    for part, path in zip(version.parts, version.paths, strict=True):
        if not part.rows or not _any_between(wanted, part.first_pid, part.last_pid):
            continue
        footer = read_footer(path, part)
        pid_column = footer.schema.to_arrow_schema().get_field_index("pid")
        with readable(path), open_part(path, footer) as file:
            for group in range(footer.num_row_groups):
                bounds = footer.row_group(group).column(pid_column).statistics
                if bounds and not _any_between(wanted, bounds.min, bounds.max):
                    continue
                for batch in file.iter_batches(row_groups=[group], columns=list(columns)):
                    yield batch.filter(pc.is_in(batch["pid"], value_set=pids))


def _any_between(wanted: list, first: schema.Pid, last: schema.Pid) -> bool:
    place = bisect_left(wanted, first)
    return place < len(wanted) and wanted[place] <= last
