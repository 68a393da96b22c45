"""`sid_quality` as Dagster runs it: its checks warn only if a limit is exceeded."""

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from sid_assets_tests.graph import (
    failed_checks,
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    settings_with_interactions,
    write_catalog,
    write_frame,
    write_interactions,
)

MADE_FROM = ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty items, some of them sharing a SID, by a tokenizer that does not use all of its codes;
    and interactions.
    """
    path = tmp_path_factory.mktemp("quality")
    frame = write_catalog(path / "catalog.parquet")
    write_interactions(path / "interactions.parquet", frame.pid.tolist())
    assert materialize(settings_for(path, codebook_size="48"), *MADE_FROM).success
    return path


@pytest.mark.parametrize(
    ("check", "setting", "passes", "warns"),
    [
        ("collisions", "max_collision_share", ("1", "100%"), ("0.005", "0.5%")),
        ("utilisation", "min_utilisation", ("0.005", "0.5%"), ("1", "100%")),
        ("reconstruction", "max_error_ratio", ("100", "100"), ("0.005", "0.005")),
    ],
)
def test_an_exceeded_limit_warns(folder, check, setting, passes, warns):
    for (limit, shown), wanted in ((passes, True), (warns, False)):
        result = materialize(settings_for(folder, **{setting: limit}), "sid_quality", checks=True)
        assert result.success, "a warning stops nothing"
        (found,) = [c for c in result.get_asset_check_evaluations() if c.check_name == check]
        assert found.passed == wanted
        assert (f"sid_quality:{check}" in failed_checks(result)) != wanted
        said = f"; {shown} is the limit (SID_{setting.upper()})"
        assert (found.description or "").endswith(said)


def test_figures_pictures_and_the_page_are_its_metadata(folder):
    settings = settings_with_interactions(folder)
    (event,) = materialize(settings, "sid_quality").asset_materializations_for_node("sid_quality")
    found = event.metadata
    for name in (
        *("items", "sid_colliding_share", "prefix_1_distinct", "layer_1_dead"),
        *("layer_3_error_p99", "collisions_same_text", "interactions_sid_colliding_share"),
        *("interactions_layer_1_perplexity", "interactions_layer_3_error_mean"),
        *("histories_ambiguous_share",),
    ):
        assert isinstance(found[name], dg.IntMetadataValue | dg.FloatMetadataValue), name
    for name in ("code_usage", "group_sizes", "reconstruction_error", "uniqueness_by_prefix"):
        assert "(data:image/png;base64," in str(found[name].value), name
    page = Path(str(found["report"].value)).read_text()
    assert "Weighted by interactions" in page


def test_popularity_ceiling_purity_and_fan_out_are_numbers_and_sections(folder):
    settings = settings_for(
        folder,
        interactions=str(folder / "interactions.parquet"),
        quality_column="category",
    )
    found = metadata_of(materialize(settings, "sid_quality"), "sid_quality")
    for name in (
        *("popularity_first_colliding_share", "popularity_never_seen_items"),
        *("popularity_last_error_mean", "recall_ceiling_most_popular", "recall_ceiling_random"),
        *("recall_ceiling_largest_pid", "purity_prefix_1_above_chance", "purity_sid_share"),
        *("purity_chance", "fan_out_2_mean", "fan_out_3_max", "largest_branch_share"),
    ):
        assert isinstance(found[name], int | float), name
    assert found["recall_ceiling_split"] == 1
    assert found["recall_ceiling_targets"] == 2
    assert found["purity_values"] == 2
    page = Path(str(found["report"])).read_text()
    for key in ("fan-out", "popularity", "recall-ceiling", "purity"):
        assert f'<section id="{key}">' in page, key
        assert f'<div id="{key}-chart"' in page, key


def test_without_interactions_and_a_column_only_the_tree_is_added(folder):
    settings = settings_for(folder, interactions="")
    found = metadata_of(materialize(settings, "sid_quality"), "sid_quality")
    assert "fan_out_1_mean" in found
    assert not [name for name in found if name.startswith(("popularity", "recall", "purity"))]


def test_targets_of_split_0_are_used_and_announced_where_split_1_has_none(folder, capsys):
    frame = write_interactions(folder / "one_split.parquet", range(1, 61))
    frame["split"] = 0
    write_frame(folder / "one_split.parquet", frame)
    settings = settings_for(folder, interactions=str(folder / "one_split.parquet"))
    found = metadata_of(materialize(settings, "sid_quality"), "sid_quality")
    assert found["recall_ceiling_split"] == 0
    assert found["recall_ceiling_targets"] == 40
    assert "no targets in split 1" in capsys.readouterr().err
    assert "those of split 0 are used" in Path(str(found["report"])).read_text()


def test_a_column_that_is_not_there_stops_the_first_step_and_the_last(folder):
    settings = settings_for(folder, quality_column="colour")
    for table in ("item_texts", "sid_quality"):
        result = materialize(settings, table)
        assert not result.success
        message = failure_message(result)
        assert "no column 'colour'" in message, table
        assert "SID_QUALITY_COLUMN" in message, table


def test_a_catalog_that_changed_after_the_texts_is_announced(folder, tmp_path, capsys):
    write_catalog(tmp_path / "catalog.parquet", items=50, seed=1)
    settings = settings_for(
        folder, catalog=str(tmp_path / "catalog.parquet"), quality_column="category"
    )
    found = metadata_of(materialize(settings, "sid_quality"), "sid_quality")
    assert found["purity_without_value"] == 10
    assert "has changed since item_texts was made" in capsys.readouterr().err


def test_a_catalog_whose_texts_are_all_the_same_is_measured(tmp_path):
    pids = list(range(1, 31))
    write_frame(tmp_path / "catalog.parquet", pd.DataFrame({"pid": pids, "title": "the same"}))
    write_interactions(tmp_path / "interactions.parquet", pids)
    interactions = str(tmp_path / "interactions.parquet")
    settings = settings_for(tmp_path, text_template="{title}", interactions=interactions)
    result = materialize(settings, *MADE_FROM, "sid_quality", checks=True)
    assert result.success, failure_message(result)
    assert "sid_quality:reconstruction" not in failed_checks(result)
    (event,) = result.asset_materializations_for_node("sid_quality")
    assert event.metadata["sid_colliding_share"].value == 1
    assert event.metadata["layer_3_error_mean"].value == pytest.approx(0, abs=1e-6)
