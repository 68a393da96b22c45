"""Conditions of labels, such as `like: rating >= 4; longview: ms >= 10000 and type == 'view'`.

A condition is comparisons of a column with a number or a text, joined by `and` and `or`, and
nothing else; `and` binds more tightly. A column whose name is no word stands in double quotes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sid_assets.core.errors import InputError
from sid_assets.core.training_sets import LABELS

OPERATORS = ("==", "!=", "<=", ">=", "<", ">", "=")

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?[0-9]+(?:\.[0-9]+)?(?![\w.]))|(?P<text>'(?:[^']|'')*')"""
    r"""|(?P<quoted>"[^"]+")|(?P<word>[^\W\d]\w*)|(?P<operator>==|!=|<=|>=|<|>|=))"""
)

_COMPARE: dict[str, Callable[[float | str, float | str], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<=": lambda a, b: a <= b,  # pyright: ignore[reportOperatorIssue]
    ">=": lambda a, b: a >= b,  # pyright: ignore[reportOperatorIssue]
    "<": lambda a, b: a < b,  # pyright: ignore[reportOperatorIssue]
    ">": lambda a, b: a > b,  # pyright: ignore[reportOperatorIssue]
}


def number_sql(column: str) -> str:
    """A column of text as numbers, in SQL; `true` is 1 and `false` 0; null if it is no number."""
    number = f"TRY_CAST({column} AS DOUBLE)"
    return (
        f"CASE WHEN lower({column}) = 'true' THEN 1 WHEN lower({column}) = 'false' THEN 0 "
        f"WHEN isfinite({number}) THEN {number} END"
    )


def _number(text: str) -> float:
    return float({"true": "1", "false": "0"}.get(text.lower(), text))


@dataclass(frozen=True)
class Comparison:
    """A column compared with a value. A null is neither equal to a value nor different from it.

    Attributes:
        column: The column.
        operator: One of `OPERATORS`, `==` for `=`.
        value: A number, or a text.
    """

    column: str
    operator: str
    value: float | str

    def holds(self, row: Mapping[str, str | None]) -> bool:
        """Whether it holds for a row, whose values are text."""
        found = row[self.column]
        if found is None:
            return False
        value = found if isinstance(self.value, str) else _number(found)
        return _COMPARE[self.operator](value, self.value)

    def sql(self, text: str, number: str) -> str:
        """It as SQL on a column as text, and as a DOUBLE (of a text: `number_sql`)."""
        operator = {"==": "=", "!=": "<>"}.get(self.operator, self.operator)
        if isinstance(self.value, str):
            value = self.value.replace("'", "''")
            return f"{text} {operator} '{value}'"
        return f"{number} {operator} CAST({self.value!r} AS DOUBLE)"


@dataclass(frozen=True)
class Condition:
    """Comparisons, of which all of one group must hold.

    Attributes:
        groups: Joined by `or`; the comparisons of each are joined by `and`.
    """

    groups: tuple[tuple[Comparison, ...], ...]

    def holds(self, row: Mapping[str, str | None]) -> bool:
        """Whether it holds for a row, whose values are text."""
        return any(all(part.holds(row) for part in group) for group in self.groups)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """All comparisons."""
        return tuple(part for group in self.groups for part in group)

    def sql(self, texts: Mapping[str, str], numbers: Mapping[str, str]) -> str:
        """It as SQL; the mappings say what each column is called as text and as a number."""
        groups = (
            " AND ".join(part.sql(texts[part.column], numbers[part.column]) for part in group)
            for group in self.groups
        )
        return "coalesce(" + " OR ".join(f"({group})" for group in groups) + ", false)"


def parse_labels(text: str) -> dict[str, Condition]:
    """The condition of each label, in the order of `LABELS`.

    Raises:
        InputError: A label is unknown or named twice, or a condition is not of the form above.
    """
    found: dict[str, Condition] = {}
    for entry in _split(text):
        name, colon, condition = (part.strip() for part in entry.partition(":"))
        if not colon or name not in LABELS:
            raise InputError(
                f"SID_EVENT_LABELS: {entry.strip()!r} does not begin with a label and a colon. "
                f"Labels: {', '.join(LABELS)}. Write e.g. like: rating >= 4; longview: ms >= 10000."
            )
        if name in found:
            raise InputError(f"SID_EVENT_LABELS names {name!r} twice. Join the conditions by or.")
        found[name] = _condition(name, condition)
    return {name: found[name] for name in LABELS if name in found}


def _split(text: str) -> list[str]:
    """The entries between semicolons that are not in quotes."""
    entries = re.findall(r"""(?:'[^']*'|"[^"]*"|[^;'"]|['"])+""", text)
    return [entry for entry in entries if entry.strip()]


def _condition(label: str, text: str) -> Condition:
    tokens = _tokens(label, text)
    groups: list[list[Comparison]] = [[]]
    while True:
        kinds = [kind for kind, _ in tokens[:3]]
        if len(kinds) < 3 or kinds[:2] != ["column", "operator"] or kinds[2] != "value":
            raise _not_understood(label, text)
        (_, column), (_, operator), (_, value) = tokens[:3]
        column, operator = str(column), str(operator)
        groups[-1].append(Comparison(column, "==" if operator == "=" else operator, value))
        tokens = tokens[3:]
        if not tokens:
            return Condition(tuple(tuple(group) for group in groups))
        joined = tokens.pop(0)
        if joined == ("column", "or"):
            groups.append([])
        elif joined != ("column", "and"):
            raise _not_understood(label, text)


def _tokens(label: str, text: str) -> list[tuple[str, str | float]]:
    tokens: list[tuple[str, str | float]] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        if not (match := _TOKEN.match(text, position)):
            raise _not_understood(label, text)
        position, token = match.end(), match[str(match.lastgroup)]
        if match.lastgroup == "number":
            tokens.append(("value", float(token)))
        elif match.lastgroup == "text":
            tokens.append(("value", token[1:-1].replace("''", "'")))
        elif match.lastgroup == "quoted":
            tokens.append(("column", token[1:-1]))
        else:
            tokens.append(("operator" if match.lastgroup == "operator" else "column", token))
    return tokens


def _not_understood(label: str, text: str) -> InputError:
    return InputError(
        f"SID_EVENT_LABELS: the condition of {label!r} is not understood: {text}. Write "
        "comparisons of a column with a number or a text in single quotes, joined by and/or, e.g. "
        "rating >= 4 and type == 'view'. Operators: == != < <= > >=. Double quotes are for names "
        "of columns."
    )
