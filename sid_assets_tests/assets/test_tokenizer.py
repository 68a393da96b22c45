"""`tokenizer_checkpoint` as Dagster runs it: another tokenizer must be asked for."""

import pandas as pd
import pytest

from sid_assets.settings import Refresh
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    settings_for,
    table,
    write_catalog,
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"codebook_size": "4"}, "codebook_size"),
        ({"seed": "1"}, "seed"),
    ],
)
def test_another_tokenizer_is_refused_before_anything_is_embedded(folder, change, words):
    assert materialize(settings_for(folder)).success
    before = table(settings_for(folder), "pid2sid")
    write_catalog(folder / "catalog.parquet", items=61)
    settings = settings_for(folder, **change)
    result = materialize(settings)
    assert not result.success
    message = failure_message(result)
    assert words in message
    assert "new_generation" in message
    assert len(table(settings, "item_embeddings")) == 60
    pd.testing.assert_frame_equal(before, table(settings, "pid2sid"))


def test_a_new_generation_is_made_when_a_person_asks_for_it(folder):
    assert materialize(settings_for(folder)).success
    settings = settings_for(folder, codebook_size="4")
    result = materialize(settings, refresh=Refresh(new_generation=True))
    assert result.success, failure_message(result)
    assert max(max(sid) for sid in table(settings, "pid2sid").sid) < 4
