"""The values of a column by id, read as the texts of items are."""

import pytest

from sid_assets.core.catalog.column_values import column_values
from sid_assets.core.catalog.item_texts import CatalogSource
from sid_assets.core.errors import InputError
from sid_assets.core.schema import PidType
from sid_assets_tests.core.catalog.read_catalogs import Write, refused


def read(path, tmp_path, column="category", pid_type: PidType = "int"):
    """The values by id."""
    source = CatalogSource(str(path), "{title}")
    (tmp_path / "scratch").mkdir()
    with column_values(source, column, pid_type, scratch_dir=tmp_path / "scratch") as values:
        rows = values.read_all()
    assert rows["pid"].to_pylist() == sorted(rows["pid"].to_pylist())
    return dict(zip(rows["pid"].to_pylist(), rows["text"].to_pylist(), strict=True))


def test_values_are_text_by_id(parquet: Write, tmp_path) -> None:
    path = parquet(pid=[3, 1, 2], title=["a", "b", "c"], category=[["x", "y"], ["x"], None])
    assert read(path, tmp_path) == {1: "x", 3: "x, y"}


def test_numbers_are_values_too(parquet: Write, tmp_path) -> None:
    path = parquet(pid=[1, 2], title=["a", "b"], year=[1999.0, None])
    assert read(path, tmp_path, "year") == {1: "1999"}


def test_blank_values_and_ids_with_two_values_are_left_out(parquet: Write, tmp_path) -> None:
    path = parquet(
        pid=[1, 2, 2, 3, 3, None],
        title=["a"] * 6,
        category=[" ", "x", "y", "z", "z", "x"],
    )
    assert read(path, tmp_path) == {3: "z"}


def test_a_column_without_any_value_is_empty(parquet: Write, tmp_path) -> None:
    path = parquet(pid=[1], title=["a"], category=[None])
    assert read(path, tmp_path) == {}


def test_ids_have_the_type_of_the_items(parquet: Write, tmp_path) -> None:
    path = parquet(pid=["7", "8"], title=["a", "b"], category=["x", "y"])
    assert read(path, tmp_path, pid_type="string") == {"7": "x", "8": "y"}


def test_a_column_that_is_not_there_is_refused(parquet: Write, tmp_path) -> None:
    path = parquet(pid=[1], title=["a"])
    with pytest.raises(InputError, match=r"no column 'category'.*SID_QUALITY_COLUMN"):
        read(path, tmp_path)


def test_a_catalog_is_refused_if_it_lacks_a_column_that_is_measured_later(parquet: Write) -> None:
    path = parquet(pid=[1], title=["a"])
    message = refused(path, "{title}", other_columns=("category",))
    assert "no column 'category'" in message
    assert "SID_QUALITY_COLUMN" in message
