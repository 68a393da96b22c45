"""How programs encode columns in parquet: UUIDs, text as bytes, dictionaries, views of lists.

Whatever reads interactions, captions and vectors sees plain text, numbers and lists instead.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import is_list
from sid_assets.core.errors import IDS_SHOWN, offending_rows

UUID_BYTES = 16
UUID_LENGTH = 36
_DIGITS = [place for place in range(UUID_LENGTH) if place not in (8, 13, 18, 23)]
"""Where the hex digits are in the text of a UUID; dashes are between them."""


def is_uuid(kind: pa.DataType) -> bool:
    """Whether values of this type are UUIDs: the logical type, or 16 bytes each."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.extension_name == "arrow.uuid"
    return pa.types.is_fixed_size_binary(kind) and kind.byte_width == UUID_BYTES


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column after `plain_batch`.

    UUIDs and bytes become strings, the many kinds of lists become `list`, small decimals
    decimal128, dictionaries and extension types what they hold. The types within lists, structs and
    maps change likewise, and any other type stays.
    """
    if is_uuid(kind) or is_bytes(kind) or pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_string_view(kind):
        return pa.string()
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if _is_any_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, plain_type(field.type)) for field in kind.fields])
    return kind


def plain_batch(batch: pa.RecordBatch, source: str) -> pa.RecordBatch:
    """The same rows with columns of plain types.

    Args:
        batch: Rows of a file.
        source: The file, for messages.

    Raises:
        InputError: A column holds bytes that are not text in UTF-8.
    """
    columns = [
        _checked(column, source, name)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.record_batch(columns, names=batch.schema.names)


def _checked(column: pa.Array, source: str, name: str) -> pa.Array:
    try:
        return _plain(column)
    except pa.ArrowInvalid as error:
        wrong = _not_text(column)
        if not wrong:
            raise
        raise offending_rows(
            "bytes that are not text in UTF-8",
            source=source,
            column=name,
            rows=len(wrong),
            ids=wrong[:IDS_SHOWN],
            remedy="Write this column as text, as numbers or as UUIDs. (Counted up to the first "
            "batch with such rows.)",
        ) from error


def _plain(column: pa.Array) -> pa.Array:
    kind = column.type
    plain = plain_type(kind)
    if kind == plain:
        return column
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if is_uuid(kind):
        return _uuid_text(column.storage if isinstance(column, pa.ExtensionArray) else column)
    if isinstance(column, pa.ExtensionArray):
        return _plain(column.storage)
    if pa.types.is_map(kind):
        offsets = pa.array(column.offsets.to_numpy())
        keys, items = _plain(column.keys), _plain(column.items)
        return pa.MapArray.from_arrays(offsets, keys, items, mask=column.is_null())
    if _is_any_list(kind):
        # pyarrow 26 converts views of lists wrongly.
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        return pa.ListArray.from_arrays(offsets, _plain(column.flatten()), mask=column.is_null())
    if pa.types.is_struct(kind):
        names = [field.name for field in kind.fields]
        values = [_plain(values) for values in column.flatten()]
        return pa.StructArray.from_arrays(values, names, mask=column.is_null())
    if pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.binary()).cast(plain)
    return column.cast(plain)


def _uuid_text(values: pa.FixedSizeBinaryArray) -> pa.StringArray:
    """UUIDs as lower-case text with dashes, as Python and DuckDB print them."""
    if not len(values):
        return pa.array([], pa.string())
    filled = values.fill_null(bytes(UUID_BYTES))
    data = np.frombuffer(filled.buffers()[1], np.uint8)[filled.offset * UUID_BYTES :]
    digits = np.frombuffer(data[: len(filled) * UUID_BYTES].tobytes().hex().encode(), np.uint8)
    text = np.full((len(filled), UUID_LENGTH), ord("-"), np.uint8)
    text[:, _DIGITS] = digits.reshape(len(filled), 2 * UUID_BYTES)
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(UUID_LENGTH), len(filled), [None, pa.py_buffer(text.tobytes())]
    )
    nothing = pa.scalar(None, pa.string())
    return pc.if_else(values.is_valid(), fixed.cast(pa.binary()).cast(pa.string()), nothing)


def _not_text(column: pa.Array) -> list[bytes]:
    """The values of a column, or of its lists, that are not text in UTF-8."""
    wrong = []
    for value in column.to_pylist():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bytes):
                try:
                    one.decode()
                except UnicodeDecodeError:
                    wrong.append(one)
    return wrong


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values of this type are bytes, of which nothing says that they are text."""
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_any_list(kind: pa.DataType) -> bool:
    return is_list(kind) or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
