"""Settings: what the environment says reaches the assets, and the docs say the same."""

from pathlib import Path

import dagster as dg
import pytest

from sid_assets import sample
from sid_assets.core.errors import InputError
from sid_assets.definitions import defs, resources
from sid_assets.settings import Refresh, Settings, table
from sid_assets_tests.graph import assets_and_checks

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"


def test_the_defaults_are_those_of_the_deployment():
    demo, onerec = (
        Settings.from_environment({"SID_DEPLOYMENT": name}) for name in ("demo", "onerec")
    )
    assert (demo.catalog, demo.tokenizer, demo.codebook_size) == (str(sample.CATALOG), "train", 256)
    assert (onerec.catalog, onerec.embedder, onerec.codebook_size) == ("", "qwen3", 8192)
    assert onerec.tokenizer == "OpenOneRec/OneRec-tokenizer"


def test_the_environment_wins_over_the_default():
    settings = Settings.from_environment({"SID_DATA_DIR": "elsewhere", "SID_CODEBOOK_SIZE": "64"})
    assert settings.data_dir == "elsewhere"
    assert settings.codebook_size == 64


def test_the_samples_users_go_with_the_samples_items_only():
    assert Settings.from_environment({}).of_catalog("interactions") == str(sample.INTERACTIONS)
    own = Settings.from_environment({"SID_CATALOG": "mine.parquet"})
    assert (own.of_catalog("interactions"), own.of_catalog("captions")) == ("", "")
    assert Settings.from_environment({"SID_INTERACTIONS": ""}).interactions == ""


def test_a_line_in_dotenv_is_a_setting_and_the_environment_wins(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("SID_DATA_DIR=from-file\nSID_SEED=7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SID_SEED", "8")
    settings = Settings.from_environment()
    assert (settings.data_dir, settings.seed) == ("from-file", 8)


def test_the_servers_key_is_no_setting(tmp_path, monkeypatch):
    """Settings are shown in the launchpad and kept with runs; a key must not be."""
    (tmp_path / ".env").write_text("OPENAI_API_KEY=hush\nSID_SEED=7\n")
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment()
    assert settings.seed == 7
    assert "hush" not in settings.model_dump_json()


def test_a_run_config_that_names_one_field_leaves_the_others_as_the_environment_has_them():
    seen = {}

    @dg.asset
    def look(settings: Settings) -> None:
        seen.update(data_dir=settings.data_dir, seed=settings.seed)

    settings = Settings.from_environment({"SID_DATA_DIR": "mine", "SID_SEED": "3"})
    dg.materialize(
        [look],
        resources={"settings": settings},
        run_config={"resources": {"settings": {"config": {"seed": 9}}}},
    )
    assert seen == {"data_dir": "mine", "seed": 9}


def test_the_launchpad_moves_all_tables_together(tmp_path):
    """The IO manager and the assets write to one folder, whatever says which."""
    made = Settings.from_environment({"SID_DATA_DIR": str(tmp_path / "from-environment")})
    result = dg.materialize(
        assets_and_checks(defs),
        selection="item_texts",
        resources=resources(made),
        run_config={
            "resources": {"settings": {"config": {"data_dir": str(tmp_path / "from-launchpad")}}}
        },
    )
    assert result.success
    assert (tmp_path / "from-launchpad" / "item_texts.parquet").exists()
    assert not (tmp_path / "from-environment").exists()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SID_DEPLOYMENT": "prod"}, "is none of demo, onerec"),
        ({"SID_CATALOGUE": "x"}, "SID_CATALOGUE: no such setting"),
        ({"SID_SEED": "many"}, "seed"),
    ],
)
def test_a_wrong_setting_is_refused(environment, words):
    with pytest.raises(InputError, match=words):
        Settings.from_environment(environment)


def test_a_missing_catalog_is_named():
    with pytest.raises(InputError, match="SID_CATALOG is not set"):
        Settings.from_environment({"SID_DEPLOYMENT": "onerec"}).require("catalog")


def test_new_generation_is_no_environment_variable():
    assert not set(Refresh.model_fields) & set(Settings.model_fields)
    with pytest.raises(InputError, match="no such setting"):
        Settings.from_environment({"SID_NEW_GENERATION": "true"})


def test_the_table_in_the_readme_is_the_one_made_from_the_code():
    assert table() in DOCS.read_text(encoding="utf-8")
