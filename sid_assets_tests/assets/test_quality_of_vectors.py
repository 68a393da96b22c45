"""The measures of vectors in `sid_quality`, and the sample that `codes` keeps for them."""

from pathlib import Path

import pytest

from sid_assets.core.quality import sample
from sid_assets.core.store.versions import Version
from sid_assets_tests.graph import (
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    settings_with_interactions,
    write_catalog,
    write_interactions,
)

MADE_FROM = ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes")


@pytest.fixture
def folder(tmp_path):
    """Sixty items and interactions with them."""
    frame = write_catalog(tmp_path / "catalog.parquet")
    write_interactions(tmp_path / "interactions.parquet", frame.pid.tolist())
    return tmp_path


@pytest.fixture
def small_sample(monkeypatch):
    """A sample of 40 items."""
    monkeypatch.setattr(sample, "SAMPLE_ITEMS", 40)
    monkeypatch.setattr(sample, "MOST_MISSING", 2)


def measured(settings) -> dict:
    result = materialize(settings, *MADE_FROM, "sid_quality")
    assert result.success, failure_message(result)
    return metadata_of(result, "sid_quality")


def test_they_are_numbers_and_sections(folder):
    found = measured(settings_with_interactions(folder))
    for name in (
        *("neighbours_in_first_10", "neighbours_in_first_100", "behaviour_in_first_30"),
        *("behaviour_by_vector_in_first_30", "margin_1_mean", "margin_3_median"),
    ):
        assert isinstance(found[name], int | float), name
    assert found["neighbours_items"] == found["behaviour_items"] == 60
    assert found["neighbours_queries"] == found["margin_queries"] == 60
    page = Path(str(found["report"])).read_text()
    for key in ("neighbours", "behaviour", "margins"):
        assert f'<section id="{key}">' in page, key
        assert f'<div id="{key}-chart"' in page, key


def test_without_interactions_there_is_no_behaviour(folder):
    found = measured(settings_for(folder, interactions=""))
    assert "neighbours_in_first_10" in found
    assert not [name for name in found if name.startswith("behaviour")]


def test_a_catalog_of_two_items_is_measured(tmp_path):
    write_catalog(tmp_path / "catalog.parquet", items=2)
    found = measured(settings_for(tmp_path, interactions="", codebook_size="1"))
    assert found["neighbours_items"] == 2
    assert found["neighbours_in_first_10"] == 1
    assert found["margin_1_mean"] == 0


def test_the_sample_of_a_large_catalog_is_kept_with_the_codes(folder, small_sample, monkeypatch):
    settings = settings_with_interactions(folder)
    found = measured(settings)
    assert found["neighbours_items"] == found["margin_items"] == 40
    kept = settings.store().require("quality_sample")
    assert kept.rows == 40

    read = []
    rows_of = sample.rows_of

    def recorded(version: Version, *arguments):
        read.append(version.provenance.asset)
        return rows_of(version, *arguments)

    monkeypatch.setattr(sample, "rows_of", recorded)
    again = measured(settings)
    assert read == ["quality_sample"], "a refresh does not read the other vectors"
    assert settings.store().require("quality_sample").folder == kept.folder
    names = [name for name in found if name.startswith(("neighbours", "behaviour", "margin"))]
    assert {name: again[name] for name in names} == {name: found[name] for name in names}


def test_vectors_made_again_after_the_codes_are_left_out_with_a_warning(folder, capsys):
    settings = settings_for(folder, interactions="")
    measured(settings)
    frame = write_catalog(folder / "catalog.parquet")
    frame.loc[:4, "title"] = "another title"
    frame.to_parquet(folder / "catalog.parquet")
    assert materialize(settings, "item_texts", "item_embeddings").success
    result = materialize(settings, "sid_quality")
    assert result.success, failure_message(result)
    assert metadata_of(result, "sid_quality")["neighbours_items"] == 55
    assert "measures of vectors leave out 5 of 60 items" in capsys.readouterr().err
