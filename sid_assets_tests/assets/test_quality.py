"""`sid_quality` as Dagster runs it: its checks warn only if a limit is exceeded."""

from pathlib import Path

import dagster as dg
import pytest

from sid_assets_tests.graph import (
    failed_checks,
    materialize,
    settings_for,
    write_catalog,
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
        result = materialize(settings_for(folder, **{setting: limit}), "sid_quality")
        assert result.success, "a warning stops nothing"
        (found,) = [c for c in result.get_asset_check_evaluations() if c.check_name == check]
        assert found.passed == wanted
        assert (f"sid_quality:{check}" in failed_checks(result)) != wanted
        said = f"; {shown} is the limit (SID_{setting.upper()})"
        assert (found.description or "").endswith(said)


def test_figures_pictures_and_the_page_are_its_metadata(folder):
    settings = settings_for(folder, interactions=str(folder / "interactions.parquet"))
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
