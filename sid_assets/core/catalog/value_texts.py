r"""How values of any type become text, as macros for DuckDB, in each version of the rules.

- Text stays as it is. CSV is text throughout, so `007` stays `007`; `\N` is null there.
- Integers, decimals, booleans (`true`), dates and times appear as DuckDB prints them, times in UTC.
- Floats appear as the shortest number that reads back the same. Whole floats have no `.0`, since
  pandas turns an integer column with gaps into floats. NaN is null, as in pandas.
- Lists: their elements, joined with `, `; null, blank and empty elements are skipped.
- Structs and maps, JSON objects, and lists in lists appear as JSON with sorted keys. Keys whose
  value is null or an empty object are left out. What is empty then is null.

Rules 1 are those of version 0.1. They differ in three places: structs and objects appear as they
are, with null keys and in the order of the file; a float in JSON appears as DuckDB's JSON reader
prints it; and `\N` is text. Texts made with them can be made again.

Rules 2-html are rules 2 for catalogs whose values are HTML: each value then becomes the text of it.
"""

import json
import math
from collections.abc import Callable
from typing import Any, Literal

import pyarrow as pa
from duckdb import DuckDBPyConnection

from sid_assets.core.catalog.html_text import text_of_html

TextRules = Literal[1, 2, "2-html"]
"""SID_TEXT_RULES."""

NEWEST_RULES: TextRules = 2

_MACROS = r"""
-- White space is what Python's str.isspace calls so. Most texts begin with a visible ASCII
-- character, and comparing is far quicker than the pattern.
CREATE MACRO blank_to_null(t) AS
    CASE WHEN t >= '!' AND t < chr(127) THEN t
         WHEN regexp_matches(t, '[^\s\x0b\x1c-\x1f\x{85}\p{Z}]') THEN t END;
-- What programs write for null where a file has no null. A film may be called so, too.
-- DuckDB would make a join of `IN`, and lose the order of the rows.
CREATE MACRO null_word(t) AS
    CASE WHEN regexp_full_match(t, 'NULL|null|NaN|nan|None|<NA>') THEN t END;
CREATE MACRO list_text(texts) AS
    array_to_string(list_filter(texts, lambda t: blank_to_null(t) IS NOT NULL), ', ');
CREATE MACRO decode_list(list) AS list_transform(list, lambda b: decode(b));

CREATE MACRO float_text(x) AS
    CASE WHEN NOT isnan(x) THEN regexp_replace(CAST(x AS VARCHAR), '\.0$', '') END;
CREATE MACRO float_list_text(floats) AS
    list_text(list_transform(floats, lambda x: float_text(x)));

-- Above 2**53 neighbouring integers share a float, so such an id keeps the '.0' or the exponent
-- that gives it away.
CREATE MACRO float_id_text(x) AS
    CASE WHEN abs(x) <= 9007199254740992 OR isnan(x) THEN float_text(x)
         ELSE CAST(x AS VARCHAR) END;
CREATE MACRO decimal_id_text(x) AS regexp_replace(CAST(x AS VARCHAR), '\.0+$', '');
-- A float in a text file, such as 1.0 or 1.2e+18. 2**53 may have been written as 2**53 + 1.
CREATE MACRO is_inexact_float(t) AS
    coalesce(abs(TRY_CAST(t AS DOUBLE)) >= 9007199254740992, false);
CREATE MACRO is_json_float(j) AS
    json_type(j) = 'DOUBLE' AND NOT regexp_matches(CAST(j AS VARCHAR), '^-?[0-9]+$');
CREATE MACRO json_id_text(j) AS
    CASE WHEN NOT is_json_float(j) THEN j ->> '$'
         WHEN is_inexact_float(CAST(j AS VARCHAR)) THEN CAST(j AS VARCHAR)
         ELSE float_text(TRY_CAST(j AS DOUBLE)) END;
CREATE MACRO json_stored(j) AS
    CASE json_type(j) WHEN 'VARCHAR' THEN 'text'
                      WHEN 'BIGINT' THEN 'int' WHEN 'UBIGINT' THEN 'int' WHEN 'DOUBLE' THEN 'int'
                      ELSE 'other' END;
"""

_OF_RULES: dict[TextRules, str] = {
    1: r"""
CREATE MACRO csv_text(t) AS t;
CREATE MACRO nested_text(x) AS CAST(to_json(x) AS VARCHAR);
CREATE MACRO nested_list_text(nested) AS
    list_text(list_transform(nested, lambda x: CAST(to_json(x) AS VARCHAR)));
CREATE MACRO json_value_text(j) AS
    CASE json_type(j) WHEN 'DOUBLE' THEN nullif(regexp_replace(j ->> '$', '\.0$', ''), 'NaN')
                      ELSE j ->> '$' END;
CREATE MACRO json_text(j) AS
    CASE json_type(j)
        WHEN 'ARRAY' THEN list_text(list_transform(CAST(j AS JSON[]), lambda e: json_value_text(e)))
        ELSE json_value_text(j) END;
""",
    2: r"""
CREATE MACRO csv_text(t) AS nullif(t, '\N');
CREATE MACRO nested_text(x) AS text_of_json(CAST(to_json(x) AS VARCHAR));
CREATE MACRO nested_list_text(nested) AS nested_text(nested);
CREATE MACRO json_value_text(j) AS
    CASE WHEN is_json_float(j) THEN float_text(TRY_CAST(j AS DOUBLE)) ELSE j ->> '$' END;
-- DuckDB is quicker than Python with lists that have no lists and objects in them.
CREATE MACRO is_flat(j) AS NOT regexp_matches(CAST(j AS VARCHAR), '^.+[\[{]');
CREATE MACRO json_text(j) AS
    CASE WHEN json_type(j) = 'ARRAY' AND is_flat(j)
         THEN list_text(list_transform(CAST(j AS JSON[]), lambda e: json_value_text(e)))
         WHEN json_type(j) IN ('ARRAY', 'OBJECT') THEN text_of_json(CAST(j AS VARCHAR))
         ELSE json_value_text(j) END;
""",
}


_OF_RULES["2-html"] = _OF_RULES[2]

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def create_macros(connection: DuckDBPyConnection, rules: TextRules) -> None:
    """Create the macros in a database."""
    _create_function(connection, "text_of_json", text_of_json)
    whole = "CREATE MACRO whole_value(t) AS t;"
    if rules == "2-html":
        _create_function(connection, "text_of_html", text_of_html)
        # Most values have no markup, and DuckDB finds them faster than Python.
        whole = """
CREATE MACRO whole_value(t) AS
    CASE WHEN regexp_matches(t, '[<&]') THEN text_of_html(t) ELSE t END;
"""
    connection.execute(_MACROS + _OF_RULES[rules] + whole)


def text_of_json(json_text: str) -> str | None:
    """A JSON list or object as text, by the newest rules; None if nothing is in it."""
    try:
        value = json.loads(json_text)
        if not isinstance(value, list):
            return _element_text(value)
        elements = (_element_text(element) for element in value)
        return ", ".join(text for text in elements if text and text.strip()) or None
    except (RecursionError, ValueError):  # a thousand levels, or an integer of 4300 digits
        return json_text


def _create_function(
    connection: DuckDBPyConnection, name: str, function: Callable[[str], str | None]
) -> None:
    """Let SQL call a function of a text; null gives null."""
    # Not at the top: these objects must be gone at exit (see `arrow.duck`).
    from duckdb.func import ARROW, SPECIAL
    from duckdb.sqltypes import VARCHAR

    def of_column(column: Any) -> pa.Array:
        texts = (None if text is None else function(text) for text in column.to_pylist())
        return pa.array(texts, pa.string())

    connection.create_function(
        name, of_column, [VARCHAR], VARCHAR, type=ARROW, null_handling=SPECIAL
    )


def _element_text(value: Any) -> str | None:
    value = _without_nulls(value)
    if isinstance(value, str):
        return value
    if value in (None, {}, []):
        return None
    return _ENCODER.encode(value)


def _without_nulls(value: Any) -> Any:
    """A JSON value in the form in which it appears."""
    if isinstance(value, dict):
        members = ((key, _without_nulls(value[key])) for key in sorted(value))
        return {key: member for key, member in members if member is not None and member != {}}
    if isinstance(value, list):
        return [_without_nulls(element) for element in value]
    if isinstance(value, float):
        if math.isnan(value):
            return None
        # Where a float prints its exponent, it does so in parquet, too.
        return int(value) if value.is_integer() and abs(value) < 1e16 else value
    return value
