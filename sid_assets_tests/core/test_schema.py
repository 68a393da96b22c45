"""The tables of the graph, found by their names and by the type of their pids."""

import pyarrow as pa
import pytest

from sid_assets.core import schema
from sid_assets.core.schema import TABLES, pid_type_of, table_named
from sid_assets.core.training_sets import DATA_SETS


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
