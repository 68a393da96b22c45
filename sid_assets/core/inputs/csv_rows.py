"""Rows of CSV and TSV files as text, read with Python's csv module.

DuckDB 2.0 reads CSV faster, but it rejects valid files in which a quoted newline spans two of its
buffers. When told not to read in parallel, it silently drops everything after a quote that is never
closed.
"""

import csv
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TextIO, cast

import pyarrow as pa

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.files import TableFiles

DELIMITERS = {"csv": ",", "tsv": "\t"}

Quoting = Literal["quoted", "none"]
"""Whether quotes enclose values (`quoted`) or are part of them (`none`)."""

HOW_TO_SAY = (
    "Set SID_CSV_QUOTING=none if the file is written without quoting, or SID_CSV_QUOTING=quoted if "
    "quotes enclose its values."
)

BATCH_ROWS = 16_384

SEPARATOR = "\x1f"
"""Stands for a delimiter of several characters, which Python's csv module does not take."""

FIELD_LIMIT = 2**24
"""Maximum characters of a value. Otherwise an unclosed quote would swallow the rest of the file."""


def read_header(files: TableFiles, position: int, quoting: Quoting = "quoted") -> list[str]:
    """The names in the first line of one of the files.

    Raises:
        InputError: The file cannot be read.
    """
    if files.header:
        return [*files.header]
    with opened_lines(files, position) as lines:
        return next(_rows(files, position, lines, quoting), [])


def read_columns(
    files: TableFiles,
    position: int,
    columns: Sequence[int],
    quoting: Quoting = "quoted",
    *,
    certain: bool = True,
    warnings: list[str] | None = None,
) -> Iterator[list[pa.Array]]:
    """Some columns of one of the files, batch by batch; blank lines are skipped.

    Args:
        files: The files.
        position: Which of them.
        columns: Which columns, by position in the header.
        quoting: Whether quotes enclose values.
        certain: Whether the user says so. If not, rows of a TSV file that read like several rows
            are an error; the first such row of a CSV file is a warning, since texts of several
            lines with a few commas are common there.
        warnings: Gets the warning.

    Raises:
        InputError: A line is malformed, or the file is truncated or not UTF-8.
    """
    doubted = not certain
    with opened_lines(files, position) as lines:
        rows = _rows(files, position, lines, quoting, doubted, warnings)
        if not files.header:
            next(rows, None)
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


def _rows(
    files: TableFiles,
    position: int,
    lines: Iterable[str],
    quoting: Quoting,
    doubted: bool = False,
    warnings: list[str] | None = None,
) -> Iterator[list[str]]:
    """The rows, the header first."""
    delimiter = files.delimiter or DELIMITERS[files.format]
    if len(delimiter) > 1:
        lines = _separated(lines, delimiter)
        delimiter, quoting = SEPARATOR, "none"
    csv.field_size_limit(FIELD_LIMIT)
    quotes = csv.QUOTE_MINIMAL if quoting == "quoted" else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=delimiter, quoting=quotes, strict=True)
    line, width = 0, len(files.header)
    try:
        for row in reader:
            width = width or len(row)
            if row and len(row) != width:
                raise csv.Error(f"{len(row)} values, but the header has {width}")
            if doubted and reader.line_num > line + 1 and _reads_like_rows(row, delimiter):
                what = "a value in quotes spans lines that read like rows"
                if files.format == "tsv":
                    raise csv.Error(what)
                doubted = False
                if warnings is not None:
                    warnings.append(
                        f"{files.names[position]}: line {line + 1}: {what}. {HOW_TO_SAY}"
                    )
            line = reader.line_num
            if row:
                yield row
    except csv.Error as error:
        remedy = ""
        if quoting == "quoted":
            remedy = " If quotes do not enclose values in this file, set SID_CSV_QUOTING=none."
        if doubted and files.format == "tsv":
            remedy += " If they do, set SID_CSV_QUOTING=quoted."
        raise InputError(
            f"{files.names[position]}: line {line + 1} is malformed: {error}.{remedy}"
        ) from error


def _separated(lines: Iterable[str], delimiter: str) -> Iterator[str]:
    return (line.replace(delimiter, SEPARATOR) for line in lines)


def _reads_like_rows(row: list[str], delimiter: str) -> bool:
    """Whether each line of a row has as many delimiters as a row needs."""
    lines = re.split(r"\r\n|\r|\n", delimiter.join(row))
    return len(lines) > 1 and all(line.count(delimiter) == len(row) - 1 for line in lines)


@contextmanager
def opened_lines(files: TableFiles, position: int) -> Iterator[Iterator[str]]:
    """The lines of one of the files, unzipped if its name ends in `.gz`.

    Raises:
        InputError: The file is truncated, or not UTF-8.
    """
    name, path = files.names[position], files.paths[position]
    number = 0

    def counted(lines: Iterable[str]) -> Iterator[str]:
        nonlocal number
        for line in lines:
            number += 1
            yield line

    try:
        with files.filesystem.open(
            path, "rt", encoding="utf-8-sig", newline="", compression="infer"
        ) as lines:
            yield counted(cast(TextIO, lines))
    except UnicodeDecodeError as error:
        place = f"after line {number}" if number else "near its beginning"
        raise InputError(
            f"{name}: not UTF-8, {place} ({error.reason}). Convert it, e.g. with "
            "`iconv -f <its encoding> -t UTF-8`."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{name}: cannot be read beyond line {number} ({error}). Copy or write it again."
        ) from error
