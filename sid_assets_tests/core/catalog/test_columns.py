"""Columns of every format and type as text, and files that cannot be read."""

import csv
import datetime
import decimal
import gzip
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets_tests.core.catalog.read_catalogs import Read, Write, expected_text, refused, values


@settings(max_examples=10, deadline=None)
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
        (pa.array([{"name": 'é"', "n": None}]), '{"name":"é\\""}'),
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


FILES: dict[str, Callable[[list[dict[str, Any]]], str | bytes]] = {
    "csv": lambda rows: pa_csv(rows),
    "jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows),
    "jsonl.gz": lambda rows: gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()),
    "parquet": lambda rows: pa_parquet(rows),
}


def pa_csv(rows: list[dict[str, Any]]) -> str:
    return "".join(
        ",".join(map(str, line)) + "\n" for line in [rows[0], *(r.values() for r in rows)]
    )


def pa_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("ending", FILES)
def test_a_column_that_one_file_lacks_is_null_there_with_a_warning(
    text_file: Write, tmp_path: Path, ending: str
) -> None:
    write = FILES[ending]
    text_file(f"a.{ending}", write([{"pid": 1, "title": "a", "brand": "x"}]))
    path = text_file(f"b.{ending}", write([{"pid": 2, "title": "b"}]))
    read = Read(tmp_path, "{title}\n{brand}")
    assert read.text_of == {1: "a\nx", 2: "b"}
    assert read.read.warnings == (
        f"{path}: no column 'brand'. It is null there, since other files have it.",
    )


@pytest.mark.parametrize("ending", FILES)
def test_a_file_without_ids_is_an_error_that_names_it(
    text_file: Write, tmp_path: Path, ending: str
) -> None:
    write = FILES[ending]
    text_file(f"a.{ending}", write([{"pid": 1, "title": "a"}]))
    path = text_file(f"b.{ending}", write([{"id": 2, "title": "b"}]))
    assert f"{path}: no column 'pid'. Its columns: " in refused(tmp_path)


def test_files_without_rows_decide_nothing(parquet: Write, tmp_path: Path) -> None:
    parquet("a.parquet", pid=[1], title=["a"], brand=["x"])
    parquet("b.parquet", pid=pa.nulls(0), other=pa.array([], pa.bool_()))
    parquet("c.parquet", pid=pa.array([], pa.bool_()), title=pa.nulls(0))
    read = Read(tmp_path, "{title}\n{brand}")
    assert (read.text_of, read.read.warnings) == ({1: "a\nx"}, ())
    assert read.read.pid_column.stored == "int"


def test_text_files_without_rows_decide_nothing(text_file: Write, tmp_path: Path) -> None:
    for folder, ending in (("c", "csv"), ("j", "jsonl")):
        (tmp_path / folder).mkdir()
        text_file(f"{folder}/a.{ending}", FILES[ending]([{"pid": 1, "title": "a"}]))
        text_file(f"{folder}/b.{ending}", "")
        assert Read(tmp_path / folder).text_of == {1: "a"}
    text_file("c/d.csv", "id,name\n")
    read = Read(tmp_path / "c")
    assert (read.text_of, read.read.warnings) == ({1: "a"}, ())


def test_harmless_types_are_unified(parquet: Write, tmp_path: Path) -> None:
    parquet("a.parquet", pid=pa.array([1], pa.int32()), title=pa.array(["a"], pa.large_string()))
    parquet("b.parquet", pid=[2.0], title=pa.array(["b"]).dictionary_encode(), n=[1])
    parquet("c.parquet", pid=pa.array([3], pa.uint64()), title=pa.nulls(1), n=[1.5])
    assert Read(tmp_path, "{title}\n{n}").text_of == {1: "a", 2: "b\n1", 3: "1.5"}


@pytest.mark.parametrize("ending", FILES)
def test_columns_in_the_names_of_folders(text_file: Write, tmp_path: Path, ending: str) -> None:
    for pid, folder in enumerate(["category=my%20books", "category=__HIVE_DEFAULT_PARTITION__"]):
        (tmp_path / folder).mkdir()
        rows = [{"pid": pid + 1, "title": f"t{pid}"}]
        text_file(f"{folder}/a.{ending}", FILES[ending](rows))
    read = Read(tmp_path, "{title}\n{category}")
    assert (read.text_of, read.read.warnings) == ({1: "t0\nmy books", 2: "t1"}, ())


@pytest.mark.parametrize("ending", FILES)
def test_ids_in_the_names_of_folders(text_file: Write, tmp_path: Path, ending: str) -> None:
    for pid in (7, 8):
        (tmp_path / f"pid={pid}").mkdir()
        text_file(f"pid={pid}/a.{ending}", FILES[ending]([{"title": f"t{pid}"}]))
    read = Read(tmp_path, "{title} {pid}")
    assert (read.text_of, read.read.pid_column.stored) == ({7: "t7 7", 8: "t8 8"}, "untyped")


def test_the_damaged_file_of_a_folder_is_named(parquet: Write, tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet", "c.parquet"):
        path = Path(parquet(name, pid=range(9999), title=[f"{i * 7919}" for i in range(9999)]))
    path = tmp_path / "b.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 500] = bytes(range(250)) * 2
    path.write_bytes(bytes(damaged))
    assert f"{path}: cannot be read as parquet" in refused(tmp_path)


@pytest.mark.parametrize("content", ["json", "csv"])
@pytest.mark.parametrize("behind", [b"", b"\0" * 600, gzip.compress(b"", mtime=0)])
def test_gzip_with_padding_and_in_several_pieces(
    text_file: Write, content: str, behind: bytes
) -> None:
    lines = {
        "json": [b'{"pid":1,"title":"a"}\n', b'{"pid":2,"title":"b"}\n'],
        "csv": [b"pid,title\n1,a\n", b"2,b\n"],
    }[content]
    path = text_file(f"a.{content}.gz", b"".join(map(gzip.compress, lines)) + behind)
    assert Read(path).text_of == {1: "a", 2: "b"}


def test_columns_that_differ_only_in_case(parquet: Write) -> None:
    path = parquet(pid=[1], title=["a"], Title=["b"])
    assert "several columns are called 'title'" in refused(path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "pid,title\n1,a\n2\n", "line 3 is malformed: 1 values, but the header has 2"),
        ("a.csv", 'pid,title\n1,"a\n"\n2,b,c\n', "line 4 is malformed: 3 values"),
        ("a.csv", 'pid,title\n1,a\n2,"b\n3,c,\n', "line 3 is malformed: unexpected end of data"),
        ("a.csv", 'pid,title\n1,"a" b\n', "line 2 is malformed"),
        ("a.csv", b"pid,title\n1,caf\xe9\n", "not UTF-8"),
        ("a.csv.gz", CUT_GZIP, "cannot be read beyond line"),
        ("a.csv.gz", b"pid,title\n1,a\n", "is not gzip"),
        ("a.jsonl", '{"pid": 1, "title": "a"}\n{"pid": 2\n{"pid": 3}\n', "line 2 is malformed"),
        ("a.jsonl", '{"pid": 1}\n\n\n{"pid": 2\n', "line 4 is malformed"),
        ("a.jsonl", '{"pid": 1}\r\n{"pid": 2,\r\n', "line 2 is malformed"),
        ("a.jsonl", '{"pid": 1\n{"pid": 2}\n', "line 1 is malformed"),
        ("a.json", '[{"pid": 1, "title": "a"},\n{"pid": 2]\n', "cannot be read as json"),
        ("a.jsonl", b'{"pid": 1, "title": "caf\xe9"}\n', "UTF-8"),
        ("a.jsonl", '{"pid": 1, "title": "a"}\n["x"]\n', "line 2"),
        ("a.jsonl.gz", gzip.compress(b'{"pid": 1, "title": "a"}\n', mtime=0)[:-9], "unzipped"),
        ("a.jsonl.gz", gzip.compress(b'{"pid": 1}\n', mtime=0) + b"junk", "cannot be unzipped"),
        ("a.jsonl.gz", gzip.compress(b'{"pid": 1}\n{"pid": 2\n', mtime=0), "line 2 is malformed"),
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
