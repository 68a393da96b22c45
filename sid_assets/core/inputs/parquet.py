"""Input files in parquet: finding, opening, and reading them a few rows at a time."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sid_assets.core.errors import IDS_SHOWN, InputError
from sid_assets.core.inputs.encodings import plain_batch, plain_type
from sid_assets.core.inputs.files import TableFiles, find_table_files
from sid_assets.core.inputs.ids import PidColumn, convert_pids, stored_as
from sid_assets.core.store.places import arrow_filesystem

FOOTERS_AT_ONCE = 16
"""Footers read in parallel; on an object store, each is a round trip."""

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


def read_parquet_schemas(files: TableFiles) -> list[pa.Schema]:
    """The schema of each parquet file, from its footer.

    Raises:
        InputError: A file is not parquet, or is truncated.
    """
    filesystem = arrow_filesystem(files.root)

    def read(name: str, path: str) -> pa.Schema:
        try:
            return pq.read_schema(path, filesystem=filesystem).remove_metadata()
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{name}: not a readable parquet file; it is truncated or damaged, or still being "
                f"copied ({str(error).strip()})."
            ) from error

    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        return list(pool.map(read, files.names, files.paths))


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

    Attributes:
        path: The location, as given.
        columns: The columns that all its files have.
    """

    def __init__(self, path: str) -> None:
        """Find the files and read their footers.

        Raises:
            InputError: There is no such file, or a file is not parquet.
        """
        self.path = str(path)
        self._files = find_parquet_files(self.path, "Interactions and captions")
        self._schemas = read_parquet_schemas(self._files)
        names = [schema.names for schema in self._schemas]
        self.columns = [name for name in names[0] if all(name in other for other in names)]

    def missing(self, columns: Iterable[str]) -> list[str]:
        """The given columns that not all files have."""
        return [name for name in columns if name not in self.columns]

    def types(self, column: str) -> Iterator[tuple[str, pa.DataType]]:
        """The type of a column in each file that has it, as `batches` gives it, and the file."""
        for name, schema in zip(self._files.names, self._schemas, strict=True):
            if column in schema.names:
                yield name, plain_type(schema.field(column).type)

    def pid_columns(self, column: str) -> Iterator[PidColumn]:
        """How each file stores the ids of a column."""
        for position, name in enumerate(self._files.names):
            with opened_parquet(self._files, position) as file:
                kind = file.schema_arrow.field(column).type
                first = next(file.iter_batches(64, columns=[column]), None)
                rows = file.metadata.num_rows
            ids = ()
            if first:
                ids = flat(plain_batch(first, name)[column]).drop_null().slice(0, IDS_SHOWN)
            yield PidColumn(
                source=name,
                column=column,
                stored=stored_as(kind, source=name, column=column),
                rows=rows,
                first_ids=tuple(pid.as_py() for pid in ids),
            )

    def batches(self, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch, with those of the given columns that exist, in plain types.

        Raises:
            InputError: A file is damaged, or a column holds bytes that are not text.
        """
        for _, batch in self.batches_of_files(columns):
            yield batch

    def batches_of_files(self, columns: Iterable[str]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The same as `batches`, each with the name of its file."""
        wanted = [name for name in columns if name in self.columns]
        for position, name in enumerate(self._files.names):
            with opened_parquet(self._files, position) as file:
                for batch in file.iter_batches(ROWS_AT_A_TIME, columns=wanted):
                    yield name, plain_batch(batch, name)

    def train_batches(self, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """The rows of split 0, or all rows if there is no column `split`."""
        for batch in self.batches(dict.fromkeys([*columns, "split"])):
            if "split" not in batch.schema.names:
                yield batch
                continue
            split = batch["split"]
            if pa.types.is_boolean(split.type):
                split = split.cast(pa.int8())
            train = pc.equal(convert_pids(split, "int"), 0).fill_null(False)
            yield batch if train.false_count == 0 else batch.filter(train)


def flat(column: pa.Array) -> pa.Array:
    """The elements of lists; a column without lists is returned unchanged."""
    return column.flatten() if hasattr(column, "flatten") else column
