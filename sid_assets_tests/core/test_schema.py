"""The tables of the graph, found by their names and by the type of their pids."""

import pyarrow as pa
import pytest

from sid_assets.core import schema
from sid_assets.core.events.sessions import interactions_schema
from sid_assets.core.schema import (
    COLUMNS,
    COLUMNS_OF,
    TABLES,
    column_description,
    pid_type_of,
    table_named,
)
from sid_assets.core.training_sets import DATA_SETS, LABELS


def test_a_table_is_named_by_the_last_part_of_its_key():
    assert table_named("codes") is TABLES["codes"]
    assert table_named("goods/codes") is TABLES["codes"]
    assert table_named("goods/pid2sid").layout == "file"


def test_a_table_that_users_add_is_one_parquet_file():
    mine = table_named("reports/mine")
    assert (mine.layout, mine.suffix, mine.has_rows) == ("file", ".parquet", True)


def test_files_of_other_kinds_have_no_rows():
    without = {name for name, table in TABLES.items() if not table.has_rows}
    assert without == {"tokenizer_checkpoint", "sid_prefixes"}


@pytest.mark.parametrize("pid_type", ["int", "string"])
@pytest.mark.parametrize("name", ["item_texts", "item_embeddings", "codes", "pid2sid", "sid2pid"])
def test_the_type_of_pids_is_known_from_the_columns(name, pid_type):
    assert pid_type_of(TABLES[name].schema(pid_type)) == pid_type


def test_each_training_data_set_has_its_own_columns():
    for data_set in DATA_SETS.values():
        assert TABLES[data_set.table].schema("int").equals(data_set.schema)


def test_a_required_column_is_not_nullable():
    assert not any(field.nullable for field in schema.item_embeddings("int"))
    assert schema.item_embeddings("int").field("embedding").type == pa.list_(pa.float32(), 4096)


def columns_of(name: str) -> list[str]:
    """The names of a table's columns; those of interactions depend on the settings."""
    if name == "interactions":
        return interactions_schema("int", LABELS).names
    return TABLES[name].schema("int").names


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table.has_rows])
def test_every_column_of_every_table_is_described(name):
    for key in (name, f"goods/{name}"):
        assert [column for column in columns_of(name) if not column_description(key, column)] == []


def test_no_description_is_of_a_column_that_is_nowhere():
    columns = {column for name in TABLES for column in columns_of(name)}
    assert set(COLUMNS) - columns == {"inter_user_profile_with_sid", "inter_keyword_to_items"}
    for name, own in COLUMNS_OF.items():
        assert set(own) <= set(columns_of(name))


def test_the_same_name_may_mean_something_else_in_another_table():
    assert column_description("pid_map", "pid") == "The id of an item."
    assert column_description("uid_map", "pid") == "The id of a user."
    assert column_description("prices", "pid") is None
