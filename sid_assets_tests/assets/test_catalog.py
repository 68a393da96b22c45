"""`item_texts` as Dagster runs it: the time of the next stage, and the run config."""

from pathlib import Path

import dagster as dg
import pytest

from sid_assets.assets import catalog
from sid_assets.assets.catalog import ItemTextsConfig
from sid_assets.core.errors import InputError
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    write_catalog,
)


def test_item_texts_estimates_the_time_from_the_last_run_instead_of_loading_weights(
    tmp_path: Path,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog, "SECONDS_THAT_TELL", 1e-6)
    write_catalog(tmp_path / "catalog.parquet")
    settings = settings_for(tmp_path, embedder="qwen3", embedding_model=str(small_model))
    with dg.DagsterInstance.ephemeral() as instance:
        first = materialize(settings, "item_texts", "item_embeddings", instance=instance)
        assert first.success, failure_message(first)
        write_catalog(tmp_path / "catalog.parquet", items=70)
        second = materialize(settings, "item_texts", instance=instance)
    before = metadata_of(first, "item_texts")
    assert "plan_seconds" not in before
    assert "Time: not measured (no earlier run gives the speed" in before["plan"]
    made = metadata_of(first, "item_embeddings")
    planned = metadata_of(second, "item_texts")
    speed = made["tokens"] / made["seconds_embedding"]
    assert planned["plan_seconds"] == pytest.approx(planned["plan_tokens"] / speed)


@pytest.mark.parametrize("word", ["fail", "drop"])
def test_bad_rows_fail_the_run_or_are_dropped(word: str) -> None:
    assert ItemTextsConfig(on_bad_rows=word).checked() == word


def test_another_word_for_bad_rows_is_refused() -> None:
    with pytest.raises(InputError, match="on_bad_rows: 'skip' is neither fail nor drop"):
        ItemTextsConfig(on_bad_rows="skip").checked()
