"""JSON from whole columns is what `json.dumps` writes."""

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.arrow.json_text import concatenated, json_object, of_ids, quoted

TEXTS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=9))


@given(texts=TEXTS, skipped=st.integers(0, 3))
def test_quoted_texts_are_those_of_json(texts, skipped):
    column = pa.array(texts, pa.string()).slice(skipped)
    expected = [
        None if text is None else json.dumps(text, ensure_ascii=False) for text in texts[skipped:]
    ]
    assert quoted(column).to_pylist() == expected


def test_backslashes_are_escaped_once():
    (written,) = quoted(pa.array(['\\"\n\x00\x1f\x7f\u2028'])).to_pylist()
    assert written == '"\\\\\\"\\n\\u0000\\u001f\x7f\u2028"'


def test_ids_are_numbers_or_strings():
    assert of_ids(pa.array([1, None, -7])).to_pylist() == ["1", None, "-7"]
    assert of_ids(pa.array(['a"b', None])).to_pylist() == ['"a\\"b"', None]


def test_an_object_has_its_values_in_order():
    rows = json_object(uid=pa.array(["1", "2"]), label=pa.array(["0", None]))
    assert rows.to_pylist() == ['{"uid": 1, "label": 0}', None]


def test_parts_are_concatenated():
    assert concatenated("<", pa.array(["a", None, ""]), ">").to_pylist() == ["<a>", None, "<>"]
