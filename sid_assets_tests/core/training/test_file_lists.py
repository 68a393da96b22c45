import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from sid_assets.core.store.parts import write_parts
from sid_assets.core.training.file_lists import file_list, shuffled
from sid_assets.core.training_sets import SFT_ROWS


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


def test_files_have_the_format_that_the_loader_expects(tmp_path: Path) -> None:
    import fastparquet

    table = rows(range(2500))
    names = [part.name for part in write_parts(UPath(tmp_path), table.to_reader(700), 1000)]
    assert names == [f"part-0000{i}-of-00003.parquet" for i in range(3)]
    read = []
    for name, length in zip(names, (1000, 1000, 500), strict=True):
        metadata = pq.read_metadata(tmp_path / name)
        assert (metadata.num_rows, metadata.num_row_groups) == (length, 1)
        assert metadata.row_group(0).column(2).compression == "SNAPPY"
        read += fastparquet.ParquetFile(str(tmp_path / name)).to_pandas().to_dict("records")
    assert read == table.to_pylist()
