"""`sid_quality` as Dagster runs it: its checks warn where a limit is passed, and only there."""

import pytest

from sid_assets_tests.graph import failed_checks, materialize, settings_for, write_catalog

MADE_FROM = ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty items with codes of a tokenizer of 8, some of them with one SID."""
    path = tmp_path_factory.mktemp("quality")
    write_catalog(path / "catalog.parquet")
    assert materialize(settings_for(path), *MADE_FROM).success
    return path


@pytest.mark.parametrize(
    ("check", "setting", "passes", "warns"),
    [
        ("collisions", "max_collision_share", ("1", "100%"), ("0.005", "0.5%")),
        ("utilisation", "min_utilisation", ("0.005", "0.5%"), ("1.01", "101%")),
        ("reconstruction", "max_error_ratio", ("100", "100"), ("0.005", "0.005")),
    ],
)
def test_a_limit_that_is_passed_warns(folder, check, setting, passes, warns):
    for (limit, shown), wanted in ((passes, True), (warns, False)):
        result = materialize(settings_for(folder, **{setting: limit}), "sid_quality")
        assert result.success, "a warning stops nothing"
        (found,) = [c for c in result.get_asset_check_evaluations() if c.check_name == check]
        assert found.passed == wanted
        assert (f"sid_quality:{check}" in failed_checks(result)) != wanted
        said = f"; {shown} is the limit (SID_{setting.upper()})"
        assert (found.description or "").endswith(said)
