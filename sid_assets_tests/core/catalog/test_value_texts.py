"""The rules by which values become text: the same record gives the same text in every format."""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.catalog.value_texts import text_of_json
from sid_assets_tests.core.catalog.read_catalogs import Read, Write, refused

RECORDS = [
    {"pid": 1, "title": {"Color": None, "Brand": "Acme", "Size": 1.0}},
    {"pid": 2, "title": {"Color": "red", "Brand": None, "Size": 2.5}},
    {"pid": 3, "title": {"Color": None, "Brand": None, "Size": None}},
]

values = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5)
floats = st.floats(allow_infinity=False)
structs = st.fixed_dictionaries(
    {},
    optional={
        "z": st.text(max_size=4) | st.none(),
        "a é": floats | st.none(),
        "n": st.lists(st.integers(0, 9) | st.none(), max_size=3) | st.none(),
        "inner": st.fixed_dictionaries({}, optional={"x": st.booleans() | st.none()}) | st.none(),
    },
)
TITLE = pa.struct(
    [
        ("z", pa.string()),
        ("a é", pa.float64()),
        ("n", pa.list_(pa.int64())),
        ("inner", pa.struct([("x", pa.bool_())])),
    ]
)


def without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nan(member) for key, member in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


@settings(max_examples=12, deadline=None)
@given(rows=st.lists(structs, min_size=1), many=st.booleans())
def test_a_record_gives_the_same_text_in_parquet_and_json(
    rows: list[dict[str, Any]], many: bool
) -> None:
    titles = [[row, row] if many else row for row in rows]
    kind = pa.list_(TITLE) if many else TITLE
    with tempfile.TemporaryDirectory() as folder:
        parquet, lines = Path(folder) / "a.parquet", Path(folder) / "a.jsonl"
        pids = list(range(len(rows)))
        pq.write_table(pa.table({"pid": pids, "title": pa.array(titles, kind)}), parquet)
        records = (
            {
                "pid": pid,
                "title": [without_nan(row)] * 2 if many else without_nan(row),
            }
            for pid, row in enumerate(rows)
        )
        lines.write_text("".join(json.dumps(record) + "\n" for record in records))
        template = "{pid}\n{title}"
        assert Read(parquet, template).text_of == Read(lines, template).text_of


def test_a_new_key_in_another_row_changes_no_text(parquet: Write) -> None:
    before = Read(parquet(pid=[1], title=[{"Brand": "Acme"}])).texts
    titles = [{"Brand": "Acme", "Size": None}, {"Brand": None, "Size": "L"}]
    after = Read(parquet(pid=[1, 2], title=titles)).texts
    assert after == [*before, '{"Size":"L"}'] == ['{"Brand":"Acme"}', '{"Size":"L"}']


def test_maps_have_sorted_keys(parquet: Write) -> None:
    kind = pa.map_(pa.string(), pa.int64())
    titles = pa.array([[("z", 1), ("b", None), ("a", 2)], [("b", None)]], kind)
    path = parquet(pid=[1, 2], title=titles)
    assert Read(path, on_bad_rows="drop").text_of == {1: '{"a":2,"z":1}'}


@pytest.mark.parametrize("value", ["{}", '{"a": null}', '{"a": {"b": null}}', "[{}]", "[[], null]"])
def test_an_empty_object_drops_its_line_as_an_empty_list_does(text_file: Write, value: str) -> None:
    path = text_file("a.jsonl", f'{{"pid": 1, "title": "t", "details": {value}}}\n')
    assert Read(path, "{title}\n{details}").texts == ["t"]


@pytest.mark.parametrize("number", [1e16, 1e22, 1e-7, -0.5, 1.0, 1.2345678901234568e18])
def test_a_float_gives_the_same_text_in_parquet_and_json(
    parquet: Write, text_file: Write, number: float
) -> None:
    lines = text_file("a.jsonl", json.dumps({"pid": 1, "title": number}))
    assert Read(lines).texts == Read(parquet(pid=[1], title=[number])).texts


@pytest.mark.parametrize("value", ["[" * 5000 + "]" * 5000, '{"a": ' + "9" * 5000 + "}"])
def test_json_that_python_cannot_read_stays_as_it_is(value: str) -> None:
    assert text_of_json(value) == value


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_null_as_mysql_writes_it(text_file: Write, name: str) -> None:
    rows = ["pid title brand", r"1 a \N", r"2 b c\N", r"\N d e"]
    content = "\n".join(rows).replace(" ", "\t" if name == "a.tsv" else ",")
    read = Read(text_file(name, content), "{title}\n{brand}", on_bad_rows="drop")
    assert read.text_of == {1: "a", 2: "b\nc\\N"}
    assert read.read.counts.rejected == {"the id is null or blank": 1}


# What version 0.1 made of these files.


def test_rules_1_make_the_structs_of_version_01(parquet: Write, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "a.parquet")
    assert Read(tmp_path / "a.parquet", text_rules=1).texts == [
        '{"Color":null,"Brand":"Acme","Size":1.0}',
        '{"Color":"red","Brand":null,"Size":2.5}',
        '{"Color":null,"Brand":null,"Size":null}',
    ]
    structs = pa.array([[{"b": 1, "a": None}, {"b": None, "a": None}, None]])
    path = parquet(pid=[1], title=structs)
    assert Read(path, text_rules=1).texts == ['{"b":1,"a":null}, {"b":null,"a":null}']
    pairs = pa.array([[("z", 1), ("a", None)]], pa.map_(pa.string(), pa.int64()))
    assert Read(parquet(pid=[1], title=pairs), text_rules=1).texts == ['{"z":1,"a":null}']
    path = parquet(pid=[1], title=pa.array([[[1.0, None], [], [2.5]]]))
    assert Read(path, text_rules=1).texts == ["[1.0,null], [], [2.5]"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('{"z": 1.0, "a": null}', '{"z":1.0,"a":null}'),
        ('[{"b": null}, [], [1.0], "x", 2.0, {}]', '{"b":null}, [], [1.0], x, 2, {}'),
        ("{}", "{}"),
        ("1e16", "10000000000000000"),
        ("1e22", "1e22"),
        ("1e-7", "1e-7"),
        ("1E400", "1E400"),
        ("0.50", "0.5"),
        ("12345678901234567890123", "12345678901234567890123"),
    ],
)
def test_rules_1_make_the_json_of_version_01(text_file: Write, value: str, text: str) -> None:
    path = text_file("a.jsonl", f'{{"pid": 1, "title": {value}}}\n')
    assert Read(path, text_rules=1).texts == [text]


def test_rules_1_read_text_files_as_version_01_did(text_file: Write) -> None:
    tsv = text_file("a.tsv", 'pid\ttitle\n1\t"Hello"\n2\t\\N\n3\t"two\nlines"\n4\t"a\tb"\n')
    assert Read(tsv, text_rules=1).texts == ["Hello", "\\N", "two\nlines", "a\tb"]
    tsv = text_file("b.tsv", 'pid\ttitle\n1\tplain\n2\t"Odd Al\n3\tlost\n4\tMonitor 24"\n5\tlast\n')
    swallowed = ["plain", "Odd Al\n3\tlost\n4\tMonitor 24", "last"]
    assert Read(tsv, text_rules=1).texts == swallowed
    assert Read(tsv).texts == ["plain", '"Odd Al', "lost", 'Monitor 24"', "last"]
    assert Read(tsv, csv_quoting="quoted").texts == swallowed
    path = text_file("a.csv", 'pid,title\n1,\\N\n2,"Odd Al\n3,lost"\n')
    assert Read(path, text_rules=1).texts == ["\\N", "Odd Al\n3,lost"]
    assert "line 3" in refused(path)
