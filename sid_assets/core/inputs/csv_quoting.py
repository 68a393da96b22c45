"""How a CSV or TSV file is quoted, found out by reading it once.

Some programs enclose values in quotes where needed (RFC 4180, pandas). Others (MySQL, the TSV files
of IMDb and MIND) never do: a quote is then part of the value, and a title that begins with one
would swallow the lines up to the next. The two readings differ only in values that begin with a
quote. A file is written without quoting if every line has as many values as the first; a file with
enclosed newlines or delimiters has other lines, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.csv_rows import DELIMITERS, HOW_TO_SAY, Quoting, opened_lines
from sid_assets.core.inputs.files import TableFiles

QuotingSetting = Literal["auto", "quoted", "none"]
"""SID_CSV_QUOTING. `auto`: found out for each file."""


def find_quoting(files: TableFiles, position: int) -> tuple[Quoting, str]:
    """How one of the files is quoted, and a warning if that is not certain ("" if it is).

    Raises:
        InputError: A CSV file can be read in both ways, which give different rows; or the file
            cannot be read.
    """
    delimiter = files.delimiter or DELIMITERS[files.format]
    if len(delimiter) > 1:
        return "none", ""
    with opened_lines(files, position) as lines:
        quotes = _survey(lines, delimiter)
    name = files.names[position]
    if quotes is None or quotes.in_header:
        return "quoted", ""
    if files.format == "csv":
        if quotes.open:
            raise InputError(
                f"{name}: line {quotes.open}: a value begins with a quote that is not closed on "
                f"this line, although every line of the file has {quotes.width} values. "
                f"{HOW_TO_SAY}"
            )
        return "quoted", ""
    if quotes.open:
        return "none", (
            f"{name}: line {quotes.open}: a value begins with a quote that is not closed on this "
            f"line. It is part of the text, since every line of the file has {quotes.width} "
            f"values. {HOW_TO_SAY}"
        )
    if quotes.stray:
        return "none", ""
    if quotes.doubled or quotes.whole_columns or not quotes.enclosed:
        return "quoted", ""
    return "none", (
        f"{name}: {quotes.enclosed:,} values are enclosed in quotes, the first on line "
        f"{quotes.first_enclosed}. The quotes are part of the text, since other values of the same "
        f"columns have none. {HOW_TO_SAY}"
    )


@dataclass
class _Quotes:
    """The values that begin with a quote, in a file whose lines all have as many values.

    Attributes:
        width: Values of a line.
        in_header: Whether a name in the header is enclosed in quotes.
        open: The first line with a quote that is not closed on it; 0: none.
        stray: Whether a quote is closed before the end of its value, which no quoted file has.
        enclosed: Values that are enclosed in quotes.
        first_enclosed: The line of the first of them.
        doubled: Whether an enclosed value has a quote in it, written twice; or is empty, as many
            programs write an empty text where nothing stands for null.
        whole_columns: Columns whose values are all enclosed.
    """

    width: int
    in_header: bool = False
    open: int = 0
    stray: bool = False
    enclosed: int = 0
    first_enclosed: int = 0
    doubled: bool = False
    whole_columns: set[int] = field(default_factory=set)

    def add(self, number: int, values: list[str]) -> None:
        """Note the values of a line."""
        columns = set()
        for column, value in enumerate(values):
            if not value.startswith('"'):
                continue
            rest = value[1:].replace('""', "")
            if '"' not in rest:
                self.open = self.open or number
            elif rest.find('"') < len(rest) - 1:
                self.stray = True
            else:
                columns.add(column)
                self.enclosed += 1
                self.first_enclosed = self.first_enclosed or number
                self.doubled |= value == '""' or '""' in value[1:-1]
        self.whole_columns &= columns


def _survey(lines: Iterable[str], delimiter: str) -> _Quotes | None:
    """The quotes of a file; None if its lines differ in their number of values, or have but one."""
    quotes = None
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        if not line:
            continue
        width = line.count(delimiter) + 1
        if quotes is None:
            if width == 1:
                return None
            quotes = _Quotes(width, whole_columns=set(range(width)))
            header = line.split(delimiter)
            quotes.in_header = any(len(name) > 1 and name[0] == name[-1] == '"' for name in header)
        elif width != quotes.width:
            return None
        elif '"' in line:
            quotes.add(number, line.split(delimiter))
        else:
            quotes.whole_columns.clear()
    return quotes
