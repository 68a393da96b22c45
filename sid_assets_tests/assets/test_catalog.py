"""`item_texts` as Dagster runs it: the time of the next stage, and the run config."""

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from sid_assets.assets import catalog
from sid_assets.assets.catalog import ItemTextsConfig
from sid_assets.core.errors import InputError
from sid_assets.plan import plan_domains
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    table,
    write_catalog,
    write_frame,
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


def test_a_refresh_says_how_many_texts_other_rules_change(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "catalog.jsonl"
    values = {"catalog": str(lines), "text_template": "{title}"}
    lines.write_text('{"pid": 1, "title": {"a": 1.0}}\n{"pid": 2, "title": "b"}\n')
    first = materialize(settings_for(tmp_path, **values, text_rules="1"), "item_texts")
    assert first.success, failure_message(first)
    kept = settings_for(tmp_path, **values, text_rules="1")
    details = kept.store().require("item_texts").provenance.details
    assert "rules" not in details  # as version 0.1 wrote it
    assert "texts_changed_by_rules" not in metadata_of(
        materialize(kept, "item_texts"), "item_texts"
    )
    second = materialize(settings_for(tmp_path, **values), "item_texts")
    assert metadata_of(second, "item_texts")["texts_changed_by_rules"] == 1
    assert (
        "item_texts: 1 texts change because values become text by rules 2" in capfd.readouterr().err
    )
    assert kept.store().require("item_texts").provenance.details["rules"] == 2


@pytest.mark.parametrize("again", ["1", "2"])
def test_after_a_stopped_refresh_texts_are_compared_with_those_of_the_vectors(
    tmp_path: Path, again: str
) -> None:
    lines = tmp_path / "catalog.jsonl"
    values = {"catalog": str(lines), "text_template": "{title}", "codebook_size": "1"}
    lines.write_text('{"pid": 1, "title": {"a": 1, "b": null}}\n{"pid": 2, "title": "b"}\n')
    first = settings_for(tmp_path, **values, text_rules="1")
    assert materialize(first, "item_texts", "item_embeddings").success
    assert materialize(settings_for(tmp_path, **values, text_rules="2"), "item_texts").success
    result = materialize(settings_for(tmp_path, **values, text_rules=again), "item_texts")
    assert metadata_of(result, "item_texts").get("texts_changed_by_rules") == (
        None if again == "1" else 1
    )


@pytest.mark.parametrize(
    ("name", "words"), [("text_rules", "1, 2, 2-html"), ("csv_quoting", "auto, quoted, none")]
)
def test_other_words_are_refused(tmp_path: Path, name: str, words: str) -> None:
    result = materialize(settings_for(tmp_path, **{name: "3"}), "item_texts")
    assert f"SID_{name.upper()}=3: not one of {words}." in failure_message(result)


@pytest.mark.parametrize("word", ["fail", "drop"])
def test_bad_rows_fail_the_run_or_are_dropped(word: str) -> None:
    assert ItemTextsConfig(on_bad_rows=word).checked() == word


def test_another_word_for_bad_rows_is_refused() -> None:
    with pytest.raises(InputError, match="on_bad_rows: 'skip' is neither fail nor drop"):
        ItemTextsConfig(on_bad_rows="skip").checked()


def test_a_text_id_among_published_integers_stops_before_a_new_generation(tmp_path: Path) -> None:
    """The items keep their vectors and SIDs, and the table of texts stays as it was."""
    path = tmp_path / "items.csv"
    frame = write_catalog(path)
    settings = settings_for(tmp_path, catalog=str(path))
    first = materialize(settings, "item_texts", "item_embeddings")
    assert first.success, failure_message(first)
    before = table(settings, "item_texts")
    write_frame(path, pd.concat([frame, frame[:1].assign(pid="SKU-1")]))
    stopped = materialize(settings, "item_texts", "item_embeddings")
    assert "(1 row). First ids: 'SKU-1'. " in failure_message(stopped)
    assert "SID_PID_TYPE" in failure_message(stopped)
    pd.testing.assert_frame_equal(table(settings, "item_texts"), before)
    (planned,) = plan_domains(settings)
    assert "First ids: 'SKU-1'. " in planned.problems[0]

    again = settings_for(tmp_path, catalog=str(path), pid_type="int")
    kept = materialize(
        again, "item_texts", "item_embeddings", ops={"item_texts": {"on_bad_rows": "drop"}}
    )
    assert kept.success, failure_message(kept)
    assert metadata_of(kept, "item_embeddings")["items_embedded"] == 0
