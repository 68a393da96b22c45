"""Vectors that exist already: parquet files of them, adopted instead of embedding items again.

First only their ids are read, sorted and compared with the items: that tells which rows are wanted.
Then these rows are read, checked and staged, sorted by pid, as rows of `item_embeddings`, from
which the embedding run takes them over as it does from the version before.
"""

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from sid_assets.core import schema
from sid_assets.core.arrow.external_sort import sort_batches
from sid_assets.core.arrow.hashes import vector_hashes
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.arrow.vectors import not_unit_vectors, vector_array
from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.inputs.files import TableFiles, find_table_files, read_parquet_schemas
from sid_assets.core.inputs.ids import PidTypeSetting, cast_pids, stored_as
from sid_assets.core.schema import EMBEDDING_DIM, PID_TYPES, PidType
from sid_assets.core.store.draft import STATE, Draft
from sid_assets.core.store.parts import VECTOR_ROW_GROUP, Part, write_parts
from sid_assets.core.store.pid_ranges import SortedParts
from sid_assets.core.store.places import (
    arrow_filesystem,
    explained,
    is_local,
    remove_folder,
    write_json,
)
from sid_assets.core.store.provenance import EmbeddingSpace, Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version

ADOPTED = "_adopted.json"
"""Written last into the folder of adopted vectors: its parts, and how many were normalised."""

PID_ROWS = 65_536
ROWS_PER_PART = 8192
PID_RUN_BYTES = 64 << 20
VECTOR_RUN_BYTES = 256 << 20
READ_BUFFER = 1 << 20
"""Bytes read at once of a column: row groups may be larger than memory."""

ROW = pa.schema([pa.field("adopted_row", pa.int64())])
"""Where a vector is: the number of its row, from 0, counted through all files."""


def declared_space(text: str, space: EmbeddingSpace) -> None:
    """Refuse vectors that are declared to be of another space than the embedder's.

    Nothing in a vector tells which model made it, so somebody has to say it, and it is compared
    with what the embedder says of itself, field by field.

    Args:
        text: JSON of fields of the space, `model` among them.
        space: The embedder's.

    Raises:
        InputError: It is no such JSON, or a field differs.
    """
    example = json.dumps({"model": space.model, "revision": space.revision})
    try:
        declared = json.loads(text)
    except ValueError:
        declared = None
    known = space.to_dict()
    if not isinstance(declared, dict) or "model" not in declared or declared.keys() - known.keys():
        raise InputError(
            f"SID_EMBEDDINGS_SPACE={text!r}: must say which model made the vectors of "
            f"SID_EMBEDDINGS, and may say more, as JSON, e.g. {example}. "
            f"Fields: {', '.join(known)}."
        )
    differences = [
        f"{name}: {value!r}, and the embedder's is {known[name]!r}"
        for name, value in declared.items()
        if value != known[name]
    ]
    if differences:
        raise InputError(
            "The vectors of SID_EMBEDDINGS are declared to be of another embedding space than the "
            f"embedder's ({'; '.join(differences)}). Vectors of two spaces are never mixed. Set "
            "the embedder to the one that made them, or unset SID_EMBEDDINGS."
        )


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


@dataclass(frozen=True)
class Adopted:
    """Adopted vectors, sorted by pid, with all columns of `item_embeddings`.

    Attributes:
        key: Names their content: the same files, texts and wanted rows.
        folder: Where they are staged.
        parts: Part files.
        normalised: How many were not of unit norm, and were normalised.
    """

    key: str
    folder: UPath
    parts: tuple[Part, ...]
    normalised: int

    @property
    def rows(self) -> int:
        """How many they are."""
        return sum(part.rows for part in self.parts)

    @property
    def sorted_parts(self) -> SortedParts:
        """To read ranges of pids from."""
        return SortedParts(self.folder, self.parts)


def adopt(
    draft: Draft,
    texts: Version,
    files: VectorFiles,
    wanted: WantedRows,
    log: Callable[[str], None],
) -> Adopted:
    """Write the wanted vectors beside a draft, once for these texts.

    A run that was killed leaves them to the next one; a commit of the table removes them. Memory
    does not grow with their number.

    Args:
        draft: Of `item_embeddings`; it need not have begun.
        texts: The items; a vector gets the hash of its item's text.
        files: Where the vectors are.
        wanted: Which rows of them.
        log: Told, in words, what is done.

    Raises:
        InputError: A vector or a pid is not as it has to be.
        StoreError: The disk is full.
    """
    key = _key(texts.provenance.version, files, wanted)
    folder = draft.folder_beside(key)
    adopted = _finished(folder, key)
    if adopted is None:
        log(f"Adopting the vectors of {wanted.count:,} items from {files.setting}.")
        adopted = _write(folder, draft.table, key, texts, files, wanted)
    if adopted.normalised:
        log(
            f"{files.setting}: {adopted.normalised:,} of {adopted.rows:,} adopted vectors were not "
            "of unit norm, and were normalised."
        )
    return adopted


def adopted_already(
    store: Store, table: str, texts_version: str, files: VectorFiles, wanted: WantedRows
) -> bool:
    """Whether an earlier run staged the wanted vectors for this version of the texts."""
    key = _key(texts_version, files, wanted)
    runs = store.unfinished(table)
    return any(run.state.get("key") == key and (run.folder / ADOPTED).exists() for run in runs)


def _key(texts_version: str, files: VectorFiles, wanted: WantedRows) -> str:
    content = hashlib.sha256(wanted.mask.tobytes())
    content.update(f"{files.files.fingerprint} {texts_version}".encode())
    return f"adopted-{content.hexdigest()[:16]}"


def _finished(folder: UPath, key: str) -> Adopted | None:
    """What an earlier run adopted; None where it did not end."""
    note = folder / ADOPTED
    if not note.exists():
        return None
    fields = json.loads(note.read_text())
    parts = tuple(Part(**part) for part in fields["parts"])
    return Adopted(key, folder, parts, fields["normalised"])


def _write(
    folder: UPath,
    table: str,
    key: str,
    texts: Version,
    files: VectorFiles,
    wanted: WantedRows,
) -> Adopted:
    for left in list(folder.iterdir()):
        if left.is_dir():
            remove_folder(left)
        elif left.name != STATE:
            left.unlink()
    # On a local store there is room on its disk; a temporary folder may be in memory.
    near = folder.path if is_local(folder) else None
    with explained(folder), tempfile.TemporaryDirectory(dir=near, prefix="_") as scratch:
        rows: Iterable[pa.RecordBatch] = files.vectors(texts.pid_type, wanted)
        if not wanted.sorted:
            rows = sort_batches(rows, "pid", Path(scratch) / "vectors", VECTOR_RUN_BYTES)
        columns = Provenance(table).attach(schema.item_embeddings(texts.pid_type))
        reader = pa.RecordBatchReader.from_batches(columns, _complete(rows, texts, columns))
        parts = write_parts(folder, reader, ROWS_PER_PART, "none")
    note = {
        "parts": [dataclasses.asdict(part) for part in parts],
        "normalised": wanted.normalised,
    }
    write_json(folder / ADOPTED, note)
    return Adopted(key, folder, tuple(parts), wanted.normalised)


def _complete(
    rows: Iterable[pa.RecordBatch], texts: Version, columns: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Rows of `item_embeddings`, given pids and vectors sorted by pid."""
    hashes = pa.schema([columns.field("text_hash").with_nullable(True)])
    for batch in joined(rows, texts.stream(["pid", "text_hash"], PID_ROWS), hashes):
        for start in range(0, batch.num_rows, VECTOR_ROW_GROUP):
            block = batch.slice(start, VECTOR_ROW_GROUP)
            vectors = block["embedding"].flatten().to_numpy().reshape(-1, EMBEDDING_DIM)
            values = [block["pid"], block["embedding"], block["text_hash"], vector_hashes(vectors)]
            yield pa.record_batch(values, schema=columns)


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
