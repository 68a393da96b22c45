"""Rows become tables: one file or parts, in order, whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core import schema
from sid_assets.core.errors import StoreError
from sid_assets.core.quantise.checkpoint import save_checkpoint
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.store import Store
from sid_assets.core.store.write import draft_file, draft_rows
from sid_assets_tests.core.drawn_vectors import commit_texts, item_texts, text_table


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path) -> Store:
    return Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")


def commit(store: Store, table: str, rows: pa.Table):
    return store.commit(draft_rows(store, table, rows.to_reader(), Provenance(table)))


def test_item_texts_are_one_file(store):
    version = commit_texts(store, item_texts(range(10)), "goods/item_texts")
    assert [part.name for part in version.parts] == ["item_texts.parquet"]
    rows = store.require("goods/item_texts").stream().read_all()
    assert rows.equals(text_table(item_texts(range(10))))


def test_training_rows_are_parts_of_a_thousand(tmp_path):
    store = Store(tmp_path)
    rows = pa.table(
        [[f"{name} {number}" for number in range(2100)] for name in schema.PRETRAIN_ROWS.names],
        schema=schema.PRETRAIN_ROWS,
    )
    version = commit(store, "video_rec_dataset", rows)
    assert [part.rows for part in version.parts] == [1000, 1000, 100]
    assert schema.table_named("video_rec_dataset").layout == "parts"
    frame = pd.read_parquet(tmp_path / "video_rec_dataset.parquet")
    assert frame.uuid.tolist() == [f"uuid {number}" for number in range(2100)]


def test_a_table_that_a_user_adds_to_the_graph_is_one_file(store):
    version = commit(store, "mine/things", pa.table({"n": [1, 2]}))
    assert [part.name for part in version.parts] == ["things.parquet"]


def test_small_batches_do_not_make_small_row_groups(tmp_path):
    store = Store(tmp_path)
    table = text_table(item_texts(range(20_000)))
    reader = table.to_reader(max_chunksize=100)
    version = store.commit(draft_rows(store, "item_texts", reader, Provenance("t")))
    metadata = pq.read_metadata(version.paths[0].path)
    assert [metadata.row_group(number).num_rows for number in range(2)] == [16_384, 3_616]


def test_a_stream_that_raises_commits_nothing_and_frees_the_table(store):
    commit_texts(store, item_texts([1]))
    table = text_table(item_texts([2, 3]))

    def rows() -> Iterator[pa.RecordBatch]:
        yield table.to_batches()[0]
        raise ZeroDivisionError

    reader = pa.RecordBatchReader.from_batches(table.schema, rows())
    with pytest.raises(ZeroDivisionError):
        draft_rows(store, "item_texts", reader, Provenance("item_texts"))
    assert store.require("item_texts").rows == 1
    commit_texts(store, item_texts([2, 3]))
    assert store.require("item_texts").rows == 2


def test_rows_out_of_order_are_refused(store):
    table = text_table(item_texts([1, 2]))
    with pytest.raises(StoreError, match="not sorted or not unique"):
        commit(store, "item_texts", table.take([1, 0]))
    assert store.current("item_texts") is None


def test_the_file_records_its_provenance(tmp_path):
    store = Store(tmp_path)
    table = text_table(item_texts([1]))
    made = Provenance("item_texts", inputs={"catalog": "v1"}, details={"template": "{title}"})
    store.commit(draft_rows(store, "item_texts", table.to_reader(), made))
    alone = pq.read_schema(tmp_path / "item_texts.parquet")
    assert Provenance.of(alone) == made


def test_a_file_of_torch_on_a_full_disk(mounted):
    folder, mount = mounted
    mount("size=1m")
    store, centroids = Store(folder), np.zeros((3, 64, 4096), np.float32)

    def save(path: Path) -> None:
        save_checkpoint(path, centroids, {})

    message = (
        r"tokenizer_checkpoint\.pt: cannot be written: No space left.*About 3\.1 MB are needed"
    )
    made = Provenance("tokenizer_checkpoint")
    with pytest.raises(StoreError, match=message):
        draft_file(store, "tokenizer_checkpoint", save, made, centroids.nbytes)
    assert store.current("tokenizer_checkpoint") is None
    store.draft("tokenizer_checkpoint").close()  # nothing is left locked
