"""Interactions and captions: parquet files read a stretch of rows at a time, and their ids."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.inputs.files import find_table_files, read_parquet_schemas
from sid_assets.core.inputs.ids import (
    PidColumn,
    PidTypeSetting,
    Stored,
    agree,
    convert_pids,
    stored_as,
)
from sid_assets.core.sids.index import FoundSids, SidIndex
from sid_assets.core.store.places import arrow_filesystem
from sid_assets.core.training.prompts import Prompts, load_prompts
from sid_assets.core.training_sets import InputName

ROWS_AT_A_TIME = 1024
"""Rows read at a time: of 500 items each they become 28 MB of text."""


class ParquetInput:
    """A parquet file, a folder of them or a glob; local, or any URL that fsspec knows.

    Attributes:
        path: Where it is, as given.
        columns: The columns that all its files have.
    """

    def __init__(self, path: str) -> None:
        """Find the files and read what their footers say.

        Raises:
            InputError: There is no such file, or one that is no parquet.
        """
        self.path = str(path)
        self._files = find_table_files(self.path)
        if self._files.format != "parquet":
            raise InputError(
                f"{self._files.names[0]}: is {self._files.format}. Interactions and captions have "
                "to be parquet."
            )
        self._schemas = read_parquet_schemas(self._files)
        names = [schema.names for schema in self._schemas]
        self.columns = [name for name in names[0] if all(name in other for other in names)]

    def missing(self, columns: Iterable[str]) -> list[str]:
        """Those of the columns that are not there."""
        return [name for name in columns if name not in self.columns]

    def types(self, column: str) -> Iterator[tuple[str, pa.DataType]]:
        """The type of a column in each file that has it, with the file's name."""
        for name, schema in zip(self._files.names, self._schemas, strict=True):
            if column in schema.names:
                yield name, schema.field(column).type

    def pid_columns(self, column: str) -> Iterator[PidColumn]:
        """How each of the files stores the ids of a column."""
        for name, path in self._names_and_paths():
            with self._opened(name, path) as file:
                kind = file.schema_arrow.field(column).type
                first = next(file.iter_batches(64, columns=[column]), None)
                rows = file.metadata.num_rows
            ids = flat(first[column]).drop_null().slice(0, IDS_SHOWN) if first else ()
            yield PidColumn(
                source=name,
                column=column,
                stored=stored_as(kind, source=name, column=column),
                rows=rows,
                first_ids=tuple(pid.as_py() for pid in ids),
            )

    def batches(self, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """The rows, a stretch at a time, with those of the columns that are there.

        Raises:
            InputError: A file is damaged.
        """
        wanted = [name for name in columns if name in self.columns]
        for name, path in self._names_and_paths():
            with self._opened(name, path) as file:
                yield from file.iter_batches(ROWS_AT_A_TIME, columns=wanted)

    def train_batches(self, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """The rows of split 0, which is all of them where there is no column `split`."""
        for batch in self.batches(dict.fromkeys([*columns, "split"])):
            if "split" not in batch.schema.names:
                yield batch
                continue
            train = pc.equal(convert_pids(batch["split"], "int"), 0).fill_null(False)
            yield batch if train.false_count == 0 else batch.filter(train)

    def _names_and_paths(self) -> Iterator[tuple[str, str]]:
        return zip(self._files.names, self._files.paths, strict=True)

    @contextmanager
    def _opened(self, name: str, path: str) -> Iterator[pq.ParquetFile]:
        """One of the files. It is closed again, since there may be more than can be open at once.

        Raises:
            InputError: What is read of it is damaged.
        """
        filesystem = arrow_filesystem(self._files.root)
        try:
            with pq.ParquetFile(path, filesystem=filesystem) as file:
                yield file
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{name}: the file is damaged ({error}).") from error


def flat(column: pa.Array) -> pa.Array:
    """The elements of lists; a column that holds no lists as it is."""
    return column.flatten() if hasattr(column, "flatten") else column


@dataclass(frozen=True)
class IdSpace:
    """The ids of one catalog: which SID they have, and how other files may write them.

    Attributes:
        index: The SIDs by pid.
        catalog: How the catalog stores its ids.
        setting: SID_PID_TYPE.
    """

    index: SidIndex
    catalog: PidColumn
    setting: PidTypeSetting = "auto"

    def check(self, source: ParquetInput, columns: Iterable[str]) -> None:
        """Raise InputError where a column's ids are not stored as the catalog's are."""
        for column in columns:
            if column in source.columns:
                for other in source.pid_columns(column):
                    agree(self.catalog, other, self.setting)

    @property
    def written_as(self) -> Stored:
        """How ids have to be written to be the catalog's; `untyped` where either way will do."""
        return self.catalog.stored if self.setting == "auto" else "untyped"

    def parsed(self, ids: pa.Array, source: ParquetInput, column: str) -> pa.Array:
        """Ids that were read out of a column of JSON, as the catalog has them.

        A single one that cannot be an id becomes null, and so has no SID, as in OneRec's program.

        Raises:
            InputError: None of them can be.
        """
        given = ids.drop_null()
        converted = convert_pids(ids, self.index.pid_type, forced=self.setting != "auto")
        if len(given):
            stored = stored_as(ids.type, source=source.path, column=column)
            first = tuple(given.slice(0, IDS_SHOWN).to_pylist())
            other = PidColumn(source.path, column, stored, len(given), first)
            agree(self.catalog, other, self.setting)
            if self.setting != "auto" and converted.null_count == len(converted):
                raise self._unreadable(source, column, len(given), first)
        return converted

    def find(self, ids: pa.Array, source: ParquetInput, column: str) -> FoundSids:
        """The SIDs of ids as a file has them, shape (n,); ids that cannot be any have none."""
        return self.index.find(self.converted(ids, source, column))

    def converted(self, ids: pa.Array, source: ParquetInput, column: str) -> pa.Array:
        """Ids as the catalog has them; null where they cannot be any.

        Raises:
            InputError: SID_PID_TYPE says the ids are integers, and they are not.
        """
        forced = self.setting != "auto"
        converted = convert_pids(ids, self.index.pid_type, forced=forced)
        if forced and converted.null_count > ids.null_count:
            self._refuse(source, column)
        return converted

    def _refuse(self, source: ParquetInput, column: str) -> None:
        rows, first = 0, []
        for batch in source.batches([column]):
            ids = flat(batch[column])
            lost = convert_pids(ids, self.index.pid_type, forced=True).is_null()
            wrong = ids.filter(pc.and_not(lost, ids.is_null(nan_is_null=True)))
            rows += len(wrong)
            first += wrong.slice(0, IDS_SHOWN).to_pylist()
        if rows:
            raise self._unreadable(source, column, rows, first)

    def _unreadable(
        self, source: ParquetInput, column: str, rows: int, ids: Iterable[Any]
    ) -> InputError:
        return offending_rows(
            f"ids that SID_PID_TYPE={self.setting} cannot read",
            source=source.path,
            column=column,
            rows=rows,
            ids=ids,
            remedy="Mend them, or set SID_PID_TYPE=string.",
        )


@dataclass(frozen=True)
class TrainingInputs:
    """What training data sets are made of; None where the user does not have it.

    Attributes:
        items: The catalog's ids.
        interactions: What users did.
        captions: Captions of items.
        goods: The ids of goods, which are a catalog of their own.
        seed: SID_SEED.
        prompts: The wordings to draw from.
    """

    items: IdSpace
    interactions: ParquetInput | None = None
    captions: ParquetInput | None = None
    goods: IdSpace | None = None
    seed: int = 0
    prompts: Prompts = field(default_factory=load_prompts)

    def of(self, name: InputName) -> ParquetInput | None:
        """An input by name."""
        return self.interactions if name == "interactions" else self.captions
