"""Ids of vectors in the types that databases and other programs write."""

import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.vector_files import VectorFiles
from sid_assets.core.schema import PidType

WIDTH = 4
UUIDS = [uuid.UUID(int=number << 100) for number in (3, 1, 2)]
TEXTS = list(map(str, UUIDS))


def files_of(folder: Path, pids: pa.Array) -> VectorFiles:
    vectors = pa.array([[1.0] * WIDTH] * len(pids))
    pq.write_table(pa.table({"pid": pids, "embedding": vectors}), folder / "vectors.parquet")
    return VectorFiles(str(folder), width=WIDTH)


@pytest.mark.parametrize(
    ("pids", "pid_type", "expected"),
    [
        (pa.array([one.bytes for one in UUIDS], pa.uuid()), "string", TEXTS),
        (pa.array([one.bytes for one in UUIDS], pa.binary(16)), "string", TEXTS),
        (pa.array([b"c", b"a", b"b"]), "string", ["c", "a", "b"]),
        (pa.array([b"3", b"1", b"2"]), "int", [3, 1, 2]),
        (pa.array(map(Decimal, (3, 1, 2)), pa.decimal128(38, 0)), "int", [3, 1, 2]),
        (pa.array(map(Decimal, (3, 1, 2)), pa.decimal128(12, 2)), "int", [3, 1, 2]),
        (pa.array([3, 1, 2], pa.uint64()), "int", [3, 1, 2]),
    ],
)
def test_they_are_those_of_the_catalog(
    pids: pa.Array, pid_type: PidType, expected: list[Any], tmp_path: Path
) -> None:
    files = files_of(tmp_path, pids)
    files.require_unique_ids(pid_type)
    files.require_unique_ids()
    rows = pa.Table.from_batches(files.sorted_rows(pid_type)).to_pydict()
    assert [expected[row] for row in rows["adopted_row"]] == rows["pid"] == sorted(expected)
    (stored,) = (batch.to_pylist() for batch, _ in files.batches(10))
    assert [type(expected[0])(pid) for pid in stored] == expected


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.int32(), pa.float64(), pa.decimal128(38, 0)]
)
def test_ids_of_other_types_are_passed_on_as_stored(kind: pa.DataType, tmp_path: Path) -> None:
    values = pa.array([3, 1, 2]).cast(kind)
    assert files_of(tmp_path, values).stored_pid_type == kind


def test_files_with_uuids_and_with_their_text_go_together(tmp_path: Path) -> None:
    files_of(tmp_path, pa.array([one.bytes for one in UUIDS], pa.uuid()))
    (tmp_path / "vectors.parquet").rename(tmp_path / "a.parquet")
    files = files_of(tmp_path, pa.array(["x"]))
    pids = pa.concat_arrays([batch for batch, _ in files.batches(10)])
    assert pids.to_pylist() == [*TEXTS, "x"]


def test_ids_with_lost_zeros_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"SID_PID_TYPE=int reads 007 as 7"):
        list(files_of(tmp_path, pa.array(["007", "008"])).sorted_rows("int"))
