"""The type of published ids does not change because of a few rows."""

from typing import Any

import pyarrow as pa
import pytest

from sid_assets_tests.core.catalog.read_catalogs import Read, Write, refused


def catalog(text_file: Write, *ids: str) -> str:
    """A CSV file of 300 integers and these ids."""
    rows = (f"{pid},item {pid}\n" for pid in [*range(1, 301), *ids])
    return text_file("items.csv", "pid,title\n" + "".join(rows))


def test_text_ids_among_published_integers_are_named_with_the_setting(text_file: Write) -> None:
    path = catalog(text_file, "SKU-1", "007", str(2**63), "x", "y", "z")
    message = refused(path, published="int")
    assert message.startswith(f"{path}: column 'pid': these ids are not 64-bit integers")
    assert f"(6 rows). First ids: 'SKU-1', '007', '{2**63}', 'x', 'y'. " in message
    assert "set SID_PID_TYPE=int with on_bad_rows: drop" in message
    assert "set SID_PID_TYPE=string and another SID_DATA_DIR" in message


def test_the_remedies_work(text_file: Write) -> None:
    path = catalog(text_file, "SKU-1")
    kept = Read(path, published="int", pid_type="int", on_bad_rows="drop")
    assert kept.pids == list(range(1, 301))
    as_text = Read(path, published="int", pid_type="string")
    assert as_text.table["pid"].type == pa.string()


def test_integers_where_text_is_published_are_told_too(text_file: Write) -> None:
    message = refused(catalog(text_file), published="string")
    assert "all ids are integers" in message
    assert "To keep vectors and SIDs, set SID_PID_TYPE=string." in message
    assert Read(catalog(text_file), published="string", pid_type="string").pids[:2] == ["1", "10"]


@pytest.mark.parametrize(
    ("ids", "published"), [((), "int"), (("SKU-1",), "string"), ((), None), (("x",), None)]
)
def test_the_published_type_and_a_first_run_are_accepted(
    ids: tuple[str, ...], published: Any, text_file: Write
) -> None:
    assert len(Read(catalog(text_file, *ids), published=published).pids) == 300 + len(ids)


def test_parquet_and_json_are_judged_alike(parquet: Write, text_file: Write) -> None:
    lines = text_file("a.jsonl", '{"pid": "1", "title": "a"}\n{"pid": "S", "title": "b"}\n')
    for path in (parquet(pid=["1", "S"], title=["a", "b"]), lines):
        assert "(1 row). First ids: 'S'" in refused(path, published="int")


def test_a_few_text_ids_among_integers_give_a_warning(text_file: Write) -> None:
    (warning,) = Read(catalog(text_file, "SKU-1", "007")).read.warnings
    assert "all ids are read as text, because 2 of 302 are not 64-bit integers" in warning
    assert "First ids: 'SKU-1', '007'. " in warning
    assert "SID_PID_TYPE=string" in warning
    for read in (
        Read(catalog(text_file, "SKU-1"), pid_type="string"),
        Read(catalog(text_file, *"abcdefgh")),
        Read(catalog(text_file)),
    ):
        assert read.read.warnings == ()


@pytest.mark.parametrize(("ids", "reason"), [([], "no rows"), ([None, " "], "null or blank")])
def test_a_catalog_without_ids_is_refused_for_that(
    ids: list[Any], reason: str, parquet: Write
) -> None:
    path = parquet(pid=pa.array(ids, pa.string()), title=pa.array(["a"] * len(ids), pa.string()))
    message = refused(path, published="int")
    assert reason in message
    assert "SID_PID_TYPE" not in message
