"""The descriptions of training data sets, and what derives from them."""

import subprocess
import sys

import pytest

from sid_assets.core.inputs.interactions import EXPECTED
from sid_assets.core.schema import TABLES
from sid_assets.core.training.prompts import SLOTS
from sid_assets.core.training_sets import DATA_SETS, DataSet


@pytest.mark.parametrize("data_set", DATA_SETS.values(), ids=DATA_SETS)
def test_a_data_set_has_a_table_known_columns_and_its_wordings(data_set: DataSet) -> None:
    table = TABLES[data_set.table]
    assert table.layout == "parts"
    assert table.schema("int").equals(data_set.schema)
    assert EXPECTED.keys() >= {*data_set.reads(), *data_set.items, *data_set.goods}
    assert {*data_set.items, *data_set.goods} <= {*data_set.reads()}
    assert {*data_set.free_texts} <= {*data_set.roles}
    lists = {name.split(".")[1] for name in SLOTS if name.startswith(f"{data_set.name}.")}
    assert lists == data_set.wordings.keys()


def test_reading_the_descriptions_does_not_import_the_code_that_makes_rows() -> None:
    program = (
        "import sys, sid_assets.core.schema; "
        "print([m for m in sys.modules if m.startswith(('sid_assets.core.training.', 'duckdb'))])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.decode().strip() == "[]"
