r"""The template of an item's text, such as `"Title: {title}\nBrand: {brand}"`.

A template names columns and nothing else: DuckDB fills it in, never `str.format`, and a value is
never read as a template. `{{` and `}}` stand for braces, as in `str.format`.
"""

import functools
import string
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from duckdb import (
    CaseExpression,
    CoalesceOperator,
    ConstantExpression,
    Expression,
    FunctionExpression,
)

from sid_assets.core.errors import InputError


@dataclass(frozen=True)
class Field:
    """The place of a column's value in a line."""

    name: str


Line = tuple[str | Field, ...]


@dataclass(frozen=True)
class TextTemplate:
    """A parsed template.

    Attributes:
        lines: Its lines, each a sequence of literal texts and fields. A text omits a line if one of
            its fields is null or blank.
    """

    lines: tuple[Line, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns it names, each once, in order of first use."""
        parts = chain.from_iterable(self.lines)
        return tuple(dict.fromkeys(part.name for part in parts if isinstance(part, Field)))

    def fill(self, values: Mapping[str, Expression]) -> Expression:
        """The text of a row as a DuckDB expression; null if all lines with fields are omitted.

        Args:
            values: The columns it names; null if blank.
        """
        lines = [_line(line, values) for line in self.lines]
        with_fields = [
            made
            for made, line in zip(lines, self.lines, strict=True)
            if any(isinstance(part, Field) for part in line)
        ]
        # `concat_ws` skips null lines.
        text = FunctionExpression("concat_ws", ConstantExpression("\n"), *lines)
        return CaseExpression(CoalesceOperator(*with_fields).isnotnull(), text)


def _line(line: Line, values: Mapping[str, Expression]) -> Expression:
    """A line; null if one of its fields is, as `||` defines it."""
    parts = [values[p.name] if isinstance(p, Field) else ConstantExpression(p) for p in line]
    start = ConstantExpression("")
    return functools.reduce(lambda one, next: FunctionExpression("||", one, next), parts, start)


def parse_template(template: str) -> TextTemplate:
    """Parse a template; newlines around it are removed.

    Raises:
        InputError: It names no column, or contains more than column names: attributes (`{a.b}`),
            indices (`{a[0]}`), conversions (`{a!r}`), formats (`{a:>10}`), single braces.
    """
    lines = template.replace("\r\n", "\n").strip("\n").split("\n")
    parsed = TextTemplate(tuple(_parse_line(line) for line in lines))
    if not parsed.fields:
        raise InputError(
            f"The text template {template!r} names no column, so every item would have the same "
            "text. Name columns in braces, e.g. 'Title: {title}'."
        )
    return parsed


def _parse_line(line: str) -> Line:
    parts: list[str | Field] = []
    try:
        pieces = list(string.Formatter().parse(line))
    except ValueError as error:
        raise _refused(line, f"{error} (write {{{{ and }}}} for braces)") from None
    for literal, name, format_spec, conversion in pieces:
        if literal:
            parts.append(literal)
        if name is None:
            continue
        if format_spec or conversion:
            raise _refused(line, "conversions (!r) and formats (:>10) are not supported")
        if "." in name or "[" in name or "]" in name:
            raise _refused(line, f"{{{name}}} reaches into a value; name a plain column")
        if not name:
            raise _refused(line, "{} names no column")
        parts.append(Field(name))
    return tuple(parts)


def _refused(line: str, reason: str) -> InputError:
    return InputError(f"Text template, line {line!r}: {reason}.")
