"""Interactions in CSV, TSV or JSON lines, copied to parquet: lists are JSON arrays in them.

CSV has no types and JSON lines have one for each value, so a file is read twice: once to find the
type of each column, once to write it.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.inputs.csv_quoting import QuotingSetting, find_quoting
from sid_assets.core.inputs.csv_rows import opened_lines, read_columns, read_header
from sid_assets.core.inputs.files import FileStamp, TableFiles, find_table_files
from sid_assets.core.inputs.interactions import EXPECTED, KEYWORDS
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.store.places import temporary_folder

ROWS_AT_A_TIME = 1024

INTEGER = re.compile(r"-?(0|[1-9]\d{0,18})")
"""An integer as programs write it: without leading zeros, which an id of text may have."""

LARGEST_EXACT = 2**53
INT64 = range(-(2**63), 2**63)

Values = dict[str, Any]
"""A row: the value of each column, as JSON has it; text where the file has no types."""


@dataclass(frozen=True)
class CopiedFiles(TableFiles):
    """Parquet copies of the files of a table, under the names of these files.

    Attributes:
        originals: The names of the files that were copied, one for each.
    """

    originals: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the files that were copied."""
        return self.originals

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The copies."""
        return tuple(stamp.name for stamp in self.stamps)


@contextmanager
def open_interactions(setting: str, quoting: QuotingSetting = "auto") -> Iterator[ParquetInput]:
    """Open interactions in any form that the catalog may have.

    Files that are not parquet are copied to parquet in the folder for temporary files, which takes
    about as much room as they have; the copies are removed at the end.

    Args:
        setting: A path or URL of a file, a folder or a glob.
        quoting: How CSV and TSV files are quoted.

    Raises:
        InputError: There is no such file, a file cannot be read, or a value is no JSON.
        StoreError: The disk is full.
    """
    files = find_table_files(setting, otherwise="parquet")
    if files.format == "parquet":
        yield ParquetInput(setting)
        return
    with temporary_folder() as folder:
        yield ParquetInput(setting, _copied(files, Path(folder), quoting))


def _copied(files: TableFiles, folder: Path, quoting: QuotingSetting) -> CopiedFiles:
    stamps = []
    for position in range(len(files.names)):
        copy = folder / f"{position}.parquet"
        _copy(files, position, copy, quoting)
        stamps.append(FileStamp(str(copy), copy.stat().st_size, ""))
    return CopiedFiles(
        UPath(folder), "parquet", tuple(stamps), files.partitions, originals=files.names
    )


def _copy(files: TableFiles, position: int, copy: Path, quoting: QuotingSetting) -> None:
    columns: dict[str, _Column] = {}
    name = files.names[position]
    for row in _rows(files, position, quoting):
        for key, value in row.items():
            if key not in columns:
                columns[key] = _Column(key)
            columns[key].look_at(value)
    for column in columns.values():
        column.require_readable(name)
    schema = pa.schema([(column.name, column.type) for column in columns.values()])
    with pq.ParquetWriter(copy, schema) as writer:
        rows = _rows(files, position, quoting)
        while block := list(itertools.islice(rows, ROWS_AT_A_TIME)):
            arrays = [
                pa.array([column.read(row.get(column.name)) for row in block], column.type)
                for column in columns.values()
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


@dataclass
class _Column:
    """A column of a file: what its values are, and how they are written."""

    name: str
    whole: bool = True
    numeric: bool = True
    unreadable: int = 0
    first: list[Any] = field(default_factory=list)

    @property
    def _what(self) -> str:
        return EXPECTED[self.name][0] if self.name in EXPECTED else ""

    @property
    def _of_lists(self) -> bool:
        return self._what.startswith("lists")

    @property
    def type(self) -> pa.DataType:
        if not self._what:  # It is not read; its name is for messages.
            return pa.null()
        number = pa.int64() if self.whole else pa.float64() if self.numeric else pa.string()
        if self._what == "text" or self.name == KEYWORDS:
            return pa.string()
        return pa.list_(number) if self._of_lists else number

    def look_at(self, value: Any) -> None:
        """Take a value into account: whether it can be read, and of which type it is."""
        if not self._what:
            return
        try:
            read = self._parsed(value)
        except ValueError:
            self.unreadable += 1
            if len(self.first) < IDS_SHOWN:
                self.first.append(value)
            return
        if self._what == "text" or self.name == KEYWORDS:
            return
        for one in read if isinstance(read, list) else (read,):
            if one is not None:
                self.whole = self.whole and _is_whole(one)
                self.numeric = self.numeric and _is_number(one)

    def require_readable(self, file: str) -> None:
        """Raise InputError if values could not be read."""
        if self.unreadable:
            raise offending_rows(
                "is no JSON array of single values" if self._of_lists else "is no single value",
                source=file,
                column=self.name,
                rows=self.unreadable,
                ids=self.first,
                remedy='Write lists as JSON arrays, such as [12, 7] or ["a", "b"].',
            )

    def read(self, value: Any) -> Any:
        """A value as the parquet file has it."""
        if not self._what:
            return None
        read = self._parsed(value)
        if isinstance(read, list):
            return [self._one(one) for one in read]
        return self._one(read)

    def _one(self, value: Any) -> Any:
        if value is None or self._what == "text" or self.name == KEYWORDS:
            return value
        if self.whole:
            return int(value)
        return float(value) if self.numeric else _text(value)

    def _parsed(self, value: Any) -> Any:
        """A value, or a list of values.

        Raises:
            ValueError: It is neither.
        """
        if self.name == KEYWORDS:
            is_object = isinstance(value, dict)
            return json.dumps(value, ensure_ascii=False) if is_object else _single(value)
        if not self._of_lists:
            return _single(value)
        if isinstance(value, str):
            value = json.loads(value)
        if value is None or isinstance(value, list):
            return value and [_single(one) for one in value]
        raise ValueError("not a list")


def _single(value: Any) -> Any:
    if isinstance(value, list | dict):
        raise ValueError("not a single value")
    return value


def _is_whole(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer() and abs(value) <= LARGEST_EXACT
    return not isinstance(value, str) and value in INT64  # true and false are 1 and 0


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (not isinstance(value, str) and value in INT64)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _rows(files: TableFiles, position: int, quoting: QuotingSetting) -> Iterator[Values]:
    """The rows of a file, with the columns that it has."""
    if files.format == "json":
        with opened_lines(files, position) as lines:
            yield from _json_rows(files.names[position], lines)
        return
    found = find_quoting(files, position)[0] if quoting == "auto" else quoting
    header = read_header(files, position, found)
    batches = read_columns(
        files, position, range(len(header)), found, certain=quoting != "auto", warnings=[]
    )
    for batch in batches:
        for row in zip(*(column.to_pylist() for column in batch), strict=True):
            yield {name: _of_csv(name, cell) for name, cell in zip(header, row, strict=True)}


def _of_csv(name: str, cell: str) -> Any:
    """The value of a cell, null if it is empty. Integers are found in columns of single values."""
    if cell in ("", r"\N"):
        return None
    of_values = name in EXPECTED and EXPECTED[name][0] in ("ids", EXPECTED["split"][0])
    if of_values and INTEGER.fullmatch(cell) and int(cell) in INT64:
        return int(cell)
    return cell


def _json_rows(name: str, lines: Iterable[str]) -> Iterator[Values]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}: line {number} is malformed: {error}.") from error
        if not isinstance(row, dict):
            raise InputError(
                f"{name}: line {number} is malformed: not a JSON object. Interactions in JSON must "
                "be JSON lines: one object a line."
            )
        yield row
