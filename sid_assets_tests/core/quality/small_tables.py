"""Small tables of codes, texts and interactions for the quality tests."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_assets.core import schema
from sid_assets.core.arrow.hashes import text_hash
from sid_assets.core.inputs.parquet import ParquetInput


def codes_table(
    codes: Sequence[Sequence[int]] | np.ndarray,
    norms: Sequence[Sequence[float]] | np.ndarray | None = None,
    pids: Sequence[int] | Sequence[str] | None = None,
    vectors: Sequence[str] | None = None,
) -> pa.Table:
    """The table `codes`, by default with pids 0, 1, 2, ... and norms 1, 0.5, 0.25, 0.125."""
    count = len(codes)
    pids = pids if pids is not None else range(count)
    if norms is None:
        norms = [(1.0, 0.5, 0.25, 0.125)] * count
    flat = pa.array(np.asarray(norms, np.float32).reshape(-1))
    table_schema = schema.codes("string" if count and isinstance(pids[0], str) else "int")
    return pa.table(
        {
            "pid": pa.array(pids, table_schema.field("pid").type),
            "codes": pa.array([[int(code) for code in row] for row in codes], schema.CODES),
            "vector_hash": pa.array(
                [text_hash(text) for text in vectors or [str(pid) for pid in pids]], schema.HASH
            ),
            "residual_norms": pa.FixedSizeListArray.from_arrays(flat, schema.CODE_LAYERS + 1),
        },
        schema=table_schema,
    )


def texts_table(
    texts: Sequence[str], pids: Sequence[int] | Sequence[str] | None = None
) -> pa.Table:
    """The table `item_texts`, by default with pids 0, 1, 2, ..."""
    pids = pids if pids is not None else range(len(texts))
    table_schema = schema.item_texts("string" if len(pids) and isinstance(pids[0], str) else "int")
    return pa.table(
        {
            "pid": pa.array(pids, table_schema.field("pid").type),
            "text": texts,
            "text_hash": pa.array([text_hash(text) for text in texts], schema.HASH),
        },
        schema=table_schema,
    )


def batches(table: pa.Table, rows: int = 3) -> list[pa.RecordBatch]:
    """The table in small batches, so that everything crosses batch boundaries."""
    return table.to_batches(max_chunksize=rows)


def reader(table: pa.Table) -> pa.RecordBatchReader:
    """The table as a stream of small batches."""
    return pa.RecordBatchReader.from_batches(table.schema, batches(table))


def interactions_in(folder: Path, *files: pa.Table) -> ParquetInput:
    """Interactions, with one file for each table."""
    for number, table in enumerate(files):
        pq.write_table(table, folder / f"{number}.parquet")
    return ParquetInput(str(folder))


def brute_entropy(counts: Collection[int]) -> float:
    """Entropy in nats, from its definition."""
    total = sum(counts)
    return -sum(n / total * math.log(n / total) for n in counts if n)


def brute_gini(sizes: Collection[int]) -> float:
    """Gini coefficient: half the mean difference of all pairs / the mean."""
    differences = sum(abs(a - b) for a in sizes for b in sizes)
    return differences / (2 * len(sizes) * sum(sizes))
