"""Ids of items: how a file stores them, and how they are converted to the ids of the catalog.

An id is an int64 or a string, and its value never changes: `007` stays `007`. A file stores its ids
as integers, as text, or untyped (CSV, where 7 may be either).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import is_list, is_text, without_dictionary
from sid_assets.core.errors import IDS_SHOWN, InputError, offending_rows
from sid_assets.core.inputs.encodings import plain_type
from sid_assets.core.schema import PidType

PidTypeSetting = Literal["auto", "int", "string"]
"""SID_PID_TYPE. `auto`: int64 if every id of the catalog is a canonical integer, else string."""

Stored = Literal["int", "text", "untyped"]
"""How a file stores its ids. Untyped (CSV) is compatible with both of the others."""

CANONICAL_INTEGER = r"^(?:0|-?[1-9][0-9]{0,18})$"
"""An integer as a program prints it: no leading zeros, no plus sign, at most 19 digits."""

FORCED_INTEGER = r"^-?[0-9]{1,38}(?:\.0+)?$"
"""What counts as an integer if SID_PID_TYPE=int: also `007`, and `7.0` as pandas writes an integer
column with gaps to CSV."""

MAX_EXACT_FLOAT = 2**53
"""Above it, a float64 cannot distinguish neighbouring integers."""

DECIMAL128_DIGITS = 38

_ZEROS = re.compile(r"0+[0-9]+\Z")

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class PidColumn:
    """A column of ids as a file stores it.

    Attributes:
        source: The file, folder or glob that contains it.
        column: Its name.
        stored: How the file stores the ids.
        rows: Number of rows with ids.
        first_ids: The first ids (five are enough), as stored.
    """

    source: str
    column: str
    stored: Stored
    rows: int
    first_ids: tuple[Any, ...] = ()


def agree(catalog: PidColumn, other: PidColumn, setting: PidTypeSetting = "auto") -> None:
    """Refuse to join ids stored as integers with ids stored as text.

    Such a join would silently find nothing. SID_PID_TYPE states which of the two is meant; then
    both sides are converted.

    Raises:
        InputError: One side stores integers, the other text, and the setting is `auto`.
    """
    if setting != "auto" or {catalog.stored, other.stored} != {"int", "text"}:
        return
    raise InputError(
        f"Ids stored as {catalog.stored} never match ids stored as {other.stored}.\n"
        f"  {_describe(catalog)}\n  {_describe(other)}\n"
        "Set SID_PID_TYPE=int or SID_PID_TYPE=string to read both as one type, or write both as "
        f"one type.{_about_zeros((*catalog.first_ids, *other.first_ids))}"
    )


def stored_as(kind: pa.DataType, *, source: Any, column: str) -> Stored:
    """How a parquet column of this type, or the values of a list column, stores ids.

    Floats count as `int`: pandas turns an integer column with gaps into floats. They must be whole.

    UUIDs and bytes count as text, since `plain_batch` makes text of them.

    Raises:
        InputError: The type is neither a number nor text.
    """
    kind = plain_type(kind)
    if is_list(kind):
        return stored_as(kind.value_type, source=source, column=column)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "int"
    if pa.types.is_null(kind):
        return "untyped"
    if is_text(kind):
        return "text"
    raise InputError(f"{source}: column {column!r} holds {kind}; ids are integers or text.")


def convert_pids(
    values: pa.Array | pa.ChunkedArray, pid_type: PidType, *, forced: bool = False
) -> pa.Array | pa.ChunkedArray:
    """Ids as int64 or string; null if an id is null (or NaN) or cannot be of that type.

    Args:
        values: Integers, floats, decimals or text, optionally dictionary-encoded; shape (n,).
        pid_type: The type of the catalog's ids.
        forced: Whether SID_PID_TYPE names the type; then text such as `007` is also an integer.
    """
    values = values.cast(without_dictionary(values.type))
    if pa.types.is_null(values.type):
        return values.cast(pa.int64() if pid_type == "int" else pa.string())
    if is_text(values.type):
        text = values.cast(pa.string())
        if pid_type == "string":
            return text
        return _parse_integers(text, FORCED_INTEGER if forced else CANONICAL_INTEGER)
    if pa.types.is_floating(values.type):
        values = _whole_floats(values)
    elif pa.types.is_decimal(values.type):
        values = _whole_decimals(values)
    if pid_type == "string":
        return values.cast(pa.string())
    return _fitting(values)


def inexact_floats(values: pa.Array) -> pa.Array:
    """Which values are floats beyond 2**53, where neighbouring integers share one: bool (n,)."""
    if not pa.types.is_floating(values.type):
        return pa.repeat(False, len(values))
    beyond = pc.greater(pc.abs(values.cast(pa.float64())), float(MAX_EXACT_FLOAT))
    return pc.and_(beyond, pc.is_finite(values)).fill_null(False)


def cast_pids(
    values: pa.Array | pa.ChunkedArray,
    pid_type: PidType,
    *,
    source: Any,
    column: str,
    forced: bool = False,
) -> pa.Array | pa.ChunkedArray:
    """Ids as int64 or string, like `convert_pids`, but an id that cannot be converted is an error.

    Raises:
        InputError: Ids are not of the catalog's type; the message has their number and first five.
    """
    converted = convert_pids(values, pid_type, forced=forced)
    lost = pc.and_(pc.is_null(converted), pc.invert(pc.is_null(values, nan_is_null=True)))
    if not pc.any(lost, min_count=0).as_py():
        return converted
    offending = values.filter(lost)
    raise offending_rows(
        "ids are not 64-bit integers" if pid_type == "int" else "ids are not whole numbers",
        source=source,
        column=column,
        rows=len(offending),
        ids=offending[:IDS_SHOWN].to_pylist(),
        remedy=_remedy(pid_type, forced) + _about_zeros(offending[:IDS_SHOWN].to_pylist()),
    )


def without_zeros(texts: pa.Array) -> pa.Array:
    """Text ids without leading zeros, if they have digits only: `007` and `7` both give `7`."""
    return pc.replace_substring_regex(texts, r"^0+([0-9]+)$", r"\1")


def zeros_lost(ids: pa.Array, of_catalog: pa.Array) -> str:
    """A sentence about ids that match those of the catalog except for leading zeros; "" if none.

    Args:
        ids: Ids that the catalog does not have: integers or text, shape (n,).
        of_catalog: Ids of the catalog, shape (m,).
    """
    given, there = ids.cast(pa.string()), of_catalog.cast(pa.string())
    place = pc.index_in(without_zeros(given), without_zeros(there))
    alike = pc.and_(place.is_valid(), pc.not_equal(given, there.take(place)).fill_null(False))
    if not (found := pc.sum(alike, min_count=0).as_py()):
        return ""
    first = given.filter(alike)[0].as_py()
    item = there[place.filter(alike)[0].as_py()].as_py()
    return (
        f"One side has lost leading zeros: {found:,} of {len(given):,} ids without an item differ "
        f"from one in them only, such as {first} here and {item} in the catalog. Write both "
        "alike, or set SID_PID_TYPE=int, which reads 007 as 7, if all ids are integers."
    )


def _about_zeros(ids: Sequence[Any]) -> str:
    """A hint if there are text ids with leading zeros, which integers do not have."""
    with_zeros = [pid for pid in ids if isinstance(pid, str) and _ZEROS.match(pid)]
    if not with_zeros:
        return ""
    return (
        f" Ids such as {with_zeros[0]!r} begin with zeros, which integers lose: SID_PID_TYPE=int "
        "reads 007 as 7 on both sides."
    )


def _remedy(pid_type: PidType, forced: bool) -> str:
    if pid_type == "string":
        return "Write these ids as integers or as text."
    if forced:
        return "Set SID_PID_TYPE=string, or correct them."
    return "The catalog's ids are integers, so these ids match none of them. Correct them."


def _describe(side: PidColumn) -> str:
    ids: Sequence[Any] = side.first_ids[:IDS_SHOWN]
    shown = ", ".join(repr(pid) for pid in ids)
    return (
        f"{side.source}: column {side.column!r} stores {side.stored} "
        f"({side.rows:,} ids; the first: {shown})"
    )


def _else_null(keep: Any, values: Any) -> Any:
    """The values; null unless `keep` is true."""
    return pc.if_else(keep, values, pa.scalar(None, values.type))


def _parse_integers(text: Any, pattern: str) -> Any:
    integers = _else_null(pc.match_substring_regex(text, pattern), text)
    digits = pc.replace_substring_regex(integers, r"\.0+$", "")
    return _fitting(digits.cast(pa.decimal128(38, 0)))


def _whole_floats(values: Any) -> Any:
    values = values.cast(pa.float64())
    whole = pc.equal(values, pc.floor(values))
    exact = pc.less_equal(pc.abs(values), pa.scalar(float(MAX_EXACT_FLOAT)))
    return _else_null(pc.and_(whole, exact), values).cast(pa.int64())


def _whole_decimals(values: Any) -> Any:
    """Decimals of at most 38 digits and without a fraction as decimal128(38, 0), others as null."""
    whole = pc.equal(values, pc.round(values))
    if pa.types.is_decimal256(values.type):
        most = pa.scalar(Decimal(10**DECIMAL128_DIGITS - 1)).cast(pa.decimal256(76, 0))
        short = pc.less_equal(pc.abs(values), most)
        whole = pc.and_(whole, short)
    return _else_null(whole, values).cast(pa.decimal128(DECIMAL128_DIGITS, 0), safe=False)


def _fitting(values: Any) -> Any:
    """Integers or decimals as int64; null if they do not fit."""
    if pa.types.is_signed_integer(values.type):
        return values.cast(pa.int64())
    decimals = values.cast(pa.decimal128(38, 0))
    low, high = (pa.scalar(bound).cast(decimals.type) for bound in (_INT64_MIN, _INT64_MAX))
    fits = pc.and_(pc.greater_equal(decimals, low), pc.less_equal(decimals, high))
    return _else_null(fits, decimals).cast(pa.int64())
