"""Reads `inter_keyword_to_items`: the items that a user chose after searching for a keyword."""

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
        row: int64, shape (n,), ascending: the row of each keyword.
        keyword: Shape (n,).
        items: The ids of each keyword's items, shape (n,); null where there is no list.
        readable: bool, shape (rows,): whether the row holds an object.
    """

    row: np.ndarray
    keyword: pa.StringArray
    items: pa.ListArray
    readable: np.ndarray


def read_keywords(column: pa.Array, length: int, written_as: Stored = "untyped") -> Keywords:
    """Read the keywords of a column of JSON objects (text), maps or structs.

    Args:
        column: Shape (rows,).
        length: The number of items that are needed per keyword; more may be omitted.
        written_as: How the catalog's ids are written: if a JSON column has ids of both types, those
            of the other type become null.
    """
    if pa.types.is_map(column.type):
        return _of_maps(column)
    if pa.types.is_struct(column.type):
        return _of_structs(column)
    return _of_json(column.cast(pa.string()), length, written_as)


def ids_of_catalog(ids: pa.Array, source: ParquetInput, space: IdSpace, length: int) -> pa.Array:
    """Ids of a block of the column as the catalog stores them, like `IdSpace.parsed`.

    If all ids of the block have the other type, but other blocks have ids of the catalog's type,
    they become null, as single ids do. The result for a row must not depend on its position.

    Args:
        ids: As returned by `read_keywords`.
        source: The file of the ids.
        space: The ids of the catalog.
        length: As for `read_keywords`.

    Raises:
        InputError: No id of the column has the type of the catalog's ids.
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
    """Each field is a keyword; a row has the keywords of its fields that are not null."""
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
    """The JSON object in a text; None if the text is not one."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_unicode(text: str) -> bool:
    """Whether a text can be encoded: JSON can contain half a surrogate pair."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _ids(lists: list[list[Any] | None], written_as: Stored) -> pa.ListArray:
    """Lists of ids of one type; values that are not ids become null."""
    try:
        ids = pa.array(lists)
        if pa.types.is_null(ids.type):
            return ids.cast(pa.list_(pa.null()))
        if _are_ids(ids.type.value_type):
            return ids
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        pass  # Ids of several types, or values that are not ids: convert them one by one.
    cleaned = [None if ids is None else [_id(value) for value in ids] for ids in lists]
    kinds = {type(value) for ids in cleaned for value in ids or () if value is not None}
    if kinds == {int, str}:
        cleaned = [ids and [_as_written(value, written_as) for value in ids] for ids in cleaned]
    text = str in kinds and not (int in kinds and written_as == "int")
    return pa.array(cleaned, pa.list_(pa.string() if text else pa.int64()))


def _as_written(value: int | str | None, written_as: Stored) -> int | str | None:
    """An id, converted if either type is accepted; None if it has the wrong type."""
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
