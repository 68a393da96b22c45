"""What an error about invalid rows says."""

from sid_assets.core.errors import (
    InputError,
    SidAssetsError,
    StoreError,
    did_you_mean,
    offending_rows,
)


def test_it_names_the_file_the_column_the_rows_and_the_remedy():
    error = offending_rows(
        "the text is empty",
        source="catalog.csv",
        column="title",
        rows=1234,
        ids=["a", "b", "c", "d", "e", "f"],
        remedy="Fill it.",
    )
    assert str(error) == (
        "catalog.csv: column 'title': the text is empty (1,234 rows). "
        "First ids: 'a', 'b', 'c', 'd', 'e'. Fill it."
    )
    assert isinstance(error, InputError)


def test_one_row_and_no_ids():
    error = offending_rows(
        "the id is null", source="a.csv", column="pid", rows=1, remedy="Fill it."
    )
    assert str(error) == "a.csv: column 'pid': the id is null (1 row). Fill it."


def test_only_the_first_ids_are_taken():
    ids = iter(range(100))
    offending_rows("x", source="a", column="b", rows=100, ids=ids, remedy="c")
    assert next(ids) == 5


def test_every_error_is_one_of_this_package():
    assert issubclass(InputError, SidAssetsError)
    assert issubclass(StoreError, SidAssetsError)


def test_the_most_similar_names_are_asked_for():
    known = ["title", "brand", "b", ""]
    assert did_you_mean(["tilte", "brandname"], known) == "Did you mean 'title', 'brand'? "
    assert did_you_mean(["title.x.y.z.u.v"], known) == "Did you mean 'title'? "
    assert did_you_mean(["xyz"], known) == did_you_mean(["tilte"], []) == ""
