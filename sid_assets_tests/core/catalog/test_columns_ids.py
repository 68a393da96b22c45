"""Ids of a catalog in the types that databases and other programs write."""

import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.inputs.encodings import plain_batch
from sid_assets_tests.core.catalog.read_catalogs import Read, Write, refused

UUIDS = [uuid.UUID(int=number << 96) for number in (1, 2, 0x7ED4BFFC)]
BYTES = [one.bytes for one in UUIDS]
TEXTS = ["a", "é", "日"]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array(BYTES, pa.uuid()), list(map(str, UUIDS))),
        (pa.array(BYTES, pa.binary(16)), list(map(str, UUIDS))),
        (pa.array([text.encode() for text in TEXTS]), TEXTS),
        (pa.array([text.encode() for text in TEXTS], pa.binary_view()), TEXTS),
        (pa.array([b"001", b"002", b"003"], pa.binary(3)), ["001", "002", "003"]),
        (pa.array([b"1", b"2", b"3"]), [1, 2, 3]),
        (pa.array(map(Decimal, (1, 2, 3)), pa.decimal128(38, 0)), [1, 2, 3]),
        (pa.array(map(Decimal, (1, 2, 3)), pa.decimal128(12, 4)), [1, 2, 3]),
        (pa.array([1, 2, 2**63 - 1], pa.uint64()), [1, 2, 2**63 - 1]),
    ],
)
@pytest.mark.parametrize("with_arrow_types", [True, False])
def test_ids_are_the_same_text_as_in_the_other_inputs(
    ids: pa.Array, expected: list[Any], with_arrow_types: bool, tmp_path: Path
) -> None:
    """DuckDB reads the catalog, pyarrow the vectors, interactions and captions."""
    texts = [text.encode() for text in TEXTS]
    table = pa.table({"pid": ids, "title": texts, "tags": [[text, None] for text in texts]})
    path = tmp_path / "items.parquet"
    pq.write_table(table, path, store_schema=with_arrow_types)
    read = Read(path, "{title} {tags}")
    assert read.pids == expected
    assert read.texts == [f"{text} {text}" for text in TEXTS]
    (batch,) = pq.ParquetFile(path).iter_batches(columns=["pid"])
    elsewhere = plain_batch(batch, "")["pid"].to_pylist()
    assert [type(expected[0])(pid) for pid in elsewhere] == expected


def test_uuids_as_duckdb_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE items (pid UUID, title VARCHAR)")
        connection.executemany("INSERT INTO items VALUES ($1, 'a')", [[one] for one in UUIDS])
        connection.table("items").write_parquet(str(path))
    assert Read(path).pids == list(map(str, UUIDS))
    assert Read(path, "{pid}").texts == list(map(str, UUIDS))


def test_ids_of_bytes_that_are_not_text_are_refused(parquet: Write) -> None:
    path = parquet(pid=pa.array([b"a", b"\xff"]), title=["a", "b"])
    assert path in refused(path)
