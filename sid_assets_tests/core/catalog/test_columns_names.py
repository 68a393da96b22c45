"""Columns whose names hold dots, colons, quotes or braces, as json_normalize writes them."""

import csv
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets_tests.core.catalog.read_catalogs import Read, Write, refused

NAMES = [
    *("meta.brand", "dc:title", "title!r", "title:>10", "title[0]", "title.__class__", "pid.x"),
    *("a b", 'a"b', "a'b", "a,b", "*", "x.*", "$1", "?", "select", "rowid", "c0", "filename"),
    *("size {cm}", "{", "}", "back\\slash", "new\\name", "日本", "0"),
]


def template() -> str:
    """One line for each of the names."""
    escaped = (re.sub(r"([{}\\])", r"\\\1", name) for name in NAMES)
    return "\n".join(f"{number}: {{{name}}}" for number, name in enumerate(escaped))


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "json"])
def test_every_name_finds_its_own_column(kind: str, tmp_path: Path) -> None:
    row = {"pid": 1} | {name: f"value {number}" for number, name in enumerate(NAMES)}
    path = tmp_path / f"items.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({name: [value] for name, value in row.items()}), path)
    elif kind == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([row.keys(), row.values()])
    else:
        path.write_text(json.dumps(row if kind == "jsonl" else [row]), encoding="utf-8")
    (text,) = Read(path, template()).texts
    assert text == "\n".join(f"{number}: value {number}" for number in range(len(NAMES)))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("title!r", "title"),
        ("title:>10", "title"),
        ("title.__class__", "title"),
        ("Title", "title"),
        ("meta.brnd", "meta.brand"),
        ("meta.brand.name", "meta.brand"),
    ],
)
def test_a_missing_column_comes_with_the_nearest_name(
    name: str, meant: str, parquet: Write
) -> None:
    path = parquet(pid=[1], title=["a"], **{"meta.brand": ["b"]})
    message = refused(path, f"x {{{name}}}")
    assert f"no column {name!r}. Its columns: pid, title, meta.brand. " in message
    assert f"Did you mean {meant!r}? " in message


def test_without_a_similar_name_the_columns_are_listed(parquet: Write) -> None:
    message = refused(parquet(pid=[1], title=["a"]), "{xyz}")
    assert "no column 'xyz'. Its columns: pid, title. SID_PID_COLUMN" in message
