"""Input files of vectors: parquet with columns `pid` and `embedding`, rows in any order."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.columns import as_bool, is_list, is_text
from sid_assets.core.arrow.duck import spilling_database
from sid_assets.core.arrow.external_sort import sort_batches
from sid_assets.core.arrow.vectors import not_unit_vectors, vector_array
from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.inputs.encodings import plain_batch, plain_type
from sid_assets.core.inputs.files import TableFiles
from sid_assets.core.inputs.ids import PidTypeSetting, cast_pids, stored_as
from sid_assets.core.inputs.parquet import (
    find_parquet_files,
    opened_parquet,
    read_parquet_footers,
    shortened,
    with_rows,
)
from sid_assets.core.inputs.shared_parts import require_own_parts
from sid_assets.core.schema import EMBEDDING_DIM, PID_TYPES, PidType
from sid_assets.core.store.parts import VECTOR_ROW_GROUP
from sid_assets.core.store.places import temporary_folder

COLUMNS = ["pid", "embedding"]
PID_ROWS = 65_536
PID_RUN_BYTES = 64 << 20
READ_BUFFER = 1 << 20
"""Bytes of a column read at once: row groups may be larger than memory."""

ROW = pa.schema([pa.field("adopted_row", pa.int64())])
"""Where a vector is: its row number, from 0, counted across all files."""


@dataclass(frozen=True)
class VectorFiles:
    """Parquet files of vectors: columns `pid` and `embedding`, in any order of rows.

    Attributes:
        setting: A file, folder or glob.
        pid_setting: SID_PID_TYPE, which decides how ids stored as another type are read.
        width: Width of a vector.
    """

    setting: str
    pid_setting: PidTypeSetting = "auto"
    width: int = EMBEDDING_DIM

    @property
    def files(self) -> TableFiles:
        """The files.

        Raises:
            InputError: There are none, they are not parquet, or a column is missing or mistyped.
        """
        return self._checked[0]

    @property
    def rows(self) -> int:
        """Number of rows of all files."""
        return sum(part.rows for part in self._parts)

    @cached_property
    def stored_pid_type(self) -> pa.DataType:
        """The type of the ids: that of all files, or the one that holds the ids of each of them.

        Raises:
            InputError: Some files store ids as text and others as numbers.
        """
        first: dict[pa.DataType, str] = {}
        for part in self._parts:
            first.setdefault(part.pid_type, part.name)
        kinds = [kind for kind in first if not pa.types.is_null(kind)] or list(first)
        if len(kinds) == 1:
            return kinds[0]
        texts = [
            kind for kind in kinds if stored_as(kind, source=first[kind], column="pid") == "text"
        ]
        if numbers := [kind for kind in kinds if kind not in texts]:
            if texts:
                raise InputError(
                    f"{first[texts[0]]}: column 'pid' holds {texts[0]}, but in "
                    f"{first[numbers[0]]} it holds {numbers[0]}. Write the ids of all files as "
                    "one type."
                )
            return pa.int64()
        return pa.string()

    @property
    def _parts(self) -> list["_Part"]:
        return self._checked[1]

    @cached_property
    def _checked(self) -> tuple[TableFiles, list["_Part"]]:
        files = find_parquet_files(self.setting, "Vectors")
        require_own_parts(files)
        footers = read_parquet_footers(files)
        parts = []
        for position in with_rows(footers):
            name, footer = files.names[position], footers[position]
            _require_columns(name, footer.schema, self.width)
            pid = footer.schema.field("pid").type
            kind = pid if is_text(pid) else plain_type(pid)
            parts.append(_Part(position, name, footer.rows, kind))
        return files, parts

    def batches(self, rows_at_once: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """The ids and vectors of all rows, in order and unchanged.

        Args:
            rows_at_once: Rows to read at a time.

        Yields:
            Ids of `stored_pid_type`, shape (n,), and vectors, float32, shape (n, width). The
            vectors are a view if the files hold float32.

        Raises:
            InputError: A vector is missing, has another width, or has nulls.
        """
        for _, name, batch in self._batches(COLUMNS, rows_at_once):
            vectors = _float_vectors(batch["embedding"], batch["pid"], name, self.width)
            yield self._as_stored(batch["pid"], name), vectors

    def require_unique_ids(self, pid_type: PidType | None = None) -> None:
        """Refuse ids that are null or occur more than once. Vectors are not read.

        Args:
            pid_type: The type of the catalog's ids; by default, ids are read as stored.

        Raises:
            InputError: The message has the number of rows and the first five ids, sorted.
        """
        with spilling_database() as database:
            kind = PID_TYPES[pid_type] if pid_type else self.stored_pid_type
            database.register("batch", pa.schema([("pid", kind)]).empty_table())
            database.execute("CREATE TABLE pids AS FROM batch")
            for _, _, pids in self._pids(pid_type):
                database.register("batch", pa.table({"pid": pids}))
                database.execute("INSERT INTO pids FROM batch")
            found = database.execute(
                "SELECT pid, sum(times - (pid IS NOT NULL)::INT) OVER () FROM "
                "(SELECT pid, count(*) AS times FROM pids GROUP BY pid) "
                "WHERE times > 1 OR pid IS NULL ORDER BY pid LIMIT $1",
                [IDS_SHOWN],
            ).fetchall()
        if found:
            raise offending_rows(
                "rows without an id, or with the id of an earlier row",
                source=self._with_ids([pid for pid, _ in found], pid_type),
                column="pid",
                rows=int(found[0][1]),
                ids=(pid for pid, _ in found),
                remedy="Each item has one vector: give every row an id, and remove rows with "
                "repeated ids.",
            )

    def _with_ids(self, ids: list[int | str | None], pid_type: PidType | None) -> str:
        """The names of the files that contain one of the ids."""
        wanted = pa.array(ids, PID_TYPES[pid_type] if pid_type else self.stored_pid_type)
        names: dict[str, None] = {}
        for _, name, pids in self._pids(pid_type):
            if pc.is_in(pids, wanted).true_count:
                names[name] = None
        return shortened(list(names))

    def sorted_rows(self, pid_type: PidType) -> Iterator[pa.RecordBatch]:
        """The `pid` and `adopted_row` of every row, sorted by pid. Vectors are not read.

        Raises:
            InputError: A pid is null, occurs twice, or is not of the catalog's type.
        """
        with temporary_folder() as scratch:
            rows, previous = self._numbered(pid_type), None
            for batch in sort_batches(rows, "pid", Path(scratch) / "pids", PID_RUN_BYTES):
                pids = batch["pid"]
                again = pc.equal(pids.slice(0, len(pids) - 1), pids.slice(1))
                if again.true_count or pids[0].as_py() == previous:
                    self.require_unique_ids(pid_type)  # its error names all of them
                previous = pids[-1].as_py()
                yield batch

    def first_ids(self, pid_type: PidType) -> pa.Array:
        """The ids of the first rows, at most 65,536, as the catalog's type."""
        return next(
            (pids for _, _, pids in self._pids(pid_type)), pa.array([], PID_TYPES[pid_type])
        )

    def vectors(self, pid_type: PidType, wanted: "WantedRows") -> Iterator[pa.RecordBatch]:
        """The `pid` and `embedding` (schema.VECTOR, unit norm) of wanted rows, in file order.

        Raises:
            InputError: A vector is missing, has another width, is not finite, or is zero.
        """
        columns = pa.schema([("pid", PID_TYPES[pid_type]), ("embedding", schema.VECTOR)])
        for row, name, batch in self._batches(COLUMNS, VECTOR_ROW_GROUP, wanted):
            chosen = batch.filter(pa.array(wanted.mask[row : row + batch.num_rows]))
            if chosen.num_rows:
                pids = self._cast(chosen["pid"], pid_type, name)
                vectors = np.array(_float_vectors(chosen["embedding"], pids, name, self.width))
                wanted.normalised += _normalise(vectors, pids, name)
                yield pa.record_batch([pids, vector_array(vectors)], schema=columns)

    def _numbered(self, pid_type: PidType) -> Iterator[pa.RecordBatch]:
        columns = pa.schema([("pid", PID_TYPES[pid_type]), *ROW])
        for row, _, pids in self._pids(pid_type):
            if pids.null_count:
                self.require_unique_ids(pid_type)
            rows = pa.array(np.arange(row, row + len(pids)))
            yield pa.record_batch([pids, rows], schema=columns)

    def _pids(self, pid_type: PidType | None) -> Iterator[tuple[int, str, pa.Array]]:
        """Batches of ids, typed as in `require_unique_ids`: their first row, file, and ids."""
        for row, name, batch in self._batches(["pid"], PID_ROWS):
            stored = batch["pid"]
            pids = self._cast(stored, pid_type, name) if pid_type else self._as_stored(stored, name)
            yield row, name, pids

    def _batches(
        self, columns: list[str], rows_at_once: int, wanted: "WantedRows | None" = None
    ) -> Iterator[tuple[int, str, pa.RecordBatch]]:
        """Batches, each with the number of its first row and its file; skips unwanted groups."""
        first = 0
        for part in self._parts:
            with opened_parquet(self.files, part.position, READ_BUFFER) as file:
                groups = list(range(file.num_row_groups))
                for stretch in [groups] if wanted is None else [[group] for group in groups]:
                    rows = sum(file.metadata.row_group(group).num_rows for group in stretch)
                    row, first = first, first + rows
                    if wanted is None or wanted.mask[row:first].any():
                        for batch in file.iter_batches(
                            rows_at_once, row_groups=stretch, columns=columns, use_threads=False
                        ):
                            yield row, part.name, _with_plain_ids(batch, part.name)
                            row += batch.num_rows

    def _as_stored(self, pids: pa.Array, name: str) -> pa.Array:
        kind = self.stored_pid_type
        if pids.type == kind or pa.types.is_null(pids.type):
            return pids.cast(kind)
        return cast_pids(pids, "int" if kind == pa.int64() else "string", source=name, column="pid")

    def _cast(self, values: pa.Array, pid_type: PidType, name: str) -> pa.Array:
        """Ids as the catalog's type; null stays null."""
        stored = stored_as(values.type, source=name, column="pid")
        if self.pid_setting == "auto" and stored == "int" and pid_type == "string":
            raise InputError(
                f"{name}: column 'pid' stores integers (the first: "
                f"{values[:IDS_SHOWN].to_pylist()}), but the catalog's ids are text. Set "
                "SID_PID_TYPE=int or SID_PID_TYPE=string to read both as one type."
            )
        forced = self.pid_setting != "auto"
        return cast_pids(values, pid_type, source=name, column="pid", forced=forced)


class _Part(NamedTuple):
    """A file with rows."""

    position: int
    name: str
    rows: int
    pid_type: pa.DataType


class WantedRows:
    """The rows of vector files to adopt.

    Attributes:
        mask: bool, shape (rows of all files,).
        sorted: Whether these rows are in pid order.
        normalised: Number of their vectors that did not have unit norm and were normalised.
    """

    def __init__(self, rows: int) -> None:
        """No row is wanted yet.

        Args:
            rows: Number of rows of all files.
        """
        self.mask = np.zeros(rows, bool)
        self.sorted = True
        self.normalised = 0
        self._last = -1

    def add(self, rows: np.ndarray) -> None:
        """Mark rows as wanted, given their numbers in pid order."""
        if len(rows):
            self.sorted &= bool((np.diff(rows, prepend=self._last) > 0).all())
            self._last = int(rows[-1])
            self.mask[rows] = True

    @property
    def count(self) -> int:
        """Number of wanted rows."""
        return int(self.mask.sum())


def _with_plain_ids(batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
    """The batch with the ids in a plain type; vectors stay a view of what was read."""
    if is_text(batch["pid"].type):
        return batch
    (pids,) = plain_batch(batch.select(["pid"]), name).columns
    return batch.set_column(batch.schema.get_field_index("pid"), "pid", pids)


def _require_columns(name: str, columns: pa.Schema, width: int) -> None:
    missing = [column for column in COLUMNS if column not in columns.names]
    if missing:
        raise InputError(
            f"{name}: no column {', '.join(map(repr, missing))}. Its columns: "
            f"{', '.join(columns.names)}. Files of vectors need `pid` and `embedding`."
        )
    if repeated := [column for column in COLUMNS if columns.names.count(column) > 1]:
        raise InputError(
            f"{name}: has more than one column {repeated[0]!r}. Give the others another name."
        )
    kind = columns.field("embedding").type
    if not is_list(kind) or not pa.types.is_floating(kind.value_type):
        raise InputError(
            f"{name}: column 'embedding' has type {kind}. Write the vectors as lists of floats."
        )
    if pa.types.is_fixed_size_list(kind) and kind.list_size != width:
        raise InputError(
            f"{name}: column 'embedding' holds vectors {kind.list_size} wide; the tokenizer of "
            f"semantic IDs needs {width}."
        )


def _float_vectors(column: pa.Array, pids: pa.Array, name: str, width: int) -> np.ndarray:
    """A column of lists as float32, shape (n, width); a view if it holds float32."""
    lengths = pc.fill_null(pc.list_value_length(column), -1)
    wrong = pc.not_equal(lengths, width)
    _refuse(wrong, pids, name, f"vectors that are missing, null or not {width} wide")
    values = column.flatten().cast(pa.float32(), safe=False)
    if values.null_count:
        nulls = as_bool(values.is_null()).reshape(-1, width).any(axis=1)
        _refuse(pa.array(nulls), pids, name, "vectors with nulls, which are not finite numbers")
    return values.to_numpy().reshape(-1, width)


def _normalise(vectors: np.ndarray, pids: pa.Array, name: str) -> int:
    """Normalise, in place, vectors that do not have unit norm. Returns their number."""
    other = np.flatnonzero(not_unit_vectors(vectors))
    if not other.size:
        return 0
    exact = vectors[other].astype(np.float64)  # squares of large numbers overflow float32
    norms = np.linalg.norm(exact, axis=1, keepdims=True)
    wrong = np.zeros(len(vectors), bool)
    wrong[other] = ~(np.isfinite(norms) & (norms > 0))[:, 0]
    _refuse(pa.array(wrong), pids, name, "vectors that are zero or not finite (NaN or infinite)")
    vectors[other] = exact / norms
    return other.size


def _refuse(wrong: pa.Array, pids: pa.Array, name: str, problem: str) -> None:
    if pa.types.is_string_view(pids.type):  # Arrow cannot filter these
        pids = pids.cast(pa.string())
    bad = pids.filter(wrong)
    if len(bad):
        raise offending_rows(
            problem,
            source=name,
            column="embedding",
            rows=len(bad),
            ids=bad[:IDS_SHOWN].to_pylist(),
            remedy="Fix or remove these rows. (Counted up to the first batch with such rows.)",
        )
