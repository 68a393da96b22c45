"""Chunks: what was finished is not done again; ranges of pids are found without reading all."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.store.chunks import (
    Chunk,
    SortedParts,
    chunks_of_parts,
    finished_parts,
    run_chunks,
)
from sid_assets.core.store.parts import ROW_GROUP, Part, PartWriter
from sid_assets.core.store.places import place
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.versions import Staging, Store

COLUMNS = pa.schema([pa.field("pid", pa.int64(), nullable=False), ("n", pa.int64())])


def rows(pids) -> pa.RecordBatch:
    pids = list(pids)
    return pa.record_batch([pids, [10 * pid for pid in pids]], schema=COLUMNS)


def chunks_of(*ranges: range) -> list[Chunk]:
    return [Chunk(n, len(pids), pids[0], pids[-1]) for n, pids in enumerate(ranges)]


CHUNKS = chunks_of(range(5), range(5, 9), range(9, 20))


@dataclass
class Summary:
    """Rows of a chunk that is done."""

    rows: int = 0


class Worker:
    """Computes the rows of a chunk in blocks of two; may fail at a chunk."""

    def __init__(self, fails_at: int = -1) -> None:
        self.fails_at = fails_at
        self.done: list[int] = []

    def __call__(self, chunk: Chunk) -> tuple[Iterator[pa.RecordBatch], Summary]:
        summary = Summary()
        return self._blocks(chunk, summary), summary

    def _blocks(self, chunk: Chunk, summary: Summary) -> Iterator[pa.RecordBatch]:
        for start in range(chunk.first_pid, chunk.last_pid + 1, 2):
            if chunk.number == self.fails_at and start > chunk.first_pid:
                raise ZeroDivisionError
            yield rows(range(start, min(start + 2, chunk.last_pid + 1)))
        summary.rows = chunk.rows
        self.done.append(chunk.number)


def run(staging: Staging, worker: Worker, chunks=CHUNKS) -> tuple[tuple[Part, ...], list]:
    told: list = []

    def on_done(chunk: Chunk, summary: Summary, resumed: bool) -> None:
        told.append((chunk.number, summary.rows, resumed))

    return run_chunks(staging, chunks, COLUMNS, worker, on_done, Summary), told


@pytest.fixture(params=["local", "memory"])
def staging(request, tmp_path) -> Iterator[Staging]:
    store = Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")
    with store.stage("t", "work") as staging:
        yield staging


def read(staging: Staging, parts) -> pa.Table:
    found = SortedParts(staging.folder, parts).all_rows(["pid", "n"], on_damage=fail)
    return pa.Table.from_batches(found)


def fail(error: Exception) -> None:
    raise error


def test_every_chunk_is_a_part(staging):
    parts, told = run(staging, Worker())
    assert read(staging, parts).equals(pa.Table.from_batches([rows(range(20))]))
    assert [part.name for part in parts] == [f"part-{n:05d}-of-00003.parquet" for n in range(3)]
    assert told == [(0, 5, False), (1, 4, False), (2, 11, False)]


def test_what_was_finished_is_not_done_again(staging):
    with pytest.raises(ZeroDivisionError):
        run(staging, Worker(fails_at=2))
    assert [part.rows for part in finished_parts(staging)] == [5, 4]
    again = Worker()
    parts, told = run(staging, again)
    assert again.done == [2]
    assert told == [(0, 5, True), (1, 4, True), (2, 11, False)]
    assert read(staging, parts)["pid"].to_pylist() == list(range(20))


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "no-note", "bad-note", "other-note"])
def test_a_damaged_part_is_done_again(staging, damage):
    parts, _ = run(staging, Worker())
    path = staging.folder / parts[1].name
    note = path.with_name(f"_{path.name}.json")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[100] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "gone":
        path.unlink()
    elif damage == "no-note":
        note.unlink()
    elif damage == "bad-note":
        note.write_text('{"name": 1')
    else:
        note.write_text('{"name": "x", "unknown": 1}')
    again = Worker()
    repaired, _ = run(staging, again)
    assert again.done == [1]
    assert repaired == parts
    assert path.stat().st_size == parts[1].bytes


def test_chunks_that_are_cut_elsewhere_are_done_again(staging):
    """The names of the parts are the same, and what is in them is not."""
    run(staging, Worker())
    again = Worker()
    parts, _ = run(staging, again, chunks_of(range(5), range(5, 8), range(8, 20)))
    assert again.done == [1, 2]
    assert read(staging, parts)["pid"].to_pylist() == list(range(20))


@pytest.mark.parametrize("answer", [rows([5, 6, 7]), rows([5, 6, 7, 9]), rows([])])
def test_a_worker_that_gives_other_rows_is_found_out(staging, answer):
    with pytest.raises(StoreError, match="4 rows were wanted"):
        run_chunks(
            staging,
            [CHUNKS[1]],
            COLUMNS,
            lambda chunk: ([answer], Summary()),
            lambda *_: None,
            Summary,
        )


def test_a_chunk_for_each_part(tmp_path):
    store = Store(tmp_path)
    with store.stage("t", "work") as staging:
        parts, _ = run(staging, Worker())
        version = store.commit(staging, parts, Provenance("t"))
    assert chunks_of_parts(version) == CHUNKS


def write_parts(folder: UPath, groups) -> list[Part]:
    parts = []
    for number, batch in enumerate(groups):
        with PartWriter(folder / f"part-{number}.parquet", batch.schema) as writer:
            writer.write(batch)
        parts.append(writer.part)
    return parts


@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    first=st.integers(-1, 21),
    length=st.integers(0, 22),
)
def test_between_gives_the_rows_of_the_range(sizes, first, length):
    folder = place("memory://between")
    pids = [2 * number for number in range(sum(sizes))]
    groups, start = [], 0
    for size in sizes:
        groups.append(rows(pids[start : start + size]))
        start += size
    table = SortedParts(folder, write_parts(folder, groups))
    found = table.between(first, first + length, ["pid", "n"], fail)
    wanted = [pid for pid in pids if first <= pid <= first + length]
    assert [pid for batch in found for pid in batch["pid"].to_pylist()] == wanted
    assert [p for batch in table.all_rows(["pid"], fail) for p in batch["pid"].to_pylist()] == pids


def test_strings_with_long_pids_are_found_though_statistics_leave_them_out(tmp_path):
    columns = pa.schema([pa.field("pid", pa.string(), nullable=False)])
    pids = sorted([*"aäz中🎬", "m" * 5000, "m" * 5000 + "n"])
    folder = place(tmp_path)
    table = SortedParts(folder, write_parts(folder, [pa.record_batch([pids], schema=columns)]))
    for first, last in (("b", "y"), ("m", "ä"), ("中", "🎬"), ("a", "m" * 5000)):
        found = [p for b in table.between(first, last, ["pid"], fail) for p in b["pid"].to_pylist()]
        assert found == [pid for pid in pids if first <= pid <= last]


def test_damage_takes_only_its_own_row_group(tmp_path):
    folder = place(tmp_path)
    count = 3 * ROW_GROUP
    parts = write_parts(folder, [rows(range(count)), rows(range(count, count + 5))])
    path = folder / parts[0].name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    told: list = []
    found = SortedParts(folder, parts).all_rows(["pid", "n"], told.append)
    pids = [pid for batch in found for pid in batch["pid"].to_pylist()]
    assert pids == [p for p in range(count + 5) if not ROW_GROUP <= p < 2 * ROW_GROUP]
    (damage,) = told
    assert (damage.path, damage.rows) == (path, ROW_GROUP)
    assert "part-0.parquet: row group 1 is damaged" in str(damage)


def test_a_damaged_footer_or_a_missing_part_takes_its_part(tmp_path):
    folder = place(tmp_path)
    parts = write_parts(folder, [rows(range(5)), rows(range(5, 9)), rows(range(9, 11))])
    path = folder / parts[0].name
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    (folder / parts[1].name).unlink()
    told: list = []
    found = SortedParts(folder, parts).all_rows(["pid"], told.append)
    assert [pid for batch in found for pid in batch["pid"].to_pylist()] == [9, 10]
    assert [damage.rows for damage in told] == [5, 4]
    assert "its footer is damaged" in str(told[0])
    assert "there is no such file" in str(told[1])
