"""A table as it is opened: what it shows of itself, its rows, and the columns that it must have."""

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sid_assets
from sid_assets.core.embeddings import cuts
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.schema import pid2sid, sid2pid
from sid_assets.core.store.store import Store
from sid_assets.core.store.versions import Version
from sid_assets.data_table import DataTable, has_table, open_table
from sid_assets_tests.core.drawn_vectors import FakeEmbedder, embed, item_texts

ROWS = {
    "pid2sid": pa.table({"pid": [1], "sid": [[1, 2, 3]]}, schema=pid2sid("int")),
    "sid2pid": pa.table(
        {"sid": [""], "codes": [[1, 2, 3]], "pids": [[1]], "counts": [[0]]}, schema=sid2pid("int")
    ),
}


def opened(store: Store, name: str, rows: pa.Table) -> DataTable:
    """A copy of a table, as it is opened."""
    path = Path(store.root.path, f"{name}.parquet")
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(rows, path)
    table = open_table(store, name)
    assert table is not None
    return table


@pytest.fixture(scope="module")
def data(films: Path) -> sid_assets.DataFolder:
    return sid_assets.load(films)


def test_the_repr_is_one_line(data: Any):
    assert repr(data["pid2sid"]).startswith("<table pid2sid: 104 rows; pid int64, sid list<")


def test_the_rows_of_a_table(films: Path, data: Any):
    pid2sid = data["pid2sid"]
    assert len(pid2sid) == 104
    on_disk = pd.read_parquet(films / "pid2sid.parquet")
    pd.testing.assert_frame_equal(pid2sid.to_pandas(), on_disk)
    assert pid2sid.to_table(["pid"]).column_names == ["pid"]
    assert pid2sid.to_dataset().count_rows() == 104
    sizes = [len(batch) for batch in data["item_embeddings"].to_batches(["pid"], batch_rows=50)]
    assert sum(sizes) == 104
    assert max(sizes) <= 50


def test_other_engines_read_its_files(bucket: str, tmp_path: Path):
    for root in (bucket, str(tmp_path)):
        store = Store(f"{root}/data")
        for numbers in ([1, 2, 3], [1, 2, 4]):
            embed(store, dict.fromkeys(numbers, "text"), FakeEmbedder())
        table = open_table(store, "item_embeddings")
        assert table
        frames = [pd.read_parquet(file) for file in table.files]
        assert pd.concat(frames).pid.tolist() == [1, 2, 4]
        with duckdb.connect() as connection:
            if store.root.protocol:  # DuckDB's own client of S3 would have to be downloaded
                connection.register_filesystem(store.root.fs)
            rows = connection.read_parquet(table.files).fetchall()
        assert sorted(row[0] for row in rows) == [1, 2, 4]


def test_a_column_that_does_not_exist_is_named(data: Any):
    with pytest.raises(InputError, match=r"pid2sid: has no column sids\. Its columns: pid, sid\."):
        data["pid2sid"].to_pandas(["sids"])


def test_no_table_is_none(tmp_path: Path):
    store = Store(tmp_path)
    assert open_table(store, "pid2sid") is None
    assert not has_table(store, "pid2sid")


def test_columns_as_other_programs_write_them_are_accepted(tmp_path: Path):
    store, sids = Store(tmp_path), [[1, 2, 3]]
    for pids in (pa.array(["a"], pa.large_string()), pa.array(["a"]).dictionary_encode()):
        for kind in (pa.large_list(pa.int64()), pa.list_(pa.int64(), 3)):
            rows = pa.table({"pid": pids, "sid": pa.array(sids, kind), "more": [0]})
            assert len(opened(store, "goods/pid2sid", rows)) == 1


@pytest.mark.parametrize(
    ("name", "column", "values", "words"),
    [
        ("pid2sid", "pid", None, "'pid' is missing; it must be int64 or string"),
        ("goods/pid2sid", "sid", None, "'sid' is missing"),
        ("pid2sid", "pid", pa.array([1], pa.int32()), "'pid' is of type int32"),
        ("pid2sid", "sid", pa.array(["text"]), "'sid' is of type string; it must be list<"),
        ("pid2sid", "sid", pa.array([[1.0]]), "'sid' is of type list<.*: double>"),
        ("sid2pid", "pids", None, "'pids' is missing"),
        ("sid2pid", "counts", pa.array([1]), "'counts' is of type int64"),
    ],
)
def test_columns_that_lookups_need_are_checked(
    tmp_path: Path, name: str, column: str, values: pa.Array | None, words: str
):
    rows = ROWS[name.rsplit("/", 1)[-1]].drop_columns(column)
    if values is not None:
        rows = rows.append_column(column, values)
    with pytest.raises(StoreError, match=rf"^{name}: column {words}"):
        opened(Store(tmp_path), name, rows)


def test_other_tables_may_have_any_columns(tmp_path: Path):
    assert opened(Store(tmp_path), "item_texts", pa.table({"a": [1]})).schema.names == ["a"]


@pytest.fixture
def copied(tmp_path, monkeypatch) -> tuple[Version, Store]:
    """A version that shares parts with the one before it, and a store with a copy of its folder."""
    monkeypatch.setattr(cuts, "CHUNK_ROWS", 7)
    store = Store(tmp_path / "data")
    embed(store, item_texts(range(20)), FakeEmbedder())
    version = embed(store, item_texts(range(25)), FakeEmbedder()).version
    shutil.copytree(store.path("item_embeddings").path, tmp_path / "copy/item_embeddings.parquet")
    return version, Store(tmp_path / "copy")


def test_the_copy_of_a_folder_has_the_provenance_of_its_version_not_of_its_oldest_part(copied):
    version, store = copied
    table = open_table(store, "item_embeddings")
    assert table
    assert table.provenance == version.provenance
    assert table.to_table().equals(version.stream().read_all())


def test_the_copy_of_a_folder_with_a_damaged_manifest_is_to_be_copied_again(copied):
    _, store = copied
    (store.path("item_embeddings") / "_manifest.json").write_text("{")
    with pytest.raises(StoreError, match=r"_manifest\.json: is damaged\. Copy the folder again\."):
        open_table(store, "item_embeddings")
