"""Ranges of pids are found without reading all rows, and damage loses as few rows as possible."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from sid_assets.core.store.parts import ROW_GROUP, Part, PartWriter
from sid_assets.core.store.pid_ranges import SortedParts
from sid_assets.core.store.places import place

COLUMNS = pa.schema([pa.field("pid", pa.int64(), nullable=False), ("n", pa.int64())])


def rows(pids) -> pa.RecordBatch:
    pids = list(pids)
    return pa.record_batch([pids, [10 * pid for pid in pids]], schema=COLUMNS)


def fail(error: Exception) -> None:
    raise error


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


def test_long_string_pids_are_found_although_statistics_omit_them(tmp_path):
    columns = pa.schema([pa.field("pid", pa.string(), nullable=False)])
    pids = sorted([*"aäz中🎬", "m" * 5000, "m" * 5000 + "n"])
    folder = place(tmp_path)
    table = SortedParts(folder, write_parts(folder, [pa.record_batch([pids], schema=columns)]))
    for first, last in (("b", "y"), ("m", "ä"), ("中", "🎬"), ("a", "m" * 5000)):
        found = [p for b in table.between(first, last, ["pid"], fail) for p in b["pid"].to_pylist()]
        assert found == [pid for pid in pids if first <= pid <= last]


def test_damage_loses_only_its_own_row_group(tmp_path):
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
    assert (damage.folder, damage.rows) == (folder, ROW_GROUP)
    assert "part-0.parquet: row group 1 is damaged" in str(damage)


def test_a_damaged_footer_or_a_missing_file_loses_that_part(tmp_path):
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
