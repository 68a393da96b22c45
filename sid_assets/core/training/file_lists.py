"""All data sets of a training stage together: the list of their files, and their rows shuffled.

OneRec's loader gives whole files to its workers and does not shuffle across them.
"""

import json
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

import pyarrow as pa

from sid_assets.core.arrow.duck import computed
from sid_assets.core.arrow.external_sort import sort_batches

RUN_BYTES = 256 << 20
"""Rows that are sorted in memory at a time while rows are shuffled."""


def file_list(files: Iterable[str | PathLike[str]]) -> str:
    """The JSON array of absolute paths that the loader calls `sources`; URLs stay as they are."""
    paths = [str(file) for file in files]
    return json.dumps([p if "://" in p else str(Path(p).absolute()) for p in paths], indent=1)


def shuffled(
    rows: Iterable[pa.RecordBatch], seed: int, folder: Path, run_bytes: int = RUN_BYTES
) -> Iterator[pa.RecordBatch]:
    """All rows in an order that their uuids and the seed decide.

    The same rows come in the same order, however they came; rows that are added change nothing of
    the others' order.

    Args:
        rows: Rows with a `uuid`, of one schema: those of all data sets of a stage.
        seed: SID_SEED.
        folder: Where rows are kept meanwhile; it is made, and has to be new.
        run_bytes: What is sorted in memory at a time.
    """
    for batch in sort_batches((_keyed(batch, seed) for batch in rows), "key", folder, run_bytes):
        yield batch.drop_columns(["key"])


def _keyed(batch: pa.RecordBatch, seed: int) -> pa.RecordBatch:
    uuids = pa.table({"uuid": batch["uuid"]})
    keys = computed(uuids, f"sha1('{seed:d}/' || uuid) AS key")["key"].combine_chunks()
    return batch.append_column("key", keys)
