"""Time and memory of the metrics of a catalog, compared with pandas on the same files.

Simulates catalogs of one and ten million items, about half of which share their SIDs, with texts (a
tenth of them repeated), a column of a thousand values and a million rows of interactions, and
measures them from parquet.

    python -m benchmarks.quality            # an argument replaces the 10 (in millions)
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import in_own_process
from sid_assets.core import schema
from sid_assets.core.catalog.column_values import column_values
from sid_assets.core.catalog.item_texts import CatalogSource
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.quality.interactions import measure_interactions
from sid_assets.core.quality.items import read_items
from sid_assets.core.quality.measure import measure_sids
from sid_assets.core.quality.subjects import measure_subjects
from sid_assets.core.quality.use import counted_use
from sid_assets.core.sids.spelling import pack
from sid_assets.core.store.parts import ROW_GROUP

ROWS_PER_PART = 1_000_000
BATCH_ROWS = 65_536
HISTORIES = 1_000_000
HISTORY_LENGTH = 20


def simulate(folder: Path, items: int) -> None:
    """Write `codes`, `item_texts`, `catalog` and `interactions` of a catalog as parquet."""
    for name in ("codes", "item_texts", "catalog"):
        (folder / name).mkdir(parents=True)
    for part, start in enumerate(range(0, items, ROWS_PER_PART)):
        stop = min(items, start + ROWS_PER_PART)
        pids = np.arange(start, stop)
        name = f"part-{part:05d}.parquet"
        write(simulated_codes(pids, items), folder / "codes" / name)
        write(simulated_texts(pids), folder / "item_texts" / name)
        write(simulated_column(pids), folder / "catalog" / name)
    rng = np.random.default_rng(1)
    pids = pa.array((items * rng.random(HISTORIES * HISTORY_LENGTH) ** 3).astype(np.int64))
    offsets = pa.array(np.arange(0, len(pids) + 1, HISTORY_LENGTH, dtype=np.int32))
    histories = pa.ListArray.from_arrays(offsets, pids)
    targets = pa.ListArray.from_arrays(
        pa.array(np.arange(HISTORIES + 1, dtype=np.int32)), pids[::HISTORY_LENGTH]
    )
    split = pa.array((np.arange(HISTORIES) % 10 == 0).astype(np.int64))
    rows = {"split": split, "hist_video_pid": histories, "target_video_pid": targets}
    pq.write_table(pa.table(rows), folder / "interactions.parquet")


def write(table: pa.Table, path: Path) -> None:
    """Write a part in the same way as the graph."""
    pq.write_table(table, path, row_group_size=ROW_GROUP, compression="zstd")


def simulated_codes(pids: np.ndarray, items: int) -> pa.Table:
    """Every item draws one of `items` SIDs."""
    rng = np.random.default_rng(int(pids[0]))
    drawn = rng.integers(0, items, len(pids), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    codes = np.stack([drawn >> np.uint64(51 - 13 * layer) for layer in range(3)], axis=1) % 8192
    norms = np.cumprod(rng.uniform(0.6, 1, (len(pids), 4)).astype(np.float32), axis=1)
    offsets = pa.array(np.arange(0, codes.size + 1, 3, dtype=np.int32))
    return pa.table(
        {
            "pid": pids,
            "codes": pa.ListArray.from_arrays(offsets, pa.array(codes.astype(np.int64).ravel())),
            "vector_hash": hashes(pids),
            "residual_norms": pa.FixedSizeListArray.from_arrays(pa.array(norms.ravel()), 4),
        },
        schema=schema.codes("int"),
    )


def simulated_texts(pids: np.ndarray) -> pa.Table:
    """One text in ten repeats the previous one."""
    return pa.table({"pid": pids, "text_hash": hashes(pids - (pids % 10 == 1))})


def simulated_column(pids: np.ndarray) -> pa.Table:
    """A catalog with one of a thousand values for each item."""
    values = pa.array((pids * 7919 % 1000).astype(str))
    return pa.table({"pid": pids, "category": values})


def hashes(numbers: np.ndarray) -> pa.Array:
    """16 bytes per number, different for different numbers."""
    halves = np.stack([numbers, numbers], axis=1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return pa.FixedSizeBinaryArray.from_buffers(
        schema.HASH, len(numbers), [None, pa.py_buffer(halves.tobytes())]
    )


def read(folder: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a table, one batch at a time, as the graph reads them."""
    for part in sorted(folder.iterdir()):
        with pq.ParquetFile(part) as file:
            yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)


def by_sid_assets(folder: Path) -> dict[str, float]:
    """The metrics of the SIDs."""
    codes = read(folder / "codes", ["pid", "codes", "residual_norms"])
    texts = read(folder / "item_texts", ["pid", "text_hash"])
    return measure_sids(codes, schema.MAX_CODEBOOK_SIZE, item_texts=texts).figures()


def by_interactions(folder: Path) -> dict[str, float]:
    """The metrics weighted by interactions."""
    names = ("pid", "codes", "residual_norms")
    columns = pa.schema([schema.codes("int").field(name) for name in names])
    return measure_interactions(
        pa.RecordBatchReader.from_batches(columns, read(folder / "codes", columns.names)),
        schema.MAX_CODEBOOK_SIZE,
        ParquetInput(str(folder / "interactions.parquet")),
    ).figures()


def by_subjects(folder: Path) -> dict[str, float]:
    """The metrics of the tree, by popularity, of the recall ceiling and of a column's purity."""
    interactions = ParquetInput(str(folder / "interactions.parquet"))
    lists = ["hist_video_pid", "target_video_pid"]
    source = CatalogSource(str(folder / "catalog"), "{category}")
    with (
        tempfile.TemporaryDirectory() as scratch,
        counted_use(interactions, lists, "int") as use,
        column_values(source, "category", "int", scratch_dir=scratch) as values,
    ):
        codes = read(folder / "codes", ["pid", "codes", "residual_norms"])
        items = read_items(codes, schema.MAX_CODEBOOK_SIZE, use.batches, values)
    found: dict[str, float] = {}
    for subject in measure_subjects(items, schema.MAX_CODEBOOK_SIZE, use, "category"):
        found |= subject.figures()
    return found


def by_pandas(folder: Path) -> dict[str, float]:
    """A few of the same metrics, all in memory."""
    codes = pq.read_table(folder / "codes", columns=["codes"])["codes"].combine_chunks()
    frame = pd.DataFrame({"sid": pack(codes.flatten().to_numpy().reshape(-1, 3))})
    norms = pq.read_table(folder / "codes", columns=["residual_norms"])["residual_norms"]
    norms = norms.combine_chunks().flatten().to_numpy().reshape(-1, 4)
    frame["text"] = pd.array(
        np.frombuffer(
            pq.read_table(folder / "item_texts")["text_hash"].combine_chunks().buffers()[1], "<i8"
        )[::2]
    )
    sizes = frame.groupby("sid").size()
    shares = sizes / len(frame)
    return {
        "sid_distinct": len(sizes),
        "sid_colliding_items": int(sizes[sizes > 1].sum()),
        "sid_largest_group": int(sizes.max()),
        "sid_entropy": float(-(shares * np.log(shares)).sum()),
        "layer_3_error_p99": float(
            np.quantile(norms[:, 3] / norms[:, 0], 0.99, method="inverted_cdf")
        ),
        "collisions_same_text": int(frame.duplicated(["sid", "text"]).sum()),
    }


def measure(items: int) -> dict[str, float]:
    """Times and peak memory for a catalog of this size; asserts that pandas finds the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder, items)
        runs = [in_own_process(by_sid_assets, folder) for _ in range(3)]
        weighted = in_own_process(by_interactions, folder)
        subjects = in_own_process(by_subjects, folder)
        reference = in_own_process(by_pandas, folder)
    for metric, expected in reference.result.items():
        assert np.isclose(runs[0].result[metric], expected), metric
    figures = runs[0].result
    seconds = statistics.median(run.seconds for run in runs)
    peak = max(run.peak_rss_mb for run in runs)
    print(
        f"{items:,} items, {figures['sid_colliding_share']:.0%} of them colliding: all metrics in "
        f"{seconds:.1f} s and {peak:,.0f} MB (median of 3, each in a fresh process); pandas, for "
        f"six of them: {reference.seconds:.1f} s and {reference.peak_rss_mb:,.0f} MB, with the "
        f"same figures. Weighted by {HISTORIES * HISTORY_LENGTH:,} interactions: "
        f"{weighted.seconds:.1f} s, {weighted.peak_rss_mb:,.0f} MB. Tree, popularity, recall "
        f"ceiling and purity: {subjects.seconds:.1f} s, {subjects.peak_rss_mb:,.0f} MB."
    )
    return {
        "seconds": round(seconds, 2),
        "peak_rss_mb": round(peak),
        "interactions_seconds": round(weighted.seconds, 2),
        "interactions_peak_rss_mb": round(weighted.peak_rss_mb),
        "subjects_seconds": round(subjects.seconds, 2),
        "subjects_peak_rss_mb": round(subjects.peak_rss_mb),
        "pandas_seconds": round(reference.seconds, 2),
        "pandas_peak_rss_mb": round(reference.peak_rss_mb),
    }


def main() -> None:
    """Measure one million and, by default, ten million items."""
    millions = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    small, large = measure(1_000_000), measure(millions * 1_000_000)
    print(
        json.dumps(
            {"seconds_1m": small["seconds"], f"seconds_{millions}m": large.pop("seconds"), **large}
        )
    )


if __name__ == "__main__":
    main()
