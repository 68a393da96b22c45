import json
from pathlib import Path

import pyarrow as pa
import pytest

from sid_assets.core.recif.stage_files import file_list, shuffled
from sid_assets.core.schema import SFT_ROWS


def rows(names: range) -> pa.Table:
    return pa.table({name: [f"{name} {i}" for i in names] for name in SFT_ROWS.names}, SFT_ROWS)


def test_the_list_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = file_list([Path("a/part-00000-of-00001.parquet"), "/b.parquet", "s3://bucket/c.parquet"])
    assert json.loads(made) == [
        str(tmp_path / "a" / "part-00000-of-00001.parquet"),
        "/b.parquet",
        "s3://bucket/c.parquet",
    ]


def test_rows_are_shuffled_by_seed_and_uuid(tmp_path: Path) -> None:
    def made(table: pa.Table, seed: int, run_bytes: int) -> list[str]:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        batches = shuffled(table.to_batches(max_chunksize=100), seed, folder, run_bytes)
        out = pa.Table.from_batches(batches, SFT_ROWS)
        assert sorted(out.to_pylist(), key=str) == sorted(table.to_pylist(), key=str)
        return out["uuid"].to_pylist()

    once = made(rows(range(2000)), 0, 1 << 16)
    assert once == made(rows(range(2000)), 0, 1 << 30)
    assert once == made(pa.concat_tables([rows(range(900, 2000)), rows(range(900))]), 0, 1 << 17)
    assert once != made(rows(range(2000)), 1, 1 << 16)
    assert once != rows(range(2000))["uuid"].to_pylist()
    more = made(rows(range(2500)), 0, 1 << 16)
    kept = set(once)
    assert [uuid for uuid in more if uuid in kept] == once
