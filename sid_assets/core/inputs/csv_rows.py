"""Rows of CSV and TSV files as text, read with Python's csv module.

DuckDB 2.0 reads CSV faster, but it rejects valid files in which a quoted newline spans two of its
buffers. When told not to read in parallel, it silently drops everything after a quote that is never
closed.
"""

import csv
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO, cast

import pyarrow as pa

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.files import TableFiles

DELIMITERS = {"csv": ",", "tsv": "\t"}

BATCH_ROWS = 16_384

FIELD_LIMIT = 2**24
"""Maximum characters of a value. Otherwise an unclosed quote would swallow the rest of the file."""


def read_header(files: TableFiles, position: int) -> list[str]:
    """The names in the first line of one of the files.

    Raises:
        InputError: The file cannot be read.
    """
    with _rows(files, position) as rows:
        return next(rows, [])


def read_columns(
    files: TableFiles, position: int, columns: Sequence[int]
) -> Iterator[list[pa.Array]]:
    """Some columns of one of the files, batch by batch; blank lines are skipped.

    Args:
        files: The files.
        position: Which of them.
        columns: Which columns, by position in the header.

    Raises:
        InputError: A line is malformed, or the file is truncated or not UTF-8.
    """
    with _rows(files, position) as rows:
        next(rows)
        batch = []
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH_ROWS:
                yield _transposed(batch, columns)
                batch = []
        if batch:
            yield _transposed(batch, columns)


def _transposed(rows: list[list[str]], columns: Sequence[int]) -> list[pa.Array]:
    values = list(zip(*rows, strict=True))
    return [pa.array(values[column], pa.string()) for column in columns]


@contextmanager
def _rows(files: TableFiles, position: int) -> Iterator[Iterator[list[str]]]:
    """The rows, the header first; errors name the file and the line."""
    csv.field_size_limit(FIELD_LIMIT)
    name, path = files.names[position], files.paths[position]
    line = 0

    def checked(reader) -> Iterator[list[str]]:
        nonlocal line
        width = 0
        for row in reader:
            width = width or len(row)
            if row and len(row) != width:
                raise csv.Error(f"{len(row)} values, but the header has {width}")
            line = reader.line_num
            if row:
                yield row

    try:
        with files.filesystem.open(
            path, "rt", encoding="utf-8-sig", newline="", compression="infer"
        ) as lines:
            delimiter = DELIMITERS[files.format]
            yield checked(csv.reader(cast(TextIO, lines), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(f"{name}: line {line + 1} is malformed: {error}.") from error
    except UnicodeDecodeError as error:
        place = f"after line {line}" if line else "near its beginning"
        raise InputError(
            f"{name}: not UTF-8, {place} ({error.reason}). Convert it, e.g. with "
            "`iconv -f <its encoding> -t UTF-8`."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name}: cannot be read beyond line {line} ({error}).") from error
