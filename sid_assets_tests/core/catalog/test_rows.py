"""The ids of catalog rows, and which rows are rejected."""

import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sid_assets.core import schema
from sid_assets_tests.core.catalog.read_catalogs import Read, Write, refused


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


@pytest.mark.parametrize(
    "pid", ["9007199254740993.0", "123456789012345678.0", "1.2345678901234568e+18", "-1e16"]
)
def test_float_ids_beyond_2_to_the_53rd_are_refused_in_json_as_in_parquet(
    parquet: Write, text_file: Write, pid: str
) -> None:
    path = text_file("a.jsonl", f'{{"pid": 1, "title": "a"}}\n{{"pid": {pid}, "title": "b"}}\n')
    assert "the id is not a whole number (1 row)" in refused(path)
    if float(pid) > 2**53:
        assert "the id is not a whole number (1 row)" in refused(
            parquet(pid=[1.0, float(pid)], title=["a", "b"])
        )


def test_json_ids_that_are_exact_are_kept(text_file: Write) -> None:
    ids = ["9007199254740993", "-9007199254740993", "123456789012345678", "7.0", "1e2"]
    content = "".join(f'{{"pid": {pid}, "title": "a"}}\n' for pid in ids)
    expected = [-9007199254740993, 7, 100, 9007199254740993, 123456789012345678]
    assert Read(text_file("a.jsonl", content)).pids == expected


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("pid", ["9007199254740993.0", "1.2345678901234568e+18", "1.2E+12"])
def test_float_ids_in_text_files_are_refused_unless_ids_are_strings(
    text_file: Write, name: str, pid: str
) -> None:
    content = f"pid,title\n1,a\n{pid},b\n".replace(",", "\t" if name == "a.tsv" else ",")
    path = text_file(name, content)
    for pid_type in ("auto", "int"):
        message = refused(path, pid_type=pid_type)
        assert "the id is written as a float, which may have lost digits (1 row)" in message
        assert f"First ids: '{pid}'." in message
        assert "SID_PID_TYPE=string" in message
    assert sorted(Read(path, pid_type="string").pids) == sorted(["1", pid])


def test_words_that_may_stand_for_null_are_counted(parquet: Write) -> None:
    path = parquet(pid=["1", "2", "nan"], title=["NULL", "Null", "NULL"], b=["nan", "None", "x"])
    read = Read(path, "{title}\n{b}")
    assert read.text_of == {"1": "NULL\nnan", "2": "Null\nNone", "nan": "NULL\nx"}
    said = "values that are read as text, but may stand for null:"
    remedy = "If so, write null or an empty value instead."
    assert read.read.warnings == (
        f"{path}: column 'pid': {said} 'nan' (1). {remedy}",
        f"{path}: column 'title': {said} 'NULL' (2). {remedy}",
        f"{path}: column 'b': {said} 'None' (1), 'nan' (1). {remedy}",
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
