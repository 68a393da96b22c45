"""JSON as `json.dumps(..., ensure_ascii=False)` writes it, made from whole columns."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_TO_ESCAPE = np.zeros(256, bool)
_TO_ESCAPE[:0x20] = True
_TO_ESCAPE[[ord('"'), ord("\\")]] = True


def escaped(texts: pa.StringArray) -> pa.StringArray:
    """Texts as they appear between the quotes of a JSON string; null stays null."""
    data = texts.buffers()[2]
    used = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    present = [chr(byte) for byte in np.unique(used[_TO_ESCAPE[used]])]
    # The backslash first: the other replacements add backslashes.
    for character in sorted(present, key=lambda c: c != "\\"):
        texts = pc.replace_substring(texts, character, json.dumps(character)[1:-1])
    return texts


def quoted(texts: pa.StringArray) -> pa.StringArray:
    """Texts as JSON strings; null stays null."""
    return concatenated('"', escaped(texts), '"')


def of_ids(ids: pa.Array) -> pa.StringArray:
    """Ids, int64 or string, as JSON values; null stays null."""
    return ids.cast(pa.string()) if pa.types.is_integer(ids.type) else quoted(ids)


def concatenated(*parts: pa.StringArray | str) -> pa.StringArray:
    """The parts of each row, concatenated; null if one of them is null."""
    return pc.binary_join_element_wise(*parts, "")


def json_object(**values: pa.StringArray) -> pa.StringArray:
    """One JSON object per row, from values that are already JSON, in the order of the arguments."""
    parts: list[pa.StringArray | str] = []
    for name, column in values.items():
        parts += [f'{", " if parts else "{"}"{name}": ', column]
    return concatenated(*parts, "}")
