"""From catalog rows to item texts: the rules of templates, and all rows of a real catalog."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core import schema
from sid_assets.core.arrow.hashes import text_hash
from sid_assets_tests.core.catalog.read_catalogs import Read, Write, expected_text, refused, values

TEMPLATE = "Title: {title}\nBrand: {brand}"
literals = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="{}\n\r\x00"), max_size=6
)
pieces = st.sampled_from(["{title}", "{brand}", "{ü x}", "{{", "}}"]) | literals
templates = st.lists(st.lists(pieces, max_size=4).map("".join), min_size=1, max_size=4).map(
    lambda lines: "\n".join(["{title}", *lines, "end {brand}"])
)
rows = st.lists(st.fixed_dictionaries(dict.fromkeys(("title", "brand", "ü x"), values)), min_size=1)


@settings(max_examples=15, deadline=None)
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


def test_a_column_may_be_used_twice_and_the_id_too(parquet: Write) -> None:
    path = parquet(pid=[7], title=["a"])
    assert Read(path, "{title}{title} {pid}").texts == ["aa 7"]


def test_the_table_has_the_schema_and_its_text_hash(parquet: Write) -> None:
    read = Read(parquet(pid=[1], title=["日本語"]))
    assert read.table.schema.equals(schema.item_texts("int"))
    assert read.table["text_hash"].to_pylist() == [text_hash("日本語")]


def test_the_fingerprint_is_that_of_the_files(parquet: Write) -> None:
    path = parquet(pid=[1], title=["a"])
    first = Read(path).read.fingerprint
    assert Read(path).read.fingerprint == first
    parquet(pid=[1], title=["bbbb"])
    os.utime(path, ns=(0, 0))
    assert Read(path).read.fingerprint != first


def test_no_such_file(tmp_path: Path) -> None:
    assert f"{tmp_path}/none.csv: no such file" in refused(tmp_path / "none.csv")


def test_empty_texts(parquet: Write) -> None:
    path = parquet(pid=[1, 2, 3], title=["a", None, " \n"], brand=[None, "\u3000", ""])
    message = refused(path, "Product\n" + TEMPLATE)
    assert f"{path}: column 'title, brand': the text is empty (2 rows). First ids: 2, 3." in message


def test_all_problems_are_reported_at_once(parquet: Write) -> None:
    path = parquet(pid=pa.array([None, 1, 2, 2]), title=["a", None, "b", "c"])
    message = refused(path)
    for problem in ("the id is null", "the text is empty", "different texts", "on_bad_rows: drop"):
        assert problem in message


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


@pytest.mark.skipif("SID_TEST_DATA" not in os.environ, reason="SID_TEST_DATA names no folder")
def test_the_office_catalog() -> None:
    path = Path(os.environ["SID_TEST_DATA"]) / "amazon_office" / "catalog.parquet"
    rows = pq.read_table(path).to_pylist()
    template = "Title: {title}\nBrand: {brand}\nDescription: {description}"
    read = Read(path, template)
    assert read.pids == sorted(row["pid"] for row in rows)
    assert read.text_of == {row["pid"]: expected_text(template, row) for row in rows}


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
