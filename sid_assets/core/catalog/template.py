r"""The template of an item's text, such as `"Title: {title}\nBrand: {brand}"`.

A template names columns and nothing else: DuckDB fills it in, never `str.format`, and a value is
never read as a template.

- `{name}`: the value of a column. What stands between the braces is the name as it is; only `\{`,
  `\}` and `\\` stand for a brace or a backslash in it.
- `{{` and `}}`: braces, as in `str.format`.
- `\n`: a new line, so that a template in one line of `.env` has several; `\\`: a backslash. Any
  other backslash is itself.
"""

import functools
import re
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

from sid_assets.core.environment import refuse_shell_quotes
from sid_assets.core.errors import InputError


@dataclass(frozen=True)
class Field:
    """The place of a column's value in a line."""

    name: str


Line = tuple[str | Field, ...]

_PIECE = re.compile(
    r"""
    (?P<newline> \n | \\n )
    | (?P<twice> \\\\ | \{\{ | \}\} )
    | \{ (?P<name> (?: \\[{}\\] | [^{}\n] )++ ) \}
    | (?P<wrong> \{\} | [{}] )
    | (?P<text> [^{}\\\n]+ | \\ )
    """,
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\([{}\\])")


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
    r"""Parse a template; newlines around it are removed.

    Raises:
        InputError: It names no column, has a single brace, or begins with a shell's `$'`.
    """
    refuse_shell_quotes("SID_TEXT_TEMPLATE", template)
    template = template.replace("\r\n", "\n")
    lines: list[list[str | Field]] = [[]]
    for piece in _PIECE.finditer(template):
        if piece["newline"]:
            lines.append([])
        elif piece["name"] is not None:
            lines[-1].append(Field(_ESCAPED.sub(r"\1", piece["name"])))
        elif piece["wrong"]:
            raise _refused(template, piece)
        else:
            lines[-1].append(piece["text"] or piece["twice"][0])
    parsed = TextTemplate(tuple(map(_joined, _without_empty_ends(lines))))
    if not parsed.fields:
        raise InputError(
            f"The text template {template!r} names no column, so every item would have the same "
            "text. Name columns in braces, e.g. 'Title: {title}'."
        )
    return parsed


def _without_empty_ends(lines: list[list[str | Field]]) -> list[list[str | Field]]:
    filled = [position for position, line in enumerate(lines) if line]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _joined(line: list[str | Field]) -> Line:
    """A line in which no literal text follows another."""
    parts: list[str | Field] = []
    for part in line:
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return tuple(parts)


def _refused(template: str, piece: re.Match[str]) -> InputError:
    start = template.rfind("\n", 0, piece.start()) + 1
    line = template[start:].split("\n", 1)[0]
    reason = (
        "{} names no column"
        if piece["wrong"] == "{}"
        else f"a single {piece['wrong']}; a column is named as in {{title}}, and {{{{ and }}}} "
        "stand for braces"
    )
    return InputError(f"Text template, line {line!r}: {reason}.")
