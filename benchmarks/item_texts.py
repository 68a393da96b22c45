"""Catalog rows to item texts: rows per second and peak memory as the catalog grows.

    python -m benchmarks.item_texts [rows ...]      (default: 1000000 4000000)

The reference is a short script: pandas reads the whole file and sorts it, Python makes the texts.
It runs only on the smallest catalog. Both must give the same rows.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Measured, in_own_process
from sid_assets.core.catalog.item_texts import CatalogSource, read_item_texts

TEMPLATE = "Title: {title}\nDescription: {description}\nCategory: {category}"
FIELDS = ("title", "description", "category")
MEMORY_MB = 512
BATCH = 100_000


def generate(path: str, rows: int, seed: int = 0) -> float:
    """Write a catalog with shuffled ids and texts of 300 to 600 letters; return its size in MB."""
    rng = np.random.default_rng(seed)
    vocabulary = [f"{word:x}" for word in rng.integers(16, 2**24, 20_000)]
    prose = " ".join(rng.choice(vocabulary, 500_000))
    pids = rng.permutation(rows)
    with pq.ParquetWriter(path, _catalog(pids[:0], prose, rng).schema) as writer:
        for start in range(0, rows, BATCH):
            writer.write_table(_catalog(pids[start : start + BATCH], prose, rng))
    return Path(path).stat().st_size / 1e6


def _catalog(pids: np.ndarray, prose: str, rng: np.random.Generator) -> pa.Table:
    starts = rng.integers(0, len(prose) - 1000, len(pids)).tolist()
    lengths = rng.integers(250, 550, len(pids)).tolist()
    text = [prose[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    return pa.table(
        {
            "pid": pa.array(pids, pa.int64()),
            "title": pa.array([t[:40] for t in text], pa.string()),
            "description": pa.array(text, pa.string()),
            "category": pa.array(
                [None if s % 7 == 0 else f"c{s % 50}" for s in starts], pa.string()
            ),
        }
    )


def with_duckdb(path: str) -> str:
    """Make the texts with this package; return a hash of all ids and texts in their order."""
    pids, hashes = hashlib.sha256(), hashlib.sha256()
    with tempfile.TemporaryDirectory() as scratch:
        source = CatalogSource(path, TEMPLATE)
        texts = read_item_texts(source, scratch_dir=scratch, memory_mb=MEMORY_MB)
        for batch in texts.reader:
            pids.update(batch["pid"].to_numpy().tobytes())
            hashes.update(b"".join(batch["text_hash"].to_pylist()))
    return pids.hexdigest() + hashes.hexdigest()


def with_pandas(path: str) -> str:
    """Make the texts with the reference; return the same hash."""
    catalog = pd.read_parquet(path).sort_values("pid")
    texts = []
    for values in catalog[list(FIELDS)].itertuples(index=False):
        filled = [
            (f, v) for f, v in zip(FIELDS, values, strict=True) if isinstance(v, str) and v.strip()
        ]
        texts.append("\n".join(f"{field.capitalize()}: {value}" for field, value in filled))
    pids, hashes = hashlib.sha256(catalog["pid"].to_numpy().tobytes()), hashlib.sha256()
    for text in texts:
        hashes.update(hashlib.sha256(text.encode()).digest()[:16])
    return pids.hexdigest() + hashes.hexdigest()


def main(sizes: list[int]) -> None:
    """Measure each size in a separate process, and print the figures."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in sizes:
            path = str(Path(folder) / f"{rows}.parquet")
            megabytes = generate(path, rows)
            ours = in_own_process(with_duckdb, path)
            figures.append(_figures("DuckDB", rows, megabytes, ours))
            if rows == min(sizes):
                reference = in_own_process(with_pandas, path)
                figures.append(_figures("pandas", rows, megabytes, reference))
                assert ours.result == reference.result, "the two give different rows"
    print(json.dumps({"memory_mb": MEMORY_MB, "runs": figures}))


def _figures(way: str, rows: int, megabytes: float, measured: Measured) -> dict[str, float | str]:
    print(
        f"{way}: {rows:,} rows ({megabytes:,.0f} MB of parquet) in {measured.seconds:.1f} s: "
        f"{rows / measured.seconds:,.0f} rows/s, peak {measured.peak_rss_mb:,.0f} MB"
    )
    return {
        "way": way,
        "rows": rows,
        "seconds": round(measured.seconds, 2),
        "rows_per_second": round(rows / measured.seconds),
        "peak_rss_mb": round(measured.peak_rss_mb),
    }


if __name__ == "__main__":
    main([int(rows) for rows in sys.argv[1:]] or [1_000_000, 4_000_000])
