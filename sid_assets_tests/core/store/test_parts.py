"""Part files appear whole or not at all; a damaged part is reported, never read as if intact."""

import random
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from sid_assets.core import schema
from sid_assets.core.arrow.vectors import vector_array
from sid_assets.core.errors import StoreError
from sid_assets.core.store.parts import (
    Part,
    PartWriter,
    WrittenByAnotherError,
    file_digest,
    read_part,
    rebatched,
    write_parts,
)
from sid_assets.core.store.places import place
from sid_assets_tests.core.drawn_vectors import item_texts, text_table

NUMBERS = pa.schema([pa.field("pid", pa.int64(), nullable=False), ("n", pa.int64())])


def numbers(pids) -> pa.Table:
    return pa.table([list(pids), [10 * pid for pid in pids]], schema=NUMBERS)


def write(path: UPath, *tables: pa.Table, columns: pa.Schema = NUMBERS, exclusive: bool = False):
    with PartWriter(path, columns, exclusive=exclusive) as writer:
        for table in tables:
            writer.write(table)
    return writer.part


@pytest.fixture(params=["local", "memory", "s3"])
def folder(request, tmp_path) -> UPath:
    if request.param == "s3":
        return place(request.getfixturevalue("bucket"))
    folder = place(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_part_matches_its_summary(folder):
    path = folder / "part.parquet"
    part = write(path, numbers([1, 2]), numbers([]), numbers([5]))
    assert (part.name, part.rows, part.first_pid, part.last_pid) == ("part.parquet", 3, 1, 5)
    assert part.bytes == path.stat().st_size
    assert part.digest == file_digest(path)
    assert pa.Table.from_batches(read_part(folder, part)).equals(numbers([1, 2, 5]))
    assert [file.name for file in folder.iterdir()] == ["part.parquet"]


def test_a_block_that_raises_leaves_nothing(folder):
    def fail_midway() -> None:
        with PartWriter(folder / "part.parquet", NUMBERS) as writer:
            writer.write(numbers([1]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_midway()
    assert list(folder.iterdir()) == []


LARGE = pa.schema([pa.field("pid", pa.int64(), nullable=False), ("bytes", pa.binary())])


def large(pid: int) -> pa.Table:
    """A row that is more than the client of a bucket sends at once, and is uploaded in blocks."""
    return pa.table([[pid], [np.random.default_rng(pid).bytes(60 << 20)]], schema=LARGE)


def uploads(bucket: UPath) -> list[Any]:
    """The uploads that were begun and neither completed nor given up; they are paid for."""
    client: Any = bucket.fs
    answer = client.call_s3("list_multipart_uploads", Bucket=bucket.path.rstrip("/"))
    return answer.get("Uploads", [])


def test_a_large_part_that_is_given_up_leaves_no_upload(bucket):
    folder = place(bucket)

    def fail_midway() -> None:
        with PartWriter(folder / "part.parquet", LARGE, "none") as writer:
            writer.write(large(1))
            assert len(uploads(folder)) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_midway()
    assert list(folder.iterdir()) == []
    assert uploads(folder) == []


def test_of_two_writers_of_a_part_that_is_uploaded_in_blocks_the_first_wins(bucket):
    """As of vectors: the condition is that of the last request."""
    folder = place(bucket)
    path = folder / "part.parquet"

    def write_late() -> None:
        with PartWriter(path, LARGE, "none", exclusive=True) as late:
            late.write(large(2))
            with PartWriter(path, LARGE, "none", exclusive=True) as first:
                first.write(large(1))
                assert len(uploads(folder)) == 2
            parts.append(first.part)

    parts: list[Part] = []
    with pytest.raises(WrittenByAnotherError, match=r"part\.parquet: another process has written"):
        write_late()
    assert pa.Table.from_batches(read_part(folder, parts[0])).equals(large(1))
    assert uploads(folder) == []


@pytest.mark.parametrize("where", ["local", "bucket"])
def test_of_two_writers_of_a_part_the_first_wins(request, tmp_path, where):
    """A writer may only have been thought to be dead; others know the first part."""
    folder = place(tmp_path if where == "local" else request.getfixturevalue("bucket"))
    path = folder / "part.parquet"

    def write_late() -> Part:
        with PartWriter(path, NUMBERS, exclusive=True) as late:
            late.write(numbers([2]))
            if not path.exists():
                write(path, numbers([1]), exclusive=True)
        return late.part

    with pytest.raises(WrittenByAnotherError, match=r"part\.parquet: another process has written"):
        write_late()
    assert pa.Table.from_batches(read_part(folder, write(path, numbers([1]), exclusive=True)))
    assert [file.name for file in folder.iterdir()] == ["part.parquet"]


@pytest.mark.parametrize(
    "answer", [OSError(22, "PreconditionFailed"), FileNotFoundError(2, "gone")]
)
def test_a_part_that_is_there_is_written_whatever_the_store_answers(bucket, monkeypatch, answer):
    """Stores refuse a repeated write with different answers; what is at the name decides."""
    path = place(bucket) / "part.parquet"

    def write_and_refuse(pids) -> None:
        with PartWriter(path, NUMBERS, exclusive=True) as writer:
            writer.write(numbers(pids))
            close = writer._sink.close

            def closed() -> None:
                with suppress(FileExistsError):
                    close()
                raise answer

            monkeypatch.setattr(writer._sink, "close", closed)

    write_and_refuse([1, 2])
    with pytest.raises(WrittenByAnotherError):
        write_and_refuse([3])


@pytest.mark.parametrize(
    "tables",
    [[numbers([2, 1])], [numbers([1, 1])], [numbers([1, 2]), numbers([2])], [numbers([3, 4, 4])]],
    ids=["falling", "double", "double-across-batches", "double-at-the-end"],
)
def test_pids_out_of_order_are_refused(folder, tables):
    with pytest.raises(StoreError, match="not sorted or not unique"):
        write(folder / "part.parquet", *tables)
    assert list(folder.iterdir()) == []


def test_nulls_in_a_required_column_are_refused(folder):
    nullable = pa.table({"pid": pa.array([1, None], pa.int64()), "n": pa.array([1, 2])})
    with pytest.raises((StoreError, ValueError), match=r"pid|null"):
        write(folder / "part.parquet", nullable)
    assert list(folder.iterdir()) == []


def test_strings_are_ordered_by_utf8(folder):
    columns = pa.schema([pa.field("pid", pa.string(), nullable=False)])
    pids = sorted(["Z", "a", "é", "中", "🎬", "10", "9"])
    part = write(folder / "part.parquet", pa.table([pids], schema=columns), columns=columns)
    (batch,) = read_part(folder, part)
    assert batch["pid"].to_pylist() == pids


def test_vectors_are_read_a_little_at_a_time(folder):
    rows = 2500
    vectors = np.zeros((rows, schema.EMBEDDING_DIM), np.float32)
    columns = pa.schema(
        [schema.item_embeddings("int").field(name) for name in ("pid", "embedding")]
    )
    table = pa.table([range(rows), vector_array(vectors)], schema=columns)
    part = write(folder / "part.parquet", table, columns=columns)
    batches = list(read_part(folder, part))
    assert [batch.num_rows for batch in batches] == [1024, 1024, 452]


def test_rows_are_cut_into_files_as_the_training_loader_expects(tmp_path):
    reader = numbers(range(1, 26)).to_reader(max_chunksize=4)
    parts = write_parts(place(tmp_path), reader, rows_per_part=10)
    names = [f"part-{number:05d}-of-00003.parquet" for number in range(3)]
    assert [part.name for part in parts] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [part.rows for part in parts] == [10, 10, 5]
    assert pd.read_parquet(tmp_path).pid.tolist() == list(range(1, 26))
    assert pq.ParquetFile(tmp_path / names[0]).metadata.row_group(0).column(0).compression == (
        "SNAPPY"
    )


def test_a_stream_without_rows_still_has_columns(folder):
    (part,) = write_parts(folder, numbers([]).to_reader(), rows_per_part=10)
    assert part.rows == 0
    assert part.first_pid is None
    assert pq.read_schema((folder / part.name).open("rb")).names == ["pid", "n"]


@given(
    sizes=st.lists(st.integers(0, 9), max_size=12),
    rows=st.integers(1, 7),
)
def test_rebatched_keeps_rows_and_their_order(sizes, rows):
    values = list(range(sum(sizes)))
    batches, start = [], 0
    for size in sizes:
        batches.append(pa.record_batch({"n": pa.array(values[start : start + size], pa.int64())}))
        start += size
    tables = list(rebatched(batches, rows))
    assert [value for table in tables for value in table["n"].to_pylist()] == values
    assert all(table.num_rows == rows for table in tables[:-1])
    assert all(0 < table.num_rows <= rows for table in tables)


def test_flipped_and_missing_bytes_never_give_wrong_rows(tmp_path):
    """Wherever a byte is flipped or the file truncated: the true rows, or an error naming it."""
    path = place(tmp_path / "part.parquet")
    table = text_table(item_texts(range(300)))
    part = write(path, table, columns=table.schema)
    whole = path.read_bytes()
    draw = random.Random(0)  # noqa: S311 - nothing secret is drawn
    told = 0
    for trial in range(300):
        damaged = bytearray(whole)
        if trial % 3:
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        else:
            del damaged[draw.randrange(len(whole)) :]
        path.write_bytes(bytes(damaged))
        try:
            read = pa.Table.from_batches(read_part(path.parent, part))
        except StoreError as error:
            assert "part.parquet" in str(error)  # noqa: PT017
            told += 1
        else:
            assert read.equals(table)
    assert told > 290


def test_a_missing_part_is_reported(folder):
    with pytest.raises(StoreError, match=r"gone\.parquet: there is no such file"):
        list(read_part(folder, Part("gone.parquet", rows=1, bytes=1, digest="")))


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "."])
def test_a_part_cannot_be_outside_the_folders_of_versions(name):
    for names in ({"name": name}, {"name": "x", "folder": name}):
        with pytest.raises(ValueError, match="is not the name of a file or folder"):
            Part(**names, rows=1, bytes=1, digest="")
