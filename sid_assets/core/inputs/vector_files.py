"""Parquet files of vectors that users bring: columns `pid` and `embedding`, rows in any order."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sid_assets.core import schema
from sid_assets.core.arrow.external_sort import sort_batches
from sid_assets.core.arrow.vectors import not_unit_vectors, vector_array
from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.inputs.files import TableFiles, find_table_files
from sid_assets.core.inputs.ids import PidTypeSetting, cast_pids, stored_as
from sid_assets.core.inputs.parquet import read_parquet_schemas
from sid_assets.core.schema import EMBEDDING_DIM, PID_TYPES, PidType
from sid_assets.core.store.parts import VECTOR_ROW_GROUP
from sid_assets.core.store.places import arrow_filesystem

PID_ROWS = 65_536
PID_RUN_BYTES = 64 << 20
READ_BUFFER = 1 << 20
"""Bytes read at once of a column: row groups may be larger than memory."""

ROW = pa.schema([pa.field("adopted_row", pa.int64())])
"""Where a vector is: the number of its row, from 0, counted through all files."""


@dataclass(frozen=True)
class VectorFiles:
    """Parquet files of vectors: columns `pid` and `embedding`, in any order of rows.

    Attributes:
        setting: A file, folder or glob.
        pid_setting: SID_PID_TYPE, which decides how ids stored as another type are read.
    """

    setting: str
    pid_setting: PidTypeSetting = "auto"

    @cached_property
    def files(self) -> TableFiles:
        """The files.

        Raises:
            InputError: There are none, they are no parquet, or lack a column of the right type.
        """
        files = find_table_files(self.setting)
        if files.format != "parquet":
            raise InputError(f"{self.setting}: {files.format} files; vectors are read of parquet.")
        for name, columns in zip(files.names, read_parquet_schemas(files), strict=True):
            _require_columns(name, columns)
        return files

    @cached_property
    def rows(self) -> int:
        """Rows of all files."""
        count = 0
        for path in self.files.paths:
            with self._open(path) as file:
                count += file.metadata.num_rows
        return count

    def sorted_rows(self, pid_type: PidType) -> Iterator[pa.RecordBatch]:
        """The `pid` and `adopted_row` of every row, sorted by pid. Vectors are not read.

        Raises:
            InputError: A pid is null, is there twice, or is not of the catalog's type.
        """
        with tempfile.TemporaryDirectory() as scratch:
            pids = self._pids(pid_type)
            previous = None
            for batch in sort_batches(pids, "pid", Path(scratch) / "pids", PID_RUN_BYTES):
                self._require_unique(batch["pid"], previous)
                previous = batch["pid"][-1].as_py()
                yield batch

    def _pids(self, pid_type: PidType) -> Iterator[pa.RecordBatch]:
        columns = pa.schema([("pid", PID_TYPES[pid_type]), *ROW])
        for row, name, batch in self._batches(["pid"], PID_ROWS):
            pids = self._cast(batch["pid"], pid_type, name)
            rows = pa.array(np.arange(row, row + batch.num_rows))
            yield pa.record_batch([pids, rows], schema=columns)

    def vectors(self, pid_type: PidType, wanted: "WantedRows") -> Iterator[pa.RecordBatch]:
        """The `pid` and `embedding` (schema.VECTOR, unit norm) of wanted rows, as they come.

        Raises:
            InputError: A vector is missing, of another width, not finite, or zero.
        """
        columns = pa.schema([("pid", PID_TYPES[pid_type]), ("embedding", schema.VECTOR)])
        for row, name, batch in self._batches(["pid", "embedding"], VECTOR_ROW_GROUP, wanted):
            chosen = batch.filter(pa.array(wanted.mask[row : row + batch.num_rows]))
            if chosen.num_rows:
                pids = self._cast(chosen["pid"], pid_type, name)
                vectors = _float_vectors(chosen["embedding"], pids, name)
                wanted.normalised += _normalise(vectors, pids, name)
                yield pa.record_batch([pids, vector_array(vectors)], schema=columns)

    def _batches(
        self, columns: list[str], rows_at_once: int, wanted: "WantedRows | None" = None
    ) -> Iterator[tuple[int, str, pa.RecordBatch]]:
        """Batches with the number of their first row and their file; unwanted groups are passed."""
        first = 0
        for name, path in zip(self.files.names, self.files.paths, strict=True):
            with self._open(path) as file, _readable(name):
                for group in range(file.num_row_groups):
                    stop = first + file.metadata.row_group(group).num_rows
                    if wanted is None or wanted.mask[first:stop].any():
                        row = first
                        for batch in file.iter_batches(
                            rows_at_once, row_groups=[group], columns=columns, use_threads=False
                        ):
                            yield row, name, batch
                            row += batch.num_rows
                    first = stop

    def _open(self, path: str) -> pq.ParquetFile:
        filesystem = arrow_filesystem(self.files.root)
        return pq.ParquetFile(
            path, filesystem=filesystem, pre_buffer=False, buffer_size=READ_BUFFER
        )

    def _cast(self, values: pa.Array, pid_type: PidType, name: str) -> pa.Array:
        stored = stored_as(values.type, source=name, column="pid")
        if self.pid_setting == "auto" and stored == "int" and pid_type == "string":
            raise InputError(
                f"{name}: column 'pid' stores integers (the first: "
                f"{values[:IDS_SHOWN].to_pylist()}), and the catalog's ids are text. Set "
                "SID_PID_TYPE=int or SID_PID_TYPE=string to read both as one type."
            )
        forced = self.pid_setting != "auto"
        pids = cast_pids(values, pid_type, source=name, column="pid", forced=forced)
        if pids.null_count:
            raise offending_rows(
                "no id",
                source=name,
                column="pid",
                rows=pids.null_count,
                remedy="Each vector needs the id of its item.",
            )
        return pids

    def _require_unique(self, pids: pa.Array, previous: object) -> None:
        """No pid is there twice, given the last one of the batch before."""
        twice = pids.slice(1).filter(pc.equal(pids.slice(0, len(pids) - 1), pids.slice(1)))
        ids = twice.to_pylist() + ([previous] if pids[0].as_py() == previous else [])
        if ids:
            raise offending_rows(
                "ids are there more than once",
                source=self.setting,
                column="pid",
                rows=len(ids),
                ids=ids,
                remedy="Each item has one vector. Remove the others.",
            )


class WantedRows:
    """Which rows of vector files are adopted.

    Attributes:
        mask: bool, shape (rows of all files,).
        sorted: Whether these rows come in the order of their pids.
        normalised: How many of their vectors were not of unit norm, and were normalised.
    """

    def __init__(self, rows: int) -> None:
        """None is wanted yet.

        Args:
            rows: Rows of all files.
        """
        self.mask = np.zeros(rows, bool)
        self.sorted = True
        self.normalised = 0
        self._last = -1

    def add(self, rows: np.ndarray) -> None:
        """Want rows, given their numbers in the order of their pids."""
        if len(rows):
            self.sorted &= bool((np.diff(rows, prepend=self._last) > 0).all())
            self._last = int(rows[-1])
            self.mask[rows] = True

    @property
    def count(self) -> int:
        """How many they are."""
        return int(self.mask.sum())


def _require_columns(name: str, columns: pa.Schema) -> None:
    for column in ("pid", "embedding"):
        if columns.get_field_index(column) < 0:
            raise InputError(
                f"{name}: no column {column!r}. Files of vectors have `pid` and `embedding`; here "
                f"are {', '.join(columns.names)}."
            )
    kind = columns.field("embedding").type
    fixed = pa.types.is_fixed_size_list(kind)
    is_list = fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise InputError(f"{name}: column 'embedding' holds {kind}; it must hold lists of floats.")
    if fixed and kind.list_size != EMBEDDING_DIM:
        raise InputError(
            f"{name}: column 'embedding' holds vectors {kind.list_size} wide; the tokenizer of "
            f"semantic IDs wants {EMBEDDING_DIM}."
        )


def _float_vectors(column: pa.Array, pids: pa.Array, name: str) -> np.ndarray:
    """A column of lists as float32, shape (n, 4096), in memory of its own; NaN for nulls."""
    widths = pc.list_value_length(column)
    wrong = pc.fill_null(pc.or_(column.is_null(), pc.not_equal(widths, EMBEDDING_DIM)), True)
    _refuse(wrong, pids, name, f"the vector is missing or not {EMBEDDING_DIM} wide")
    numbers = column.flatten().cast(pa.float32(), safe=False)
    return np.array(numbers.to_numpy(zero_copy_only=False)).reshape(-1, EMBEDDING_DIM)


def _normalise(vectors: np.ndarray, pids: pa.Array, name: str) -> int:
    """Give vectors unit norm in place, where they are not of it. Returns how many these were."""
    other = np.flatnonzero(not_unit_vectors(vectors))
    if not other.size:
        return 0
    exact = vectors[other].astype(np.float64)  # squares of large numbers do not fit into float32
    norms = np.linalg.norm(exact, axis=1, keepdims=True)
    wrong = np.zeros(len(vectors), bool)
    wrong[other] = ~(np.isfinite(norms) & (norms > 0))[:, 0]
    _refuse(pa.array(wrong), pids, name, "the vector is zero or not finite (NaN or infinite)")
    vectors[other] = exact / norms
    return other.size


def _refuse(wrong: pa.Array, pids: pa.Array, name: str, problem: str) -> None:
    bad = pids.filter(wrong)
    if len(bad):
        raise offending_rows(
            f"{problem}, among {len(pids):,} rows read at once",
            source=name,
            column="embedding",
            rows=len(bad),
            ids=bad[:IDS_SHOWN].to_pylist(),
            remedy="Remove these rows, and their items are embedded; or mend them.",
        )


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name}: cannot be read ({error}). Write it again.") from error
