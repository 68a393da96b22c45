"""From catalog rows to item texts: the texts, the ids, and every kind of bad catalog."""

import csv
import datetime
import decimal
import gzip
import json
import os
import re
import string
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core import schema
from sid_assets.core.arrow.hashes import text_hash
from sid_assets.core.catalog.item_texts import CatalogSource, read_item_texts
from sid_assets.core.errors import InputError

TEMPLATE = "Title: {title}\nBrand: {brand}"


class Read:
    """A catalog that was read, with all of it in memory."""

    def __init__(self, catalog: str | Path, template: str = "{title}", **source: Any) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            read = read_item_texts(
                CatalogSource(str(catalog), template, **source), scratch_dir=scratch
            )
            self.table = read.reader.read_all()
            self.rejected = read.rejected.read_all() if read.rejected else None
        self.read = read
        self.pids = self.table["pid"].to_pylist()
        self.texts = self.table["text"].to_pylist()
        self.text_of = dict(zip(self.pids, self.texts, strict=True))


Write = Callable[..., str]


@pytest.fixture
def parquet(tmp_path: Path) -> Write:
    """Writes columns to a parquet file and returns its path."""

    def write(file: str = "catalog.parquet", **columns: Any) -> str:
        pq.write_table(pa.table(columns), tmp_path / file)
        return str(tmp_path / file)

    return write


@pytest.fixture
def text_file(tmp_path: Path) -> Write:
    """Writes a text to a file and returns its path."""

    def write(name: str, text: str | bytes) -> str:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / name)

    return write


def refused(catalog: str | Path, template: str = "{title}", **source: Any) -> str:
    """The error message for a refused catalog."""
    with pytest.raises(InputError) as raised:
        Read(catalog, template, **source)
    return str(raised.value)


# The text of an item


def expected_text(template: str, row: Mapping[str, str | None]) -> str | None:
    """The rules of templates in plain Python; None where a row has no text."""
    lines, said = [], False
    for line in template.split("\n"):
        names = [name for _, name, _, _ in string.Formatter().parse(line) if name is not None]
        values = [row[name] for name in names]
        if all(value is not None and value.strip() for value in values):
            lines.append(line.format(**row))
            said |= bool(names)
    return "\n".join(lines) if said else None


TRICKY = [
    "{title}",
    "{{brand}}",
    "'; DROP TABLE rows; --",
    "$1 ? %s :x",
    "<|endoftext|><b>&amp;</b>",
    "a\nb\r\nc\td",
    "\u3000\u00a0 ",
    "\x1c\x85\v",
    "\u200b",
    '"quoted", \\n \\',
    "日本語 😀 e\u0301",
    " leading and trailing ",
    "None",
    "nul\x00byte",
]
values = st.none() | st.sampled_from(TRICKY) | st.text(max_size=8)
literals = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="{}\n\r\x00"), max_size=6
)
pieces = st.sampled_from(["{title}", "{brand}", "{ü x}", "{{", "}}"]) | literals
templates = st.lists(st.lists(pieces, max_size=4).map("".join), min_size=1, max_size=4).map(
    lambda lines: "\n".join(["{title}", *lines, "end {brand}"])
)
rows = st.lists(st.fixed_dictionaries(dict.fromkeys(("title", "brand", "ü x"), values)), min_size=1)


@settings(max_examples=30, deadline=None)
@given(template=templates, rows=rows)
def test_texts_follow_the_rules_of_templates(
    template: str, rows: list[dict[str, str | None]]
) -> None:
    expected = {pid: expected_text(template, row) for pid, row in enumerate(rows, start=1)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.parquet"
        columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in rows[0]}
        pq.write_table(pa.table({"pid": list(expected)} | columns), path)
        if not any(expected.values()):
            assert "no rows are left" in refused(path, template, on_bad_rows="drop")
            return
        read = Read(path, template, on_bad_rows="drop")
    assert read.text_of == {pid: text for pid, text in expected.items() if text is not None}
    assert read.table["text_hash"].to_pylist() == [text_hash(text) for text in read.texts]


@settings(max_examples=20, deadline=None)
@given(
    rows=st.dictionaries(st.integers(1, 50), st.fixed_dictionaries({"title": values, "b": values})),
    newline=st.sampled_from(["\n", "\r\n"]),
    compress=st.booleans(),
    kind=st.sampled_from(["csv", "tsv", "jsonl", "json"]),
)
def test_every_format_gives_the_same_texts(
    rows: dict[int, dict[str, str | None]], newline: str, compress: bool, kind: str
) -> None:
    records = [{"pid": pid} | row for pid, row in rows.items()]
    if kind == "jsonl":
        content = "".join(json.dumps(record, ensure_ascii=False) + newline for record in records)
    elif kind == "json":
        content = json.dumps(records)
    else:
        content = written_csv(records, "\t" if kind == "tsv" else ",", newline)
    data = content.encode()
    expected = {pid: expected_text("{title}\n<{b}>", row) for pid, row in rows.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"catalog.{kind}{'.gz' if compress else ''}"
        path.write_bytes(gzip.compress(data) if compress else data)
        if not any(expected.values()):
            assert re.search("no rows", refused(path, "{title}\n<{b}>", on_bad_rows="drop"))
            return
        read = Read(path, "{title}\n<{b}>", on_bad_rows="drop")
    assert read.text_of == {pid: text for pid, text in expected.items() if text is not None}


def written_csv(records: list[dict[str, Any]], delimiter: str, newline: str) -> str:
    with tempfile.TemporaryFile("w+", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file,
            ["pid", "title", "b"],
            delimiter=delimiter,
            lineterminator=newline,
            quoting=csv.QUOTE_ALL,
        )
        writer.writeheader()
        writer.writerows(records)
        file.seek(0)
        return file.read()


CUT_GZIP = gzip.compress(b"pid,title\n1,a\n", mtime=0)[:-9]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([1999]), "1999"),
        (pa.array([1999.0]), "1999"),
        (pa.array([0.1]), "0.1"),
        (pa.array([4.7], pa.float32()), "4.7"),
        (pa.array([decimal.Decimal("12.50")]), "12.50"),
        (pa.array([True]), "true"),
        (pa.array([datetime.date(2020, 1, 31)]), "2020-01-31"),
        (pa.array([0], pa.timestamp("us", "Europe/Paris")), "1970-01-01 00:00:00+00"),
        (pa.array([["Drama", " ", None, "Sci-Fi, 3.0"]]), "Drama, Sci-Fi, 3.0"),
        (pa.array([[1.0, 2.5, float("nan")]]), "1, 2.5"),
        (pa.array([[1, 2]], pa.list_(pa.int32(), 2)), "1, 2"),
        (pa.array([[["a"], ["b"]]]), '["a"], ["b"]'),
        (pa.array([{"name": 'é"', "n": None}]), '{"name":"é\\"","n":null}'),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), '{"k":1}'),
        (pa.array(["a"]).dictionary_encode(), "a"),
        (pa.array(["a"], pa.large_string()), "a"),
        (pa.array(["é".encode()]), "é"),
    ],
)
def test_how_values_become_text(parquet: Write, column: pa.Array, text: str) -> None:
    assert Read(parquet(pid=[1], title=column)).texts == [text]


@pytest.mark.parametrize(
    "column",
    [pa.array([float("nan")]), pa.array([[]], pa.list_(pa.string())), pa.nulls(1)],
)
def test_values_that_count_as_empty(parquet: Write, column: pa.Array) -> None:
    assert "the text is empty" in refused(parquet(pid=[1], title=column))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1999.0", "1999"),
        ("0.50", "0.5"),
        ("true", "true"),
        ('"2012-01-01"', "2012-01-01"),
        ('["a", 2.0, null, " "]', "a, 2"),
        ('{"name": "x"}', '{"name":"x"}'),
        ('"\\u00e9\\n{title}"', "é\n{title}"),
    ],
)
def test_how_json_values_become_text(text_file: Write, value: str, text: str) -> None:
    path = text_file("catalog.jsonl", f'{{"pid": 1, "title": {value}}}\n')
    assert Read(path).texts == [text]


def test_a_column_may_be_used_twice_and_the_id_too(parquet: Write) -> None:
    path = parquet(pid=[7], title=["a"])
    assert Read(path, "{title}{title} {pid}").texts == ["aa 7"]


def test_the_table_has_the_schema_and_its_text_hash(parquet: Write) -> None:
    read = Read(parquet(pid=[1], title=["日本語"]))
    assert read.table.schema.equals(schema.item_texts("int"))
    assert read.table["text_hash"].to_pylist() == [text_hash("日本語")]


# The id of an item


@pytest.mark.parametrize(
    ("ids", "pid_type", "expected"),
    [
        (pa.array([3, 1, 2]), "int", [1, 2, 3]),
        (pa.array([3, 1], pa.int8()), "int", [1, 3]),
        (pa.array([3.0, 1.0]), "int", [1, 3]),
        (pa.array([decimal.Decimal("3.00"), decimal.Decimal("1.00")]), "int", [1, 3]),
        (pa.array(["10", "9", "-1"]), "int", [-1, 9, 10]),
        (pa.array(["10", "09"]), "string", ["09", "10"]),
        (pa.array(["10", " 9"]), "string", [" 9", "10"]),
        (pa.array(["10", "9.0"]), "string", ["10", "9.0"]),
        (pa.array(["10", "x"]), "string", ["10", "x"]),
        (pa.array(["1", str(2**63)]), "string", ["1", str(2**63)]),
        (pa.array([1, 2**64 - 1], pa.uint64()), "string", ["1", str(2**64 - 1)]),
    ],
)
def test_ids_are_integers_if_all_are(
    parquet: Write, ids: pa.Array, pid_type: str, expected: list[Any]
) -> None:
    read = Read(parquet(pid=ids, title=["t"] * len(ids)))
    assert read.read.pid_type == pid_type
    assert read.pids == expected


@pytest.mark.parametrize("name", ["catalog.csv", "catalog.tsv"])
def test_csv_keeps_leading_zeros(text_file: Write, name: str) -> None:
    delimiter = "\t" if name.endswith("tsv") else ","
    read = Read(text_file(name, f"pid{delimiter}title\n007{delimiter}a\n8{delimiter}b\n"))
    assert read.pids == ["007", "8"]
    assert read.read.pid_column.stored == "untyped"


def test_csv_ids_are_integers_if_all_are(text_file: Write) -> None:
    assert Read(text_file("catalog.csv", "pid,title\n10,a\n9,b\n")).pids == [9, 10]


def test_a_forced_type(parquet: Write, text_file: Write) -> None:
    assert Read(parquet(pid=[10, 9], title=["a", "b"]), pid_type="string").pids == ["10", "9"]
    assert Read(parquet(pid=[10.0], title=["a"]), pid_type="string").pids == ["10"]
    path = text_file("catalog.csv", "pid,title\n007,a\n6.0,b\n")
    assert Read(path, pid_type="int").pids == [6, 7]


def test_string_ids_sort_by_their_bytes(parquet: Write) -> None:
    ids = ["b", "B", "a", "ä", "z", "\uffff", "😀", "a\x00", "a\x00b", "A b", "aa", "Z"]
    read = Read(parquet(pid=ids, title=ids))
    assert read.pids == sorted(ids, key=str.encode)


def test_how_the_catalog_stores_ids_is_reported(parquet: Write) -> None:
    path = parquet(asin=["9", "8", "7", "6", "5", "4"], title=["t"] * 6)
    read = Read(path, pid_column="asin")
    column = read.read.pid_column
    assert (column.source, column.column, column.stored) == (path, "asin", "text")
    assert (column.rows, column.first_ids) == (6, ("9", "8", "7", "6", "5"))
    assert read.read.pid_type == "int"


def test_files_that_store_ids_in_two_ways_are_refused(parquet: Write, tmp_path: Path) -> None:
    parquet("a.parquet", pid=[1], title=["a"])
    parquet("b.parquet", pid=["2"], title=["b"])
    message = refused(tmp_path)
    assert "a.parquet" in message
    assert "b.parquet" in message
    assert "SID_PID_TYPE=string" in message
    assert Read(tmp_path, pid_type="string").pids == ["1", "2"]


def test_json_ids_of_two_types_are_refused(text_file: Write) -> None:
    path = text_file("catalog.jsonl", '{"pid": 1, "title": "a"}\n{"pid": "2", "title": "b"}\n')
    assert "SID_PID_TYPE=int" in refused(path)
    assert Read(path, pid_type="int").pids == [1, 2]


# Several files, and files on other file systems


def test_files_may_order_and_store_their_columns_differently(
    parquet: Write, tmp_path: Path
) -> None:
    parquet("a.parquet", pid=[1], title=["a"], other=[1])
    parquet("b.parquet", title=[2.0], pid=pa.array([2], pa.int32()))
    assert Read(tmp_path).text_of == {1: "a", 2: "2"}


def test_csv_files_may_order_their_columns_differently(text_file: Write, tmp_path: Path) -> None:
    text_file("a.csv", "\ufeffpid,title\n1,a\n\n")
    text_file("b.csv", 'extra,"title",pid\nx,"b ""q"",\n{c}",2\n')
    assert Read(tmp_path).text_of == {1: "a", 2: 'b "q",\n{c}'}


def test_file_names_with_wildcards(parquet: Write, tmp_path: Path) -> None:
    parquet("a[1]*?.parquet", pid=[1], title=["a"])
    parquet("a1.parquet", pid=[2], title=["b"])
    assert Read(tmp_path).pids == [1, 2]
    assert Read(tmp_path / "a[1]*?.parquet").pids == [1]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"pid,title\n1,a\n"),
        ("a.csv.gz", gzip.compress(b"pid,title\n1,a\n", mtime=0)),
        ("a.jsonl", b'{"pid": 1, "title": "a"}\n'),
        ("a.jsonl.gz", gzip.compress(b'{"pid": 1, "title": "a"}\n', mtime=0)),
    ],
)
def test_text_files_on_other_file_systems(name: str, data: bytes) -> None:
    fsspec.filesystem("memory").pipe(f"/elsewhere-{name}/{name}", data)
    assert Read(f"memory://elsewhere-{name}").text_of == {1: "a"}


def test_parquet_on_other_file_systems(parquet: Write) -> None:
    data = Path(parquet(pid=[1, 1], title=["a", "b"])).read_bytes()
    fsspec.filesystem("memory").pipe("/elsewhere/a[1].parquet", data)
    assert "memory:///elsewhere/a[1].parquet: column 'pid'" in refused("memory://elsewhere")
    fsspec.filesystem("memory").pipe("/elsewhere/a[1].parquet", data[:-20])
    assert "memory:///elsewhere/a[1].parquet: not a readable" in refused("memory://elsewhere")


def test_the_fingerprint_is_that_of_the_files(parquet: Write) -> None:
    path = parquet(pid=[1], title=["a"])
    first = Read(path).read.fingerprint
    assert Read(path).read.fingerprint == first
    parquet(pid=[1], title=["bbbb"])
    os.utime(path, ns=(0, 0))
    assert Read(path).read.fingerprint != first


# Bad input


def test_no_such_file(tmp_path: Path) -> None:
    assert f"{tmp_path}/none.csv: no such file" in refused(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", ""),
        ("a.csv", "pid,title\n"),
        ("a.jsonl", ""),
        ("a.json", "[]"),
    ],
)
def test_no_rows(text_file: Write, name: str, content: str) -> None:
    path = text_file(name, content)
    assert f"{path}: no rows" in refused(path)


def test_no_rows_of_parquet(parquet: Write) -> None:
    path = parquet(pid=pa.array([], pa.int64()), title=pa.array([], pa.string()))
    assert f"{path}: no rows" in refused(path)


def test_a_truncated_or_damaged_parquet_file(parquet: Write, tmp_path: Path) -> None:
    path = Path(parquet(pid=list(range(9999)), title=[f"title {i * 7919}" for i in range(9999)]))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert f"{path}: not a readable parquet file" in refused(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 500] = bytes(range(250)) * 2
    path.write_bytes(bytes(damaged))
    assert f"{path}: cannot be read as parquet" in refused(path)


@pytest.mark.parametrize(
    ("template", "pid_column", "missing"),
    [
        ("{title}\n{nope}", "pid", "'nope'"),
        ("{title}", "asin", "'asin'"),
        ("{Title}", "id", "'id', 'Title'"),
    ],
)
def test_a_missing_column(
    parquet: Write, text_file: Write, template: str, pid_column: str, missing: str
) -> None:
    paths = [
        parquet(pid=[1], title=["a"], brand=["b"]),
        text_file("a.csv", "pid,title,brand\n1,a,b\n"),
        text_file("a.jsonl", '{"pid": 1}\n{"title": "a", "brand": "b"}\n'),
    ]
    for path in paths:
        message = refused(path, template, pid_column=pid_column)
        assert f"{path}: no column {missing}. Its columns: " in message
        assert set(re.split(r"\W+", message.split("Its columns: ")[1])) >= {"pid", "title", "brand"}


def test_the_file_that_lacks_a_column_is_named(parquet: Write, tmp_path: Path) -> None:
    parquet("a.parquet", pid=[1], title=["a"])
    path = parquet("b.parquet", pid=[1], name=["a"])
    assert f"{path}: no column 'title'. Its columns: pid, name." in refused(tmp_path)


def test_columns_that_differ_only_in_case(parquet: Write) -> None:
    path = parquet(pid=[1], title=["a"], Title=["b"])
    assert "several columns are called 'title'" in refused(path)


def test_null_and_blank_ids(parquet: Write) -> None:
    path = parquet(pid=pa.array([1, None, 2, None]), title=list("abcd"))
    assert f"{path}: column 'pid': the id is null or blank (2 rows)." in refused(path)
    path = parquet(pid=["a", " ", ""], title=list("abc"))
    assert "the id is null or blank (2 rows). First ids: ' ', ''." in refused(path)


def test_ids_that_are_not_integers(parquet: Write) -> None:
    ids = ["1", "a", "b", "c", "d", "e", "f", str(2**63)]
    message = refused(parquet(pid=ids, title=ids), pid_type="int")
    assert "column 'pid': the id is not an integer of 64 bits (7 rows)." in message
    assert "First ids: 'a', 'b', 'c', 'd', 'e'. Set SID_PID_TYPE=string" in message


def test_float_ids_that_are_not_whole(parquet: Write) -> None:
    path = parquet(pid=[1.0, 2.5, 2.0**53 + 2], title=list("abc"))
    message = refused(path)
    assert (
        "the id is not a whole number (2 rows). First ids: '2.5', '9007199254740994.0'" in message
    )


def test_ids_of_other_types(parquet: Write, text_file: Write) -> None:
    path = parquet(pid=[True], title=["a"])
    assert f"{path}: column 'pid' holds bool; ids are integers or text" in refused(path)
    path = text_file("a.jsonl", '{"pid": [1], "title": "a"}\n{"pid": true, "title": "a"}\n')
    assert "the id is neither a number nor text (2 rows)" in refused(path)


def test_the_same_id_with_different_texts(parquet: Write, tmp_path: Path) -> None:
    a = parquet("a.parquet", pid=[5, 6, 7, 7], title=["x", "y", "same", "same"])
    b = parquet("b.parquet", pid=[5, 6], title=["z", "w"])
    message = refused(tmp_path)
    assert f"{a}, {b}: column 'pid': the same id has different texts (4 rows)." in message
    assert "First ids: 5, 6. Keep one row for each item." in message


def test_identical_rows_collapse_with_a_warning(parquet: Write) -> None:
    read = Read(parquet(pid=[5, 6, 5, 5], title=["x", "y", "x", "x"], other=[1, 2, 3, 4]))
    assert read.text_of == {5: "x", 6: "y"}
    assert read.read.counts.collapsed == 2
    assert any("identical rows collapsed (2 skipped)" in text for text in read.read.warnings)


def test_empty_texts(parquet: Write) -> None:
    path = parquet(pid=[1, 2, 3], title=["a", None, " \n"], brand=[None, "\u3000", ""])
    message = refused(path, "Product\n" + TEMPLATE)
    assert f"{path}: column 'title, brand': the text is empty (2 rows). First ids: 2, 3." in message


def test_all_problems_are_reported_at_once(parquet: Write) -> None:
    path = parquet(pid=pa.array([None, 1, 2, 2]), title=["a", None, "b", "c"])
    message = refused(path)
    for problem in ("the id is null", "the text is empty", "different texts", "on_bad_rows: drop"):
        assert problem in message


def test_bad_rows_are_dropped_on_request(parquet: Write, tmp_path: Path) -> None:
    a = parquet("a.parquet", pid=["1", None, "2", "x"], title=["a", "b", " ", "c"])
    b = parquet("b.parquet", pid=["3", "4", "3", "5"], title=["d", "e", "f", "g"])
    read = Read(tmp_path, pid_type="int", on_bad_rows="drop")
    assert read.text_of == {1: "a", 4: "e", 5: "g"}
    assert read.rejected is not None
    assert read.rejected.schema.equals(schema.ITEM_TEXTS_REJECTED)
    rejected = sorted(read.rejected.to_pylist(), key=lambda row: (row["file"], row["text"] or ""))
    assert rejected == [
        {"pid": "2", "text": None, "reason": "the text is empty", "file": a},
        {"pid": None, "text": "b", "reason": "the id is null or blank", "file": a},
        {"pid": "x", "text": "c", "reason": "the id is not an integer of 64 bits", "file": a},
        {"pid": "3", "text": "d", "reason": "the same id has different texts", "file": b},
        {"pid": "3", "text": "f", "reason": "the same id has different texts", "file": b},
    ]
    counts = read.read.counts
    assert (counts.read, counts.items, counts.collapsed) == (8, 3, 0)
    assert sum(counts.rejected.values()) == 5
    assert counts.metadata()["rows_rejected"] == 5
    assert len(read.read.warnings) == 4


def test_no_rows_are_left(parquet: Write) -> None:
    path = parquet(pid=[1], title=[None])
    assert f"{path}: no rows are left" in refused(path, on_bad_rows="drop")


def test_good_rows_give_no_warnings(parquet: Write) -> None:
    read = Read(parquet(pid=[1, 2], title=["a", "b"]))
    assert read.rejected is None
    assert read.read.warnings == ()
    assert (read.read.counts.read, read.read.counts.items) == (2, 2)


def test_id_zero_gives_a_warning(parquet: Write) -> None:
    [warning] = Read(parquet(pid=[0, 1], title=["a", "b"])).read.warnings
    assert "id 0" in warning
    assert Read(parquet(pid=["0", "x"], title=["a", "b"])).read.warnings == ()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "pid,title\n1,a\n2\n", "line 3 is malformed: 1 values, but the header has 2"),
        ("a.csv", 'pid,title\n1,"a\n"\n2,b,c\n', "line 4 is malformed: 3 values"),
        ("a.csv", 'pid,title\n1,a\n2,"b\n3,c\n', "line 3 is malformed: unexpected end of data"),
        ("a.csv", 'pid,title\n1,"a" b\n', "line 2 is malformed"),
        ("a.csv", b"pid,title\n1,caf\xe9\n", "not UTF-8"),
        ("a.csv.gz", CUT_GZIP, "cannot be read beyond line"),
        ("a.csv.gz", b"pid,title\n1,a\n", "cannot be read beyond line 0"),
        ("a.jsonl", '{"pid": 1, "title": "a"}\n{"pid": 2\n{"pid": 3}\n', "line 3"),
        ("a.jsonl", b'{"pid": 1, "title": "caf\xe9"}\n', "UTF-8"),
        ("a.jsonl", '{"pid": 1, "title": "a"}\n["x"]\n', "line 2"),
        ("a.jsonl.gz", gzip.compress(b'{"pid": 1, "title": "a"}\n', mtime=0)[:-9], "GZIP"),
    ],
)
def test_malformed_text_files(
    text_file: Write, name: str, content: str | bytes, problem: str
) -> None:
    path = text_file(name, content)
    message = refused(path)
    assert path in message
    assert problem in message


def test_text_that_is_not_utf8_in_parquet(parquet: Write) -> None:
    offsets = pa.array([0, 2, 3], pa.int32()).buffers()[1]
    title = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"\xff\xfea"))
    path = parquet(pid=[1, 2], title=title)
    assert f"{path}: cannot be read as parquet" in refused(path)


def test_a_catalog_that_changes_while_it_is_read(
    parquet: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(pid=[1], title=["a"])
    from sid_assets.core.catalog import (
        item_texts as texts,  # the module that sees the changed files
    )

    find = texts.find_table_files

    def find_and_touch(setting: str) -> Any:
        found = find(setting)
        os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr(texts, "find_table_files", find_and_touch)
    assert f"{path}: changed while it was read" in refused(path)


# A real catalog


@pytest.mark.skipif("SID_TEST_DATA" not in os.environ, reason="SID_TEST_DATA names no folder")
def test_the_office_catalog() -> None:
    path = Path(os.environ["SID_TEST_DATA"]) / "amazon_office" / "catalog.parquet"
    rows = pq.read_table(path).to_pylist()
    template = "Title: {title}\nBrand: {brand}\nDescription: {description}"
    read = Read(path, template)
    assert read.pids == sorted(row["pid"] for row in rows)
    assert read.text_of == {row["pid"]: expected_text(template, row) for row in rows}


# Size


READ_AND_TELL_PEAK = """
import sys
from pathlib import Path
from sid_assets.core.catalog.item_texts import CatalogSource, read_item_texts

source = CatalogSource(sys.argv[1], "{title}")
seen = 0
for batch in read_item_texts(source, scratch_dir=sys.argv[2], memory_mb=128).reader:
    assert batch.num_rows <= 8192
    assert batch["pid"].to_pylist() == list(range(seen, seen + batch.num_rows))
    seen += batch.num_rows
# ru_maxrss would include the memory of the parent when it started this process.
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(seen, int(status["VmHWM"].split()[0]) / 1024)
"""


def peak_mb(folder: Path, rows: int) -> float:
    """Peak memory of a process that reads a catalog with rows of 5 kB."""
    folder.mkdir()
    letters = "".join(chr(97 + (i * i) % 26) for i in range(10_000))
    columns = pa.schema([("pid", pa.int64()), ("title", pa.string())])
    with pq.ParquetWriter(folder / "catalog.parquet", columns) as writer:
        for start in range(0, rows, 4_000):
            pids = [(7919 * i) % rows for i in range(start, start + 4_000)]
            titles = [f"{pid} {letters[pid % 5000 : pid % 5000 + 5000]}" for pid in pids]
            writer.write_table(pa.table({"pid": pids, "title": titles}, columns))
    scratch = folder / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_TELL_PEAK, str(folder / "catalog.parquet"), str(scratch)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seen, peak = done.stdout.split()
    assert int(seen) == rows
    return float(peak)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak memory is read from /proc")
def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    """200 MB more of text, in rows too wide for DuckDB to sort in this memory."""
    small, large = peak_mb(tmp_path / "small", 20_000), peak_mb(tmp_path / "large", 60_000)
    assert large - small < 100
