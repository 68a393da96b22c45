"""All data sets of a phase together: the list of their files, and their shuffled rows.

OneRec's loader assigns whole files to its workers and does not shuffle across files.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path

import pyarrow as pa
from upath import UPath

from sid_assets.core.arrow.duck import computed
from sid_assets.core.arrow.external_sort import sort_batches
from sid_assets.core.store.places import is_local, write_text
from sid_assets.core.store.provenance import derive
from sid_assets.core.store.scratch import scratch_folder
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.core.store.write import draft_rows
from sid_assets.core.training_sets import ROWS, DataSet, Phase

RUN_BYTES = 256 << 20
"""Bytes of rows that are sorted in memory at a time during a shuffle."""


def list_files(store: Store, phase: Phase, versions: Iterable[Version]) -> None:
    """Write `<phase>_file_list.json`: the files to train on."""
    paths = [path for version in versions for path in _paths(store, version)]
    write_text(list_path(store, phase), file_list(map(str, paths)))


def list_path(store: Store, phase: Phase) -> UPath:
    """Where the list of the files of a phase is."""
    return store.root / f"{phase}_file_list.json"


def withdraw_lists(store: Store, data_sets: Iterable[DataSet], log: logging.Logger) -> None:
    """Remove the lists that name files of these data sets, because their SIDs are replaced.

    The next run of the training data writes them again.
    """
    tables: dict[Phase, list[str]] = {}
    for data_set in data_sets:
        phase_tables = tables.setdefault(data_set.phase, [_shuffled_table(data_set.phase)])
        phase_tables.append(data_set.table)
    for phase, names in tables.items():
        path = list_path(store, phase)
        listed = path.read_text() if path.exists() else ""
        if any(f"/{name}.parquet/" in listed or f"/{name}/" in listed for name in names):
            path.unlink()
            log.warning(
                f"{path} is withdrawn: it names training data made from the SIDs that this run "
                "replaces. Materialise the training data sets to get it again."
            )


def _paths(store: Store, version: Version) -> list[UPath]:
    """The files of a data set; on a local disk by the names that readers see."""
    if not is_local(store.root):
        return version.paths
    return [store.path(version.provenance.asset) / part.name for part in version.parts]


def file_list(files: Iterable[str | PathLike[str]]) -> str:
    """The JSON array of absolute paths that the loader calls `sources`; URLs are unchanged."""
    paths = [str(file) for file in files]
    return json.dumps([p if "://" in p else str(Path(p).absolute()) for p in paths], indent=1)


def shuffle(store: Store, phase: Phase, versions: Sequence[Version], seed: int) -> Version:
    """Commit all rows of a phase in shuffled order, as the table `<phase>_shuffled`.

    Raises:
        StoreError: A file is damaged, another run writes the table, or the table cannot be written.
    """
    table = _shuffled_table(phase)
    rows = (
        batch.replace_schema_metadata(None)
        for version in versions
        for batch in version.stream(batch_rows=1024)
    )
    with scratch_folder(store.root) as scratch:
        mixed = shuffled(rows, seed, Path(scratch, "runs"))
        reader = pa.RecordBatchReader.from_batches(ROWS[phase], mixed)
        provenance = derive(table, *(version.provenance for version in versions))
        return store.commit(draft_rows(store, table, reader, provenance))


def withdraw_shuffled(store: Store, phase: Phase, log: logging.Logger) -> None:
    """Withdraw the shuffled table of an earlier run: it would look current but is not updated."""
    table = _shuffled_table(phase)
    if store.current(table):
        store.forget(table)
        log.warning(
            f"{store.path(table)} is withdrawn: it was made from earlier rows, and this run does "
            "not make it again. `sid-assets purge --yes` removes its files."
        )


def _shuffled_table(phase: Phase) -> str:
    return f"{phase}_shuffled"


def shuffled(
    rows: Iterable[pa.RecordBatch], seed: int, folder: Path, run_bytes: int = RUN_BYTES
) -> Iterator[pa.RecordBatch]:
    """All rows, in an order that depends on their uuids and the seed.

    The order does not depend on the order of the input. New rows do not change the relative order
    of the other rows.

    Args:
        rows: Rows with a `uuid` and the same schema, from all data sets of a phase.
        seed: SID_SEED.
        folder: A folder for temporary files; it is created and must not exist.
        run_bytes: Bytes of rows that are sorted in memory at a time.
    """
    for batch in sort_batches((_keyed(batch, seed) for batch in rows), "key", folder, run_bytes):
        yield batch.drop_columns(["key"])


def _keyed(batch: pa.RecordBatch, seed: int) -> pa.RecordBatch:
    uuids = pa.table({"uuid": batch["uuid"]})
    keys = computed(uuids, f"sha1('{seed:d}/' || uuid) AS key")["key"].combine_chunks()
    return batch.append_column("key", keys)
