"""The IO manager: every form in and out, metadata, and what readers see when a write fails."""

from collections.abc import Iterator

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from sid_assets.core.arrow.hashes import text_hash
from sid_assets.core.schema import item_texts as item_texts_schema
from sid_assets.core.store.versions import Version
from sid_assets.io_managers import LOADERS, DataFolderIOManager, ParquetIOManager, preview
from sid_assets.settings import Settings
from sid_assets_tests.graph import metadata_of


def _texts(count: int = 10) -> pa.Table:
    texts = [f"Title: film {number}" for number in range(count)]
    columns = [list(range(1, count + 1)), texts, [text_hash(text) for text in texts]]
    return pa.table(columns, schema=item_texts_schema("int"))


def _materialize(assets, root, **kwargs) -> dg.ExecuteInProcessResult:
    resources = {"io_manager": ParquetIOManager(root=str(root))}
    return dg.materialize(assets, resources=resources, **kwargs)


def _asset_of(value, annotation) -> dg.AssetsDefinition:
    def item_texts():
        return value

    item_texts.__annotations__["return"] = annotation
    return dg.asset(item_texts)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (_texts(), pa.Table),
        (_texts().to_reader(), pa.RecordBatchReader),
        (_texts().to_pandas(), pd.DataFrame),
    ],
    ids=["table", "reader", "frame"],
)
def test_takes_every_form(tmp_path, value, annotation):
    _materialize([_asset_of(value, annotation)], tmp_path)
    frame = pd.read_parquet(tmp_path / "item_texts.parquet")
    assert frame.pid.tolist() == list(range(1, 11))
    assert frame.text[0] == "Title: film 0"


@pytest.mark.parametrize("annotation", list(LOADERS))
def test_gives_every_form(tmp_path, annotation):
    rows = {}

    def reader(item_texts) -> None:
        if isinstance(item_texts, pads.Dataset):
            rows["n"] = item_texts.count_rows()
        elif isinstance(item_texts, Version):
            rows["n"] = item_texts.rows
        elif isinstance(item_texts, pa.RecordBatchReader):
            rows["n"] = item_texts.read_all().num_rows
        else:
            rows["n"] = len(item_texts)

    reader.__annotations__["item_texts"] = annotation
    _materialize([_asset_of(_texts(), pa.Table), dg.asset(reader)], tmp_path)
    assert rows == {"n": 10}


def test_an_unknown_annotation_is_refused_and_the_known_ones_are_listed(tmp_path):
    @dg.asset
    def reader(item_texts: list) -> None: ...

    with pytest.raises(Exception, match="annotate the input as one of"):
        _materialize([_asset_of(_texts(), pa.Table), reader], tmp_path)


def test_records_rows_columns_uri_bytes_seconds_and_a_preview(tmp_path):
    result = _materialize([_asset_of(_texts(), pa.Table)], tmp_path)
    metadata = metadata_of(result, "item_texts")
    assert metadata["dagster/row_count"] == 10
    columns = metadata["dagster/column_schema"].columns
    assert [(column.name, column.description) for column in columns] == [
        ("pid", "The id of an item."),
        ("text", "The text of the item."),
        ("text_hash", "The first 128 bits of the SHA-256 of the text."),
    ]
    stored = (tmp_path / "item_texts.parquet").read_bytes()
    assert b"The text of the item." not in stored
    assert metadata["dagster/uri"] == str(tmp_path / "item_texts.parquet")
    assert metadata["bytes"] > 0
    assert metadata["seconds_writing"] > 0
    assert "film 4" in metadata["preview"]
    assert "film 5" not in metadata["preview"]


def test_a_stream_that_breaks_leaves_the_previous_version(tmp_path):
    _materialize([_asset_of(_texts(), pa.Table)], tmp_path)

    def broken() -> Iterator[pa.RecordBatch]:
        yield from _texts(4).to_batches()
        raise RuntimeError("the source went away")

    reader = pa.RecordBatchReader.from_batches(item_texts_schema("int"), broken())
    with pytest.raises(Exception, match="the source went away"):
        _materialize([_asset_of(reader, pa.RecordBatchReader)], tmp_path)
    assert pq.read_table(tmp_path / "item_texts.parquet").num_rows == 10
    assert not list(tmp_path.glob("**/*.tmp"))


def test_text_of_the_catalog_stays_text_in_the_preview(tmp_path):
    text = "Title: <img src=x onerror=alert(1)> | [link](http://x) `code`"
    table = pa.table([[1], [text], [text_hash(text)]], schema=item_texts_schema("int"))
    _materialize([_asset_of(table, pa.Table)], tmp_path)
    settings = Settings.from_environment({"SID_DATA_DIR": str(tmp_path)})
    shown = preview(settings.store().require("item_texts"))
    assert "<img" not in shown
    assert "](" not in shown
    assert shown.splitlines()[2].count("|") == 4  # the borders of three cells


def test_works_on_an_fsspec_url():
    rows = {}

    @dg.asset
    def reader(item_texts: pa.Table) -> None:
        rows["n"] = item_texts.num_rows

    _materialize([_asset_of(_texts(), pa.Table), reader], "memory://tables")
    assert rows == {"n": 10}


FRAME = pl.DataFrame(_texts().to_pydict())


@pytest.mark.parametrize("frame", [FRAME, FRAME.lazy()], ids=["frame", "lazy"])
def test_polars_frames_go_in_and_come_out(tmp_path, frame):
    rows = {}
    item_texts = _asset_of(frame, type(frame))

    def reader(item_texts) -> None:
        rows["kind"] = type(item_texts)
        rows["texts"] = item_texts.lazy().collect()["text"].to_list()

    reader.__annotations__["item_texts"] = type(frame)

    manager = ParquetIOManager(root=str(tmp_path))
    resources = {"io_manager": manager, "none": dg.mem_io_manager}
    reads = dg.asset(reader, io_manager_key="none")
    assert dg.materialize([item_texts, reads], resources=resources).success
    assert rows["kind"] is type(frame)
    assert rows["texts"] == _texts()["text"].to_pylist()
    assert pq.read_table(tmp_path / "item_texts.parquet").num_rows == 10


@pytest.mark.parametrize(
    ("key", "path"),
    [(["us", "item_texts"], "item_texts"), (["theirs", "item_texts"], "theirs/item_texts")],
)
def test_the_prefix_of_a_catalog_is_no_folder_in_its_data_folder(tmp_path, key, path):
    @dg.asset(key=key)
    def item_texts() -> pa.Table:
        return _texts()

    settings = Settings(data_dir=str(tmp_path))
    manager = DataFolderIOManager(settings=settings, key_prefix=["us"])
    assert dg.materialize([item_texts], resources={"io_manager": manager}).success
    assert (tmp_path / f"{path}.parquet").exists()
