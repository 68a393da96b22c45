"""Chunks: finished chunks are not done again."""

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass

import pyarrow as pa
import pytest

from sid_assets.core.errors import StoreError
from sid_assets.core.store.chunks import (
    Chunk,
    ChunkTask,
    Say,
    chunks_of_parts,
    finished_parts,
    run_chunks,
    share_nothing,
)
from sid_assets.core.store.conditional import read_object, replace_object
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.parts import Part, WrittenByAnotherError
from sid_assets.core.store.pid_ranges import SortedParts
from sid_assets.core.store.places import place
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store

COLUMNS = pa.schema([pa.field("pid", pa.int64(), nullable=False), ("n", pa.int64())])


def rows(pids) -> pa.RecordBatch:
    pids = list(pids)
    return pa.record_batch([pids, [10 * pid for pid in pids]], schema=COLUMNS)


def chunks_of(*ranges: range) -> list[Chunk]:
    return [Chunk(n, len(pids), pids[0], pids[-1]) for n, pids in enumerate(ranges)]


CHUNKS = chunks_of(range(5), range(5, 9), range(9, 20))


@dataclass
class Summary:
    """Number of rows of a finished chunk."""

    rows: int = 0


class Worker:
    """Computes the rows of a chunk in blocks of two; may fail at a chunk."""

    def __init__(self, fails_at: int = -1) -> None:
        self.fails_at = fails_at
        self.done: list[int] = []

    def __call__(self, chunk: Chunk, say: Say) -> tuple[Iterator[pa.RecordBatch], Summary]:
        summary = Summary()
        return self._blocks(chunk, summary), summary

    def _blocks(self, chunk: Chunk, summary: Summary) -> Iterator[pa.RecordBatch]:
        for start in range(chunk.first_pid, chunk.last_pid + 1, 2):
            if chunk.number == self.fails_at and start > chunk.first_pid:
                raise ZeroDivisionError
            yield rows(range(start, min(start + 2, chunk.last_pid + 1)))
        summary.rows = chunk.rows
        self.done.append(chunk.number)


def run(
    draft: Draft, worker: Worker, chunks=CHUNKS, share=share_nothing
) -> tuple[tuple[Part, ...], list]:
    told: list = []

    def on_done(chunk: Chunk, summary: Summary, resumed: bool) -> None:
        told.append((chunk.number, summary.rows, resumed))

    return run_chunks(draft, chunks, COLUMNS, worker, on_done, Summary, share), told


@pytest.fixture(params=["local", "memory", "s3"])
def draft(request, tmp_path) -> Iterator[Draft]:
    places = {"local": lambda: tmp_path, "memory": lambda: f"memory://{tmp_path.name}"}
    store = Store(places.get(request.param, lambda: request.getfixturevalue("bucket"))())
    with store.draft("t") as draft:
        draft.begin("work")
        yield draft


def read(draft: Draft, parts) -> pa.Table:
    found = SortedParts(draft.folder, parts).all_rows(["pid", "n"], on_damage=fail)
    return pa.Table.from_batches(found)


def fail(error: Exception) -> None:
    raise error


def test_every_chunk_is_a_part(draft):
    parts, told = run(draft, Worker())
    assert read(draft, parts).equals(pa.Table.from_batches([rows(range(20))]))
    assert [part.name for part in parts] == [f"part-{n:05d}-of-00003.parquet" for n in range(3)]
    assert told == [(0, 5, False), (1, 4, False), (2, 11, False)]


def test_finished_chunks_are_not_done_again(draft):
    with pytest.raises(ZeroDivisionError):
        run(draft, Worker(fails_at=2))
    assert [part.rows for part in finished_parts(draft.folder)] == [5, 4]
    again = Worker()
    parts, told = run(draft, again)
    assert again.done == [2]
    assert told == [(0, 5, True), (1, 4, True), (2, 11, False)]
    assert read(draft, parts)["pid"].to_pylist() == list(range(20))


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "no-note", "bad-note", "other-note"])
def test_a_damaged_part_is_done_again(draft, damage):
    parts, _ = run(draft, Worker())
    path = draft.folder / parts[1].name
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
    repaired, _ = run(draft, again)
    assert again.done == [1]
    assert repaired == parts
    assert path.stat().st_size == parts[1].bytes


def test_chunks_that_are_cut_differently_are_done_again(draft):
    """The parts have the same names but other rows."""
    run(draft, Worker())
    again = Worker()
    parts, _ = run(draft, again, chunks_of(range(5), range(5, 8), range(8, 20)))
    assert again.done == [1, 2]
    assert read(draft, parts)["pid"].to_pylist() == list(range(20))


def task_of(draft: Draft, work: Callable) -> ChunkTask[Summary]:
    """The same task as another process has it."""
    return ChunkTask(draft.folder, (), len(CHUNKS), COLUMNS, work, share_nothing, Summary)


def test_a_process_that_wakes_up_does_not_remove_the_part_of_another(draft):
    """It found no part, and was paused before it began to make it."""
    paused, worker = task_of(draft, Worker()), Worker()
    assert paused.found(CHUNKS[1], []) is None
    done = task_of(draft, worker).do(CHUNKS[1])
    path = draft.folder / done.part.name
    before = path.fs.info(path.path)
    assert paused.make(CHUNKS[1], []).part == done.part
    assert path.fs.info(path.path) == before
    again = Worker()
    run(draft, again)
    assert again.done == [0, 2]


@pytest.mark.parametrize("draft", ["local", "s3"], indirect=True)  # elsewhere the last one wins
@pytest.mark.parametrize("is_same", [True, False])
def test_a_chunk_that_two_processes_make_at_a_time_has_the_part_of_the_first(draft, is_same):
    made: list[Part] = []

    def slow(chunk: Chunk, say: Say) -> tuple[list[pa.RecordBatch], Summary]:
        made.append(task_of(draft, Worker()).make(chunk, []).part)
        tenfold = rows(range(chunk.first_pid, chunk.last_pid + 1))
        other = tenfold if is_same else tenfold.set_column(1, COLUMNS[1], tenfold["pid"])
        return [other.slice(0, 2), other.slice(2, 2), other.slice(4)], Summary()

    with nullcontext() if is_same else pytest.raises(WrittenByAnotherError):
        assert task_of(draft, slow).do(CHUNKS[0]).part == made[0]
    again = Worker()
    parts, _ = run(draft, again)
    assert again.done == [1, 2]
    assert parts[0] == made[0]
    assert read(draft, parts)["n"].to_pylist() == [10 * pid for pid in range(20)]


def test_a_chunk_whose_part_is_shared_is_not_done(draft):
    whole, _ = run(draft, Worker(), CHUNKS[:1])
    asked: list[tuple[int, str]] = []

    def share(chunk: Chunk, name: str, say: Say) -> tuple[Part, Summary] | None:
        asked.append((chunk.number, name))
        return (whole[0], Summary(7)) if chunk.number == 0 else None

    worker = Worker()
    parts, told = run(draft, worker, share=share)
    assert worker.done == [1, 2]
    assert told == [(0, 7, False), (1, 4, False), (2, 11, False)]
    assert read(draft, parts)["pid"].to_pylist() == list(range(20))
    assert sorted(asked) == [(n, f"part-{n:05d}-of-00003.parquet") for n in range(3)]
    assert run(draft, Worker(), share=share)[1][1:] == [(1, 4, True), (2, 11, True)]


def test_an_error_while_a_part_is_shared_ends_the_run(draft):
    def share(chunk: Chunk, name: str, say: Say) -> None:
        if chunk.number == 1:
            raise StoreError("the disk is full")

    worker = Worker()
    with pytest.raises(StoreError, match="the disk is full"):
        run(draft, worker, share=share)
    assert worker.done == [0]


@pytest.mark.parametrize("answer", [rows([5, 6, 7]), rows([5, 6, 7, 9]), rows([])])
def test_a_worker_that_gives_other_rows_is_refused(draft, answer):
    with pytest.raises(StoreError, match=r"expected 4 rows \(pids 5 to 8\), but computed"):
        run_chunks(
            draft,
            [CHUNKS[1]],
            COLUMNS,
            lambda chunk, say: ([answer], Summary()),
            lambda *_: None,
            Summary,
        )


def test_each_part_gives_a_chunk(tmp_path):
    store = Store(tmp_path)
    with store.draft("t") as draft:
        draft.begin("work")
        parts, _ = run(draft, Worker())
        draft.finish(parts, Provenance("t"))
    version = store.commit(draft)
    assert chunks_of_parts(version) == CHUNKS


def test_parts_of_an_earlier_folder_are_referred_to(bucket):
    """In a bucket, unfinished work goes on in a folder of its own."""
    store = Store(f"{bucket}/data")
    with suppress(ZeroDivisionError), store.draft("codes") as first:
        first.begin("work")
        run(first, Worker(fails_at=2))
    for fails_at, does in ((2, []), (-1, [2])):
        worker = Worker(fails_at=fails_at)
        with suppress(ZeroDivisionError), store.draft("codes") as draft:
            draft.begin("work")
            parts, told = run(draft, worker)
            draft.finish(parts, Provenance("codes"))
            assert told == [(0, 5, True), (1, 4, True), (2, 11, False)]
            assert [part.folder for part in parts] == [*[first.folder.name] * 2, ""]
        assert worker.done == does
    version = store.commit(draft)
    assert version.stream().read_all()["pid"].to_pylist() == list(range(20))
    assert {folder.folder for folder in store.unfinished("codes")} == set()
    assert sorted(path.name for path in first.folder.iterdir()) == [
        "part-00000-of-00003.parquet",
        "part-00001-of-00003.parquet",
    ]


def test_a_run_that_was_cut_off_ends_after_a_chunk(bucket):
    """Another run has the write lock now, and this one could not commit what it computes."""
    with Store(bucket).draft("t") as draft:
        draft.begin("work")
        assert draft.claim
        lease = place(f"{bucket}/.versions/t/.lease.json")
        owner = json.dumps({"token": "another run"}).encode()
        replace_object(lease, owner, read_object(lease))
        with pytest.raises(StoreError, match="did not renew"):
            draft.claim.lease.require_held()
        worker = Worker()
        with pytest.raises(StoreError, match="another run has taken it"):
            run(draft, worker)
        assert worker.done == [0]


def test_half_written_files_of_a_killed_run_are_removed(local):
    """Their names are not used again, so that each kill would leave one more."""
    with suppress(ZeroDivisionError), local.draft("t") as draft:
        draft.begin("work")
        run(draft, Worker(fails_at=2))
    (draft.folder / "part-00002-of-00003.parquet.0a1b2c3d.tmp").write_bytes(b"half")
    with local.draft("t") as draft:
        draft.begin("work")
        assert not list(draft.folder.glob("*.tmp"))
        assert len(finished_parts(draft.folder)) == 2
