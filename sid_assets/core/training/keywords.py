"""`inter_keyword_to_items`: which items a user chose after searching for a keyword."""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sid_assets.core.arrow.columns import is_valid, list_bounds, spans
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import Stored
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.schema import PID_TYPES
from sid_assets.core.training.inputs import IdSpace

COLUMN = "inter_keyword_to_items"


@dataclass(frozen=True)
class Keywords:
    """The keywords of some rows.

    Attributes:
        row: int64, shape (n,), ascending: the row that each keyword is of.
        keyword: Shape (n,).
        items: The ids of its items, shape (n,); null where there are none.
        readable: bool, shape (rows,): whether the column holds an object at all.
    """

    row: np.ndarray
    keyword: pa.StringArray
    items: pa.ListArray
    readable: np.ndarray


def read_keywords(column: pa.Array, length: int, written_as: Stored = "untyped") -> Keywords:
    """The keywords of a column of JSON objects (text), of maps or of structs.

    Args:
        column: Shape (rows,).
        length: Items of a keyword that are of interest: the others may be left out.
        written_as: How the catalog's ids are written: where a JSON column has ids of both kinds,
            those of the other kind become null.
    """
    if pa.types.is_map(column.type):
        return _of_maps(column)
    if pa.types.is_struct(column.type):
        return _of_structs(column)
    return _of_json(column.cast(pa.string()), length, written_as)


def ids_of_catalog(ids: pa.Array, source: ParquetInput, space: IdSpace, length: int) -> pa.Array:
    """Ids of a block of the column as the catalog has them, as `IdSpace.parsed`.

    Where all of the block are of the other kind, they are null, as single ones are, if the
    column has ids as the catalog's elsewhere: what a row becomes is not to depend on its place.

    Args:
        ids: As `read_keywords` gives them.
        source: The file that they are of.
        space: The ids of the catalog.
        length: As for `read_keywords`.

    Raises:
        InputError: No id of the column is as the catalog's.
    """
    try:
        return space.parsed(ids, source, COLUMN)
    except InputError:
        if not _has_readable_ids(source, space, length):
            raise
        return pa.nulls(len(ids), PID_TYPES[space.index.pid_type])


def _has_readable_ids(source: ParquetInput, space: IdSpace, length: int) -> bool:
    for batch in source.train_batches([COLUMN]):
        ids = read_keywords(batch[COLUMN], length, space.written_as).items.values
        with suppress(InputError):
            if len(space.parsed(ids, source, COLUMN).drop_null()):
                return True
    return False


def _of_maps(column: pa.MapArray) -> Keywords:
    starts, ends = list_bounds(column)
    positions, _ = spans(starts, ends)
    at = pa.array(positions)
    row = np.repeat(np.arange(len(column)), ends - starts)
    keyword = column.keys.take(at).cast(pa.string())
    return Keywords(row, keyword, column.items.take(at), is_valid(column))


def _of_structs(column: pa.StructArray) -> Keywords:
    """Each field is a keyword; of a row, those that are not null."""
    fields = {
        name: field
        for name, field in zip(column.type.names, column.flatten(), strict=True)
        if pa.types.is_list(field.type) and not pa.types.is_null(field.type.value_type)
    }
    if not fields:
        none = pa.nulls(0, pa.list_(pa.null()))
        return Keywords(np.zeros(0, np.int64), pa.nulls(0, pa.string()), none, is_valid(column))
    types = {field.type for field in fields.values()}
    type_ = types.pop() if len(types) == 1 else pa.list_(pa.string())
    row, of_field = np.nonzero(np.stack([is_valid(f) for f in fields.values()], axis=1))
    keyword = pa.array(fields, pa.string()).take(pa.array(of_field))
    lists = pa.concat_arrays([field.cast(type_) for field in fields.values()])
    items = lists.take(pa.array(of_field * len(column) + row))
    return Keywords(row, keyword, items, is_valid(column))


def _of_json(texts: pa.StringArray, length: int, written_as: Stored) -> Keywords:
    row: list[int] = []
    keyword: list[str | None] = []
    items: list[list[Any] | None] = []
    readable = np.zeros(len(texts), bool)
    for i, text in enumerate(texts.to_pylist()):
        found = _parsed(text) if text else None
        readable[i] = found is not None
        for word, chosen in (found or {}).items():
            row.append(i)
            keyword.append(word if _is_unicode(word) else None)
            items.append(chosen[:length] if isinstance(chosen, list) else None)
    ids = _ids(items, written_as)
    return Keywords(np.array(row, np.int64), pa.array(keyword, pa.string()), ids, readable)


def _parsed(text: str) -> dict[str, Any] | None:
    """The JSON object that a text holds; None if it holds none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_unicode(text: str) -> bool:
    """Whether a text can be written: JSON may spell half a surrogate pair."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _ids(lists: list[list[Any] | None], written_as: Stored) -> pa.ListArray:
    """Lists of ids of one type; what is no id becomes null."""
    try:
        ids = pa.array(lists)
        if pa.types.is_null(ids.type):
            return ids.cast(pa.list_(pa.null()))
        if _are_ids(ids.type.value_type):
            return ids
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        pass  # Ids of several kinds, or what is none: one by one.
    cleaned = [None if ids is None else [_id(value) for value in ids] for ids in lists]
    kinds = {type(value) for ids in cleaned for value in ids or () if value is not None}
    if kinds == {int, str}:
        cleaned = [ids and [_as_written(value, written_as) for value in ids] for ids in cleaned]
    text = str in kinds and not (int in kinds and written_as == "int")
    return pa.array(cleaned, pa.list_(pa.string() if text else pa.int64()))


def _as_written(value: int | str | None, written_as: Stored) -> int | str | None:
    """One of the ids of both kinds as all of them are to be; null if it is of the other kind."""
    if written_as == "untyped":
        return None if value is None else str(value)
    return value if isinstance(value, int if written_as == "int" else str) else None


def _are_ids(kind: pa.DataType) -> bool:
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return number or pa.types.is_string(kind) or pa.types.is_null(kind)


def _id(value: Any) -> int | str | None:
    if isinstance(value, str):
        return value if _is_unicode(value) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    return None
