"""What a refresh costs: the bytes it writes, its time, and whether its memory grows with the items.

    python -m benchmarks.refresh

Measures a full run, and a refresh in which 1 % of the items are changed, added or removed: one
after the other (clustered), or anywhere in the catalog (spread). The bytes written are the sizes of
the files with new inodes, in the whole data folder. The embedder draws random vectors, so that only
the run itself counts, not a model. `benchmarks.embed` measures the cost of a refresh with a model,
as a share of the full run.
"""

import json
import random
import statistics
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import in_own_process
from sid_assets.core import schema
from sid_assets.core.arrow.hashes import text_hash
from sid_assets.core.embedders import Embedded, Embedder, Memory, TokenCounts
from sid_assets.core.embeddings import cuts
from sid_assets.core.embeddings.run import EmbeddingProgress, embed_items
from sid_assets.core.refresh import RefreshPolicy
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows

FEW, MANY = 2_000, 20_000
PARTS, ROWS_PER_PART = 64, 64
"""Of the runs whose written bytes are measured."""


class DrawnVectors:
    """An embedder that takes no time: each text's vector is drawn by a seed made of the text."""

    space = EmbeddingSpace(embedder="drawn", model="drawn", dimension=schema.EMBEDDING_DIM)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Unit vectors of random signs."""
        vectors = np.empty((len(texts), schema.EMBEDDING_DIM), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            drawn = np.random.default_rng(zlib.crc32(text.encode())).bytes(len(vector) // 8)
            signs = 2.0 * np.unpackbits(np.frombuffer(drawn, np.uint8)) - 1
            vector[:] = signs / np.sqrt(len(vector))
        tokens = int(self.count_tokens(texts).lengths.sum())
        return Embedded(vectors, tokens=tokens, padded_tokens=tokens, truncated=0)

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Each word is a token."""
        lengths = np.array([len(text.split()) for text in texts], np.int64)
        return TokenCounts(lengths, truncated=0, estimated=False)

    def memory(self) -> Memory | None:
        """None: it has no model."""
        return None

    def close(self) -> None:
        """Nothing is open."""


def commit_texts(store: Store, texts: Mapping[int, str]) -> Version:
    """Commit a version of `item_texts`, given the text of each pid."""
    pids = sorted(texts)
    values = [texts[pid] for pid in pids]
    rows = pa.table(
        [pids, values, [text_hash(text) for text in values]], schema=schema.item_texts("int")
    )
    return store.commit(draft_rows(store, "item_texts", rows.to_reader(), Provenance("item_texts")))


def run(
    store: Store, texts: Mapping[int, str], embedder: Embedder
) -> tuple[float, EmbeddingProgress]:
    """Embed and commit; the seconds do not include writing the texts."""
    version = commit_texts(store, texts)
    started = time.perf_counter()
    draft, _, progress = embed_items(
        store, "item_embeddings", version, embedder, RefreshPolicy(), print, lambda progress: None
    )
    store.commit(draft)
    return time.perf_counter() - started, progress


def one_percent_changed(texts: Mapping[int, str], clustered: bool = False) -> dict[int, str]:
    """The next catalog: of 1 % of the items, half have another text, the rest came or went.

    Args:
        texts: The text of each pid; the pids are even.
        clustered: Whether these items follow each other, or are anywhere in the catalog.
    """
    draw = random.Random(0)  # noqa: S311 - nothing secret is drawn
    later, count = dict(texts), max(4, len(texts) // 100)
    if clustered:
        start = draw.randrange(len(texts) - count)
        pids = sorted(texts)[start : start + count]
    else:
        pids = draw.sample(sorted(texts), count)
    for number, pid in enumerate(pids):
        if number % 4 == 0:
            del later[pid]
        elif number % 4 == 1:
            later[pid + 1] = f"New: {texts[pid]}"
        else:
            later[pid] = f"Changed: {texts[pid]}"
    return later


def refresh_share(embedder: Embedder, texts: Sequence[str]) -> float:
    """The cost of a refresh with 1 % of the items changed, as a share of the full run.

    The median of three refreshes: to the changed catalog, back, and there again.

    Args:
        embedder: A warm embedder, since loading a model does not count.
        texts: Texts of the items.
    """
    items = {2 * number: text for number, text in enumerate(texts)}
    later = one_percent_changed(items)
    with tempfile.TemporaryDirectory() as data:
        full, _ = run(Store(data), items, embedder)
        refreshes = [run(Store(data), catalog, embedder) for catalog in (later, items, later)]
    refresh = statistics.median(seconds for seconds, _ in refreshes)
    embedded = [progress.embedded for _, progress in refreshes]
    print(
        f"{len(texts):,} items: the full run took {full:.1f} s, a refresh {refresh:.2f} s "
        f"({refresh / full:.1%}; the median of three that embedded {embedded} items and reused the "
        "other vectors)."
    )
    return refresh / full


def full_then_refresh(items: int) -> tuple[float, float]:
    """Seconds of a full run and of a refresh, in a separate process."""
    texts = {2 * number: f"Title: film {number}" for number in range(items)}
    with tempfile.TemporaryDirectory() as data:
        full, _ = run(Store(data), texts, DrawnVectors())
        refresh, _ = run(Store(data), one_percent_changed(texts), DrawnVectors())
    return full, refresh


@dataclass(frozen=True)
class Written:
    """What a run wrote.

    Attributes:
        size: Bytes of the files that did not exist before.
        seconds: Time of the run.
        parts: Parts of the table.
    """

    size: int
    seconds: float
    parts: int


def full_and_refreshes() -> dict[str, Written]:
    """What a full run writes, and refreshes without a change, with clustered and spread changes.

    Call it in a separate process: chunks have few rows there.
    """
    cuts.CHUNK_ROWS = ROWS_PER_PART
    full = {2 * number: f"Title: film {number}" for number in range(PARTS * ROWS_PER_PART)}
    later = {
        "nothing": full,
        "clustered": one_percent_changed(full, clustered=True),
        "spread": one_percent_changed(full),
    }
    with tempfile.TemporaryDirectory() as data:
        written = {"full": _written(data, full)}
        for name, texts in later.items():
            written[name] = _written(data, texts)
            run(Store(data), full, DrawnVectors())  # back to the full catalog
    return written


def _written(data: str, texts: Mapping[int, str]) -> Written:
    before = _files(data)
    seconds, _ = run(Store(data), texts, DrawnVectors())
    size = sum(size for file, size in _files(data).items() if file not in before)
    return Written(size, seconds, len(Store(data).require("item_embeddings").parts))


def _files(data: str) -> dict[tuple[int, int], int]:
    """The size of each file, by inode and time of its last change of content."""
    files = [path.stat() for path in Path(data).rglob("*") if path.is_file()]
    return {(file.st_ino, file.st_mtime_ns): file.st_size for file in files}


def main() -> None:
    """Measure, print the results as text, and print one JSON object."""
    few = in_own_process(full_then_refresh, FEW)
    many = in_own_process(full_then_refresh, MANY)
    growth = many.peak_rss_mb - few.peak_rss_mb
    seconds = many.result[1]
    print(
        f"Peak memory of a full run and a refresh: {few.peak_rss_mb:,.0f} MB with {FEW:,} items, "
        f"{many.peak_rss_mb:,.0f} MB with {MANY:,}: {growth:,.0f} MB more. The refresh of "
        f"{MANY:,} items took {seconds:.1f} s: {MANY / seconds:,.0f} items/s."
    )
    written = in_own_process(full_and_refreshes).result
    full = written["full"]
    print(
        f"The full run of {PARTS * ROWS_PER_PART:,} items in {full.parts} parts wrote "
        f"{full.size / 1e6:,.1f} MB in {full.seconds:.2f} s."
    )
    for name, changed in (
        ("nothing", "nothing"),
        ("clustered", "1 % of the items, one after the other,"),
        ("spread", "1 % of the items, anywhere in the catalog,"),
    ):
        refresh = written[name]
        print(
            f"A refresh in which {changed} changed wrote {refresh.size / 1e6:,.1f} MB "
            f"({refresh.size / full.size:.1%}) in {refresh.seconds:.2f} s "
            f"({refresh.seconds / full.seconds:.0%})."
        )
    figures = {
        "peak_rss_mb_few": few.peak_rss_mb,
        "peak_rss_mb_many": many.peak_rss_mb,
        "peak_rss_growth_mb": growth,
        "refreshed_items_per_s": MANY / seconds,
        "bytes_share": written["clustered"].size / full.size,
        "bytes_share_spread": written["spread"].size / full.size,
        "bytes_share_unchanged": written["nothing"].size / full.size,
        "seconds_share": written["clustered"].seconds / full.seconds,
        "seconds_share_spread": written["spread"].seconds / full.seconds,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
