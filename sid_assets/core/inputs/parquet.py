"""Input files in parquet: finding, opening, and reading them a few rows at a time."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sid_assets.core.arrow.columns import is_text
from sid_assets.core.errors import IDS_SHOWN, InputError
from sid_assets.core.inputs.content import first_bytes, why_no_parquet
from sid_assets.core.inputs.encodings import plain_batch, plain_type
from sid_assets.core.inputs.files import TableFiles, find_table_files
from sid_assets.core.inputs.ids import PidColumn, convert_pids, stored_as
from sid_assets.core.store.places import arrow_filesystem

FOOTERS_AT_ONCE = 16
"""Footers read in parallel; on an object store, each is a round trip."""

SPLIT = "split"
"""The column that says which rows are for training: those where it is 0."""

ROWS_AT_A_TIME = 1024
"""Rows of interactions read at a time; with 500 items each, they become 28 MB of text."""


def find_parquet_files(setting: str, what: str) -> TableFiles:
    """Find files that must be parquet; a file named directly may have any ending, or none.

    Args:
        setting: A path or fsspec URL of a file, a folder or a glob.
        what: What they hold, in the plural, for the error message.

    Raises:
        InputError: There are none, or they have another format.
    """
    files = find_table_files(setting, otherwise="parquet")
    if files.format != "parquet":
        raise InputError(f"{files.names[0]}: is {files.format}. {what} must be parquet.")
    return files


class Footer(NamedTuple):
    """What the footer of a parquet file says: the columns, and the number of rows."""

    schema: pa.Schema
    rows: int


def read_parquet_footers(files: TableFiles) -> list[Footer]:
    """The footer of each parquet file.

    Raises:
        InputError: A file is not parquet, or is truncated.
    """
    filesystem = arrow_filesystem(files.root)

    def read(position: int) -> Footer:
        name = files.names[position]
        try:
            with pq.ParquetFile(files.paths[position], filesystem=filesystem) as file:
                # `metadata.schema` would not know logical types such as UUID.
                return Footer(file.schema_arrow.remove_metadata(), file.metadata.num_rows)
        except (pa.ArrowException, OSError) as error:
            reason = why_no_parquet(first_bytes(files, position)) or (
                f"it is truncated or damaged, or still being copied ({str(error).strip()})."
            )
            raise InputError(f"{name}: not a readable parquet file; {reason}") from error

    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        return list(pool.map(read, range(len(files.names))))


def read_parquet_schemas(files: TableFiles) -> list[pa.Schema]:
    """The schema of each parquet file, from its footer.

    Raises:
        InputError: A file is not parquet, or is truncated.
    """
    return [footer.schema for footer in read_parquet_footers(files)]


def with_rows(footers: Sequence[Footer]) -> list[int]:
    """The positions of the files whose columns count: those with rows, or all if none has any.

    pandas writes a table without rows with columns of arbitrary types.
    """
    filled = [position for position, footer in enumerate(footers) if footer.rows]
    return filled or list(range(len(footers)))


@contextmanager
def opened_parquet(
    files: TableFiles, position: int, buffer_size: int = 0
) -> Iterator[pq.ParquetFile]:
    """Open one of the files and close it again: there may be more than can be open at once.

    Args:
        files: The files.
        position: Which of them.
        buffer_size: Bytes of a column to read at once; 0: the whole column of a row group.

    Raises:
        InputError: The rows that are read are damaged.
    """
    filesystem = arrow_filesystem(files.root)
    try:
        with pq.ParquetFile(
            files.paths[position],
            filesystem=filesystem,
            buffer_size=buffer_size,
            pre_buffer=not buffer_size,
        ) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{files.names[position]}: the file is damaged ({error}). Copy or write it again."
        ) from error


class ParquetInput:
    """A parquet file, or a folder or glob of them; local, or any URL that fsspec supports.

    Several files are the parts of one table. A column that some of them lack is null there. Columns
    in the names of folders are read as integers if all their values are integers, else as text.
    Files without rows are not read, and their columns do not count.

    Attributes:
        path: The location, as given.
        columns: The columns of all its files.
    """

    def __init__(self, path: str, files: TableFiles | None = None) -> None:
        """Find the files and read their footers.

        Args:
            path: The location.
            files: The files there, if they are known already.

        Raises:
            InputError: There is no such file, or a file is not parquet.
        """
        self.path = str(path)
        self._files = files or find_parquet_files(self.path, "Captions")
        self._footers = read_parquet_footers(self._files)
        self._parts = with_rows(self._footers)
        self._folders = {name: self._folder_column(name) for name in self._files.partition_columns}
        names = [name for part in self._parts for name in self._footers[part].schema.names]
        self.columns = list(dict.fromkeys([*names, *self._folders]))

    def missing(self, columns: Iterable[str]) -> list[str]:
        """The given columns that no file has."""
        return [name for name in columns if name not in self.columns]

    def require_in_all(self, columns: Iterable[str]) -> None:
        """Raise InputError if a file lacks one of these columns; it names the file."""
        wanted = list(columns)
        for part in self._parts:
            if lacking := self._lacking(part, wanted):
                raise InputError(
                    f"{self._files.names[part]}: there is no column "
                    f"{', '.join(map(repr, lacking))}. Its columns are "
                    f"{', '.join(self._footers[part].schema.names)}. Add or rename columns; or, if "
                    f"the file does not belong to {self.path}, move it away."
                )

    def require_one_kind(self, columns: Iterable[str]) -> None:
        """Raise InputError if a column holds text in one file and numbers in another."""
        for column in columns:
            kinds: dict[bool, tuple[str, pa.DataType]] = {}
            for name, kind in self.types(column):
                if not (pa.types.is_null(kind) or pa.types.is_nested(kind)):
                    kinds.setdefault(is_text(kind), (name, kind))
            if len(kinds) > 1:
                (first, one), (second, other) = kinds.values()
                raise InputError(
                    f"{second}: column {column!r} holds {other}, but in {first} it holds {one}. "
                    "Write it as one type in all files."
                )

    def warnings(self, columns: Iterable[str]) -> list[str]:
        """A warning for columns that some files have and others lack; it names the files."""
        wanted = [name for name in columns if name in self.columns]
        parts: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for part in self._parts:
            parts[tuple(self._lacking(part, wanted))].append(part)
        return [
            f"{shortened([self._files.names[part] for part in those])}: no column "
            f"{', '.join(map(repr, lacking))}, which other files of {self.path} have. It is null "
            f"there ({sum(self._footers[part].rows for part in those):,} rows)."
            for lacking, those in parts.items()
            if lacking
        ]

    def file_with(self, column: str) -> str:
        """The name of the first file that has a column; of the input, if none has."""
        return next((name for name, _ in self.types(column)), self.path)

    def types(self, column: str) -> Iterator[tuple[str, pa.DataType]]:
        """The type of a column in each file that has it, as `batches` gives it, and the file."""
        for part in self._parts:
            if not self._lacking(part, [column]):
                yield self._files.names[part], self._type(part, column)

    def pid_columns(self, column: str) -> Iterator[PidColumn]:
        """How each file that has a column of ids stores them."""
        for part in self._parts:
            if self._lacking(part, [column]):
                continue
            name = self._files.names[part]
            first = next(self._batches(part, [column], 64), None)
            ids = flat(first[column]).drop_null().slice(0, IDS_SHOWN) if first else ()
            yield PidColumn(
                source=name,
                column=column,
                stored=stored_as(self._type(part, column), source=name, column=column),
                rows=self._footers[part].rows,
                first_ids=tuple(pid.as_py() for pid in ids),
            )

    def batches(self, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch, with those of the given columns that exist, in plain types.

        Raises:
            InputError: A file is damaged, a column holds bytes that are not text, or it
                contradicts the name of its folder.
        """
        for _, batch in self.batches_of_files(columns):
            yield batch

    def batches_of_files(self, columns: Iterable[str]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The same, each batch with the name of its file."""
        wanted = [name for name in dict.fromkeys(columns) if name in self.columns]
        for part in self._parts:
            for batch in self._batches(part, wanted, ROWS_AT_A_TIME):
                yield self._files.names[part], batch

    def train_batches(self, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """The rows of split 0, or all rows if there is no column `split`.

        Raises:
            InputError: As `batches`; or some files have a column `split` and others do not.
        """
        if SPLIT in self.columns:
            self.require_in_all([SPLIT])
        for batch in self.batches([*columns, SPLIT]):
            if SPLIT not in batch.schema.names:
                yield batch
                continue
            split = batch[SPLIT]
            if pa.types.is_boolean(split.type):
                split = split.cast(pa.int8())
            train = pc.equal(convert_pids(split, "int"), 0).fill_null(False)
            yield batch if train.false_count == 0 else batch.filter(train)

    def _lacking(self, part: int, columns: Iterable[str]) -> list[str]:
        there = self._footers[part].schema.names
        return [name for name in columns if name not in there and name not in self._folders]

    def _type(self, part: int, column: str) -> pa.DataType:
        schema = self._footers[part].schema
        if column in schema.names:
            return plain_type(schema.field(column).type)
        return self._folders[column].type

    def _folder_column(self, column: str) -> pa.Array:
        """The values of a column in the names of folders, one for each file."""
        text = pa.array([partition[column] for partition in self._files.partitions], pa.string())
        integers = convert_pids(text, "int")
        return integers if integers.null_count == text.null_count else text

    def _batches(self, part: int, wanted: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of a file with the wanted columns; those that it lacks are of type null."""
        stored = [name for name in wanted if name in self._footers[part].schema.names]
        with opened_parquet(self._files, part) as file:
            for batch in file.iter_batches(rows, columns=stored):
                for name in wanted:
                    if name not in stored:
                        value = self._folders[name][part] if name in self._folders else None
                        batch = batch.append_column(name, pa.repeat(value, len(batch)))
                    elif name in self._folders:
                        self._require_value_of_folder(part, name, batch[name])
                yield plain_batch(batch, self._files.names[part])

    def _require_value_of_folder(self, part: int, column: str, stored: pa.Array) -> None:
        value = self._folders[column][part]
        if pa.types.is_integer(value.type):
            numbers = stored.cast(pa.int8()) if pa.types.is_boolean(stored.type) else stored
            given = convert_pids(numbers, "int")
        else:
            given = stored.cast(pa.string())
        same = pc.equal(given, value) if value.is_valid else given.is_null()
        if wrong := len(same) - same.true_count:
            other = stored.filter(pc.invert(same.fill_null(False)))[0]
            raise InputError(
                f"{self._files.names[part]}: column {column!r} holds {other.as_py()!r} ({wrong:,} "
                f"rows), but its folder says {value.as_py()!r}. Correct one of the two, or rename "
                "the folder."
            )


def shortened(names: Sequence[str]) -> str:
    """The first names of several files, and how many more there are."""
    more = f" and {len(names) - IDS_SHOWN:,} more files" if len(names) > IDS_SHOWN else ""
    return ", ".join(names[:IDS_SHOWN]) + more


def flat(column: pa.Array) -> pa.Array:
    """The elements of lists; a column without lists is returned unchanged."""
    return column.flatten() if hasattr(column, "flatten") else column
