"""What Ray costs: the codes of the same chunks, by two actors and by one process.

Both compute in as many threads, write the parts, and start when everything is loaded: starting Ray
and loading codebooks are left aside. The runs take turns, and the median of the ratios counts. Then
actors that do nothing are given as many chunks as 100 million items have.

    python -m benchmarks.ray_backend
    python -m benchmarks.ray_backend --chunks 16 --rows 1024 --pairs 5 --codebook 8192
"""

import argparse
import importlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.quantise import draw_centroids
from sid_assets.core import schema
from sid_assets.core.arrow.hashes import vector_hashes
from sid_assets.core.arrow.vectors import vector_array
from sid_assets.core.embeddings.plan import BYTES_PER_ROW
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.stream import quantise
from sid_assets.core.ray_backend import RayBackend
from sid_assets.core.ray_options import RayOptions
from sid_assets.core.store.chunks import (
    IN_THIS_PROCESS,
    Backend,
    Chunk,
    ChunkTask,
    Done,
    Say,
    run_chunks,
    share_nothing,
)
from sid_assets.core.store.draft import STATE
from sid_assets.core.store.parts import Part
from sid_assets.core.store.places import place
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.write import draft_rows

ACTORS = 2
PATIENCE = 300
"""Seconds that workers wait for each other before they start."""


@dataclass
class Span:
    """When a chunk was computed, by the clock of the machine (s), and in which process."""

    started: float = 0.0
    ended: float = 0.0
    process: int = 0


@dataclass(frozen=True)
class Work:
    """The codes of chunks of a file of vectors. All workers start together.

    Attributes:
        data: The store with the vectors.
        centroids: File of the tokenizer's centroids.
        marks: A folder in which every worker says that it has loaded everything.
        workers: How many there are.
    """

    data: Store
    centroids: Path
    marks: Path
    workers: int

    @cached_property
    def encoder(self) -> Encoder:
        """The tokenizer; once it is loaded, the worker waits for the others."""
        encoder = Encoder(np.load(self.centroids))
        (self.marks / str(os.getpid())).touch()
        until = time.monotonic() + PATIENCE
        while len(list(self.marks.iterdir())) < self.workers and time.monotonic() < until:
            time.sleep(0.01)
        return encoder

    def __call__(self, chunk: Chunk, say: Say) -> tuple[Iterable[pa.RecordBatch], Span]:
        encoder = self.encoder
        span = Span(time.monotonic(), process=os.getpid())
        return self._rows(chunk, encoder, span), span

    def _rows(self, chunk: Chunk, encoder: Encoder, span: Span) -> Iterator[pa.RecordBatch]:
        vectors = self.data.require("item_embeddings").dataset()
        chosen = (pa.compute.field("pid") >= chunk.first_pid) & (
            pa.compute.field("pid") <= chunk.last_pid
        )
        columns = ["pid", "embedding", "vector_hash"]
        rows = vectors.to_table(columns=columns, filter=chosen, use_threads=False)
        yield from quantise(rows.combine_chunks().to_batches(), encoder)
        span.ended = time.monotonic()


@dataclass
class Run:
    """The spans of a run."""

    spans: list[Span] = field(default_factory=list)

    def add(self, chunk: Chunk, span: Span, resumed: bool) -> None:
        """Count a chunk."""
        self.spans.append(span)

    @property
    def seconds(self) -> float:
        """From the first chunk's start to the last one's end."""
        return max(span.ended for span in self.spans) - min(span.started for span in self.spans)

    @property
    def processes(self) -> int:
        """How many processes were at work."""
        return len({span.process for span in self.spans})


def overhead(chunks: int = 16, rows: int = 1024, codebook: int = 8192, pairs: int = 5) -> float:
    """How much longer Ray takes than one process: 0.1 is a tenth longer.

    Args:
        chunks: Number of chunks.
        rows: Vectors of a chunk, 4096 wide.
        codebook: Centroids of each of the three layers.
        pairs: Pairs of runs, whose median counts.
    """
    with tempfile.TemporaryDirectory() as folder:
        cut = _write(Path(folder), chunks, rows, codebook)
        ratios = []
        for pair in range(pairs):
            local = _seconds(Path(folder), cut, IN_THIS_PROCESS, 1)
            options = RayOptions(actors=ACTORS, cpus=1, gpus=0)
            with RayBackend(options, print) as backend:
                ray = _seconds(Path(folder), cut, backend, ACTORS)
            print(f"pair {pair + 1}: one process {local:.2f} s, {ACTORS} actors {ray:.2f} s")
            ratios.append(ray / local)
    return statistics.median(ratios) - 1


def _write(folder: Path, chunks: int, rows: int, codebook: int) -> list[Chunk]:
    """Write centroids and vectors; the chunks of the vectors."""
    draw = np.random.default_rng(0)
    np.save(folder / "centroids.npy", draw_centroids(draw, codebook, 4096, "power-law"))
    columns = schema.item_embeddings("int")

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(chunks):
            vectors = draw.normal(size=(rows, 4096)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            pids = pa.array(range(number * rows, (number + 1) * rows), pa.int64())
            hashes = vector_hashes(vectors)
            yield pa.record_batch([pids, vector_array(vectors), hashes, hashes], schema=columns)

    store = Store(folder / "data")
    reader = pa.RecordBatchReader.from_batches(columns, batches())
    store.commit(draft_rows(store, "item_embeddings", reader, Provenance("item_embeddings")))
    return [Chunk(n, rows, n * rows, (n + 1) * rows - 1) for n in range(chunks)]


def _seconds(folder: Path, chunks: Sequence[Chunk], backend: Backend, workers: int) -> float:
    run, store = Run(), Store(folder / "data")
    with tempfile.TemporaryDirectory(dir=folder) as marks, store.draft("codes") as draft:
        draft.begin()
        work = Work(store, folder / "centroids.npy", Path(marks), workers)
        run_chunks(draft, chunks, schema.codes("int"), work, run.add, Span, backend=backend)
    assert run.processes == workers, f"{run.processes} of {workers} workers were at work"
    return run.seconds


NO_PART = Part("part-00000-of-00001.parquet", rows=0, bytes=0, digest="")


@dataclass(frozen=True)
class NoTask(ChunkTask[Span]):
    """A task whose chunks are done at once, without a part."""

    def do(self, chunk: Chunk) -> Done[Span]:
        """Nothing."""
        return Done(chunk.number, NO_PART, Span(process=os.getpid()))


def scheduling_rate(chunks: int) -> float:
    """Chunks a second that the driver hands out to two actors that do nothing."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, STATE).touch()
        root = place(folder)
        task = NoTask(root, (), chunks, schema.codes("int"), _nothing, share_nothing, Span)
        cut = [Chunk(n, 8192, n * 8192, (n + 1) * 8192 - 1) for n in range(chunks)]
        with RayBackend(RayOptions(actors=ACTORS, cpus=1, gpus=0), print) as backend:
            started, processes = 0.0, set()
            for done in backend.run(task, cut):
                started = started or time.monotonic()  # when the first actor was at work
                processes.add(done.summary.process)
            return chunks / (time.monotonic() - started)


def _nothing(chunk: Chunk, say: Say) -> tuple[Iterable[pa.RecordBatch], Span]:
    return [], Span()


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description="What Ray costs.")
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--rows", type=int, default=1024, help="vectors of a chunk")
    parser.add_argument("--codebook", type=int, default=8192)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--scheduled", type=int, default=12_208, help="chunks that do nothing")
    arguments = parser.parse_args()
    shape = f"3 x {arguments.codebook} x 4096"
    size = f"{arguments.rows * BYTES_PER_ROW / 1e6:,.0f} MB"
    print(f"{arguments.chunks} chunks of {arguments.rows:,} vectors ({size}), {shape}")
    cost = overhead(arguments.chunks, arguments.rows, arguments.codebook, arguments.pairs)
    print(f"Ray takes {cost:+.1%} of the time of one process.")
    rate = scheduling_rate(arguments.scheduled)
    print(f"The driver hands out {rate:,.0f} chunks a second.")
    print(json.dumps({"overhead": round(cost, 4), "chunks_scheduled_per_s": round(rate, 1)}))


if __name__ == "__main__":
    # As an imported module, so that actors import its classes too.
    importlib.import_module("benchmarks.ray_backend").main()
