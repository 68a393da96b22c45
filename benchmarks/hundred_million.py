"""What 100 million items would need, on paper: chunks, bytes, and memory of one machine.

    python -m benchmarks.hundred_million

Structures that grow with the catalog are built from simulated rows at two sizes, each in a process
of its own. The difference of their peaks, over the difference of the sizes, is the memory of an
item, and is assumed to stay the same. The bytes of an item come from a run of the whole graph
(`benchmarks.scale`), or are those of its vector.
"""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from upath import UPath

from benchmarks.measure import in_own_process, peak_rss_mb
from sid_assets.core import schema
from sid_assets.core.arrow.columns import codes_column
from sid_assets.core.arrow.vectors import vector_array
from sid_assets.core.embeddings.cuts import CHUNK_ROWS
from sid_assets.core.embeddings.survey import survey_items
from sid_assets.core.quality.items import group_by_sid, read_items
from sid_assets.core.quality.measure import measure_sids
from sid_assets.core.schema import CODE_LAYERS, EMBEDDING_DIM, HASH_BYTES, MAX_CODEBOOK_SIZE
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.core.store.parts import Part
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import MANIFEST, Version, read_version, write_manifest

ITEMS = 100_000_000
FEW, MANY = 500_000, 2_000_000
BATCH_ROWS = 65_536
VECTOR_BYTES = 4 * EMBEDDING_DIM
SPACE = EmbeddingSpace(embedder="none", model="none", dimension=EMBEDDING_DIM)

ASSUMPTIONS = (
    f"chunks are as large as they may be, {CHUNK_ROWS:,} items; with the 8-billion-parameter model "
    "they are cut by time (two minutes), so there are at least as many",
    "memory for each item stays what it is between the two sizes that were measured",
    "bytes and files for each item are those of the largest run of the whole graph (most files are "
    "training data, in parts of 1,000 rows as OneRec's loader reads them), or else of its vector",
    f"codes are drawn evenly from three layers of {MAX_CODEBOOK_SIZE:,}, so nearly all SIDs differ",
    "DuckDB (counts, sid2pid, events, uuids) spills to disk beyond its limits of 0.5 to 2 GB",
)


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    figures = hundred_million()
    print(describe(figures))
    print(json.dumps(figures))


def hundred_million(
    bytes_per_item: float = VECTOR_BYTES,
    files_per_item: float = 1 / CHUNK_ROWS,
    few: int = FEW,
    many: int = MANY,
) -> dict[str, Any]:
    """What 100 million items would need.

    Args:
        bytes_per_item: Bytes of all tables for each item, as measured.
        files_per_item: Files of all tables for each item, as measured.
        few: The smaller size at which structures are built.
        many: The larger size.
    """
    chunks = -(-ITEMS // CHUNK_ROWS)
    manifest = in_own_process(manifest_of, chunks).result
    return {
        "chunks": chunks,
        "files": round(files_per_item * ITEMS),
        "terabytes": round(bytes_per_item * ITEMS / 1e12, 2),
        "terabytes_of_vectors": round(VECTOR_BYTES * ITEMS / 1e12, 2),
        "manifest_mb": round(manifest["bytes"] / 1e6, 1),
        "parts_in_memory_mb": round(manifest["memory_mb"], 1),
        "gigabytes_of_memory": {
            name: round(bytes_per_item_of(build, few, many) * ITEMS / 1e9, 1)
            for name, build in STRUCTURES.items()
        },
    }


def describe(figures: dict[str, Any]) -> str:
    """The figures and the assumptions in words."""
    memory = "; ".join(f"{name} {gb:g} GB" for name, gb in figures["gigabytes_of_memory"].items())
    return (
        f"{ITEMS:,} items, computed: {figures['chunks']:,} chunks; {figures['files']:,} files, "
        f"{figures['terabytes']:g} TB, of which vectors of one version "
        f"{figures['terabytes_of_vectors']:g} TB. The manifest of the vectors has "
        f"{figures['manifest_mb']:g} MB, and its parts take {figures['parts_in_memory_mb']:g} MB "
        f"of memory. Memory that grows with the items, one step at a time: {memory}.\n"
        f"Assumed: {'; '.join(ASSUMPTIONS)}."
    )


def bytes_per_item_of(build: Callable[[int], None], few: int, many: int) -> float:
    """The memory that a structure takes for each item, from its peaks at two sizes."""
    peaks = [in_own_process(build, items).peak_rss_mb for items in (few, many)]
    return max(0.0, (peaks[1] - peaks[0]) * 2**20 / (many - few))


def manifest_of(chunks: int) -> dict[str, float]:
    """Write and read a manifest of many parts: its bytes, and the memory of reading it (MB)."""
    part = Part("", CHUNK_ROWS, VECTOR_BYTES * CHUNK_ROWS, "0" * 64, 10_000, "0" * 64)
    parts = (
        dataclasses.replace(
            part, name=f"part-{n:05d}-of-{chunks:05d}.parquet", first_pid=n, last_pid=n
        )
        for n in range(chunks)
    )
    with tempfile.TemporaryDirectory() as folder:
        version = Version(UPath(folder), Provenance("item_embeddings"), "now", tuple(parts))
        write_manifest(version)
        size = (Path(folder) / MANIFEST).stat().st_size
        before = peak_rss_mb()
        read = read_version(UPath(folder))
        assert len(read.parts) == chunks
        return {"bytes": size, "memory_mb": peak_rss_mb() - before}


def build_survey(items: int) -> None:
    """Where the vector of each item comes from."""
    texts = pa.RecordBatchReader.from_batches(schema.item_texts("int"), _texts(items))
    with tempfile.TemporaryDirectory() as folder:
        survey = survey_items(Store(folder), "item_embeddings", texts, SPACE)
    assert len(survey.origins) == items


def build_index(items: int) -> None:
    """The SIDs by pid, which training data are made with."""
    table = schema.pid2sid("int")
    batches = (
        pa.record_batch([pids, codes_column(codes)], schema=table) for pids, codes in _codes(items)
    )
    assert len(SidIndex.from_table(pa.RecordBatchReader.from_batches(table, batches))) == items


def build_prefixes(items: int) -> None:
    """The tree of all SIDs."""
    batches = (pa.record_batch([codes_column(codes)], names=["sid"]) for _, codes in _codes(items))
    assert len(SidPrefixes.of_table(batches)) > 0


def build_quality(items: int) -> None:
    """The numbers that `sid_quality` keeps of all items: first for groups, then for the page."""
    found = read_items(_rows_of_codes(items), MAX_CODEBOOK_SIZE)
    assert len(group_by_sid(found.sids).order) == items
    texts = (batch.select(["pid", "text_hash"]) for batch in _texts(items))
    assert measure_sids(_rows_of_codes(items), MAX_CODEBOOK_SIZE, texts).items == items


STRUCTURES: dict[str, Callable[[int], None]] = {
    "survey of the embedding run": build_survey,
    "index of SIDs, for training data": build_index,
    "sid_prefixes": build_prefixes,
    "sid_quality": build_quality,
}


def _rows_of_codes(items: int) -> Iterator[pa.RecordBatch]:
    norms = np.array([1, 0.6, 0.5, 0.4], np.float32)
    for pids, codes in _codes(items):
        hashes = pa.array([b"\0" * HASH_BYTES] * len(pids), schema.HASH)
        columns = [pids, codes_column(codes), hashes, vector_array(np.tile(norms, (len(pids), 1)))]
        yield pa.record_batch(columns, schema=schema.codes("int"))


def _codes(items: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
    rng = np.random.default_rng(0)
    for pids in _pids(items):
        yield pa.array(pids), rng.integers(0, MAX_CODEBOOK_SIZE, (len(pids), CODE_LAYERS))


def _texts(items: int) -> Iterator[pa.RecordBatch]:
    for pids in _pids(items):
        texts = pa.array(["Title: a film\nDescription: about a hundred characters"] * len(pids))
        digits = np.zeros((len(pids), HASH_BYTES), np.uint8)
        digits[:, :8] = pids[:, None].view(np.uint8)
        hashes = pa.FixedSizeBinaryArray.from_buffers(
            schema.HASH, len(pids), [None, pa.py_buffer(digits.tobytes())]
        )
        columns = [pa.array(pids), texts, hashes]
        yield pa.record_batch(columns, schema=schema.item_texts("int"))


def _pids(items: int) -> Iterator[np.ndarray]:
    for start in range(0, items, BATCH_ROWS):
        yield np.arange(start, min(start + BATCH_ROWS, items))


if __name__ == "__main__":
    main()
