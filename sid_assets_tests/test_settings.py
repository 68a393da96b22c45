"""Settings: what the environment says reaches the assets, and the docs say the same."""

import os
from typing import Any

import dagster as dg
import pytest
from dagster._cli.utils import get_possibly_temporary_instance_for_cli
from pydantic import ValidationError

from sid_assets import sample
from sid_assets.core.errors import InputError
from sid_assets.definitions import defs, resources
from sid_assets.settings import DEPLOYMENTS, Refresh, Settings, variable
from sid_assets_tests.graph import assets_and_checks

ANOTHER: dict[Any, Any] = {str: "another", int: 7, float: 0.25, bool: True}
"""A value of each type that is not the default of any setting."""


def test_the_defaults_are_those_of_the_deployment():
    demo, onerec = (
        Settings.from_environment({"SID_DEPLOYMENT": name}) for name in ("demo", "onerec")
    )
    assert (demo.catalog, demo.tokenizer, demo.training_restarts) == (
        str(sample.CATALOG),
        "train",
        3,
    )
    assert (onerec.catalog, onerec.embedder, onerec.training_restarts) == ("", "qwen3", 1)
    assert onerec.tokenizer == "OpenOneRec/OneRec-tokenizer"


def test_the_environment_wins_over_the_default():
    settings = Settings.from_environment({"SID_DATA_DIR": "elsewhere", "SID_CODEBOOK_SIZE": "64"})
    assert settings.data_dir == "elsewhere"
    assert settings.codebook_size == 64


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
@pytest.mark.parametrize("name", Settings.model_fields)
def test_settings_made_in_code_are_those_of_the_environment(deployment, name):
    value = ANOTHER[Settings.model_fields[name].annotation] if name != "deployment" else "demo"
    values: dict[str, Any] = {"deployment": deployment, name: value}
    environment = {variable(field): str(given) for field, given in values.items()}
    settings = Settings(**values)
    assert settings.model_dump() == Settings.from_environment(environment).model_dump()
    assert settings == Settings.from_environment(environment)
    assert getattr(settings, name) == value


def test_onerec_in_code_needs_a_catalog_too():
    settings = Settings(deployment="onerec")
    assert (settings.catalog, settings.interactions, settings.embedder) == ("", "", "qwen3")
    with pytest.raises(InputError, match="SID_CATALOG is not set"):
        settings.require("catalog")


def test_in_code_an_unknown_setting_or_deployment_is_refused():
    with pytest.raises(ValidationError, match="catalogue"):
        Settings(catalogue="x")  # pyright: ignore[reportCallIssue]
    with pytest.raises(InputError, match="SID_DEPLOYMENT=prod: not one of demo, onerec"):
        Settings(deployment="prod")


@pytest.mark.parametrize("at_launch", [True, False])
def test_dagster_passes_on_the_values_of_the_deployment_and_those_that_were_set(at_launch):
    """Also a value that is the default of the other deployment, which Dagster leaves out."""
    seen = {}

    @dg.asset
    def look(settings: Settings) -> None:
        seen.update(settings.model_dump())

    settings = Settings(deployment="onerec", catalog="x", embedder="hashing")
    resource = resources(settings)["settings"] if at_launch else settings
    dg.materialize(
        [look],
        resources={"settings": resource},
        run_config={"resources": {"settings": {"config": {"seed": 9}}}},
    )
    assert seen == {**settings.model_dump(), "seed": 9}
    assert (seen["embedder"], seen["training_restarts"]) == ("hashing", 1)


class Extended(Settings):
    """A subclass, with a field of its own and another default."""

    label: str = "none"
    seed: int = 5


def test_a_subclass_has_the_defaults_of_the_deployment_too():
    settings = Extended(deployment="onerec", catalog="x")
    assert (settings.embedder, settings.training_restarts) == ("qwen3", 1)
    assert (settings.label, settings.seed) == ("none", 5)
    read = Extended.from_environment(
        {"SID_DEPLOYMENT": "onerec", "SID_CATALOG": "x", "SID_LABEL": "none"}
    )
    assert isinstance(read, Extended)
    assert read == settings


LAUNCHED = {
    "the graph's resource": lambda: resources(Settings())["settings"],
    "an instance": Settings,
    "an instance of a subclass": Extended,
    "the class": Settings.configure_at_launch,
    "the class with a value": lambda: Settings.configure_at_launch(seed=3),
    "a subclass": Extended.configure_at_launch,
}


@pytest.mark.parametrize("resource", LAUNCHED.values(), ids=LAUNCHED)
def test_a_run_cannot_change_the_deployment(resource):
    """The graph was loaded for one, with its executor and its defaults."""

    @dg.asset
    def look(settings: Settings) -> None:
        """Never reached."""

    config: dict[str, Any] = {"deployment": "onerec", "catalog": "x"}
    with pytest.raises(dg.DagsterError) as refused:
        dg.materialize(
            [look],
            resources={"settings": resource()},
            run_config={"resources": {"settings": {"config": config}}},
        )
    assert isinstance(refused.value.__cause__, InputError)
    assert "SID_DEPLOYMENT=onerec: a run cannot change" in str(refused.value.__cause__)


def test_settings_may_be_variables_of_dagster_but_not_the_deployment(monkeypatch):
    monkeypatch.setenv("CATALOG", "x")
    seen = {}

    @dg.asset
    def look(settings: Settings) -> None:
        seen.update(settings.model_dump())

    settings = Settings(catalog=dg.EnvVar("CATALOG"))
    dg.materialize([look], resources={"settings": settings})
    assert seen["catalog"] == "x"
    with pytest.raises(InputError, match=r"use Settings\.from_environment"):
        Settings(deployment=dg.EnvVar("SID_DEPLOYMENT"))


def test_the_samples_users_go_with_the_samples_items_only():
    assert Settings.from_environment({}).of_catalog("interactions") == str(sample.INTERACTIONS)
    own = Settings.from_environment({"SID_CATALOG": "mine.parquet"})
    assert (own.of_catalog("interactions"), own.of_catalog("captions")) == ("", "")
    assert Settings.from_environment({"SID_INTERACTIONS": ""}).interactions == ""


def test_a_line_in_dotenv_is_a_setting_and_wins_as_in_dagsters_commands(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("SID_DATA_DIR=from-file\nSID_SEED=7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SID_SEED", "8")
    monkeypatch.setenv("SID_MAX_LENGTH", "99")
    settings = Settings.from_environment()
    assert (settings.data_dir, settings.seed, settings.max_length) == ("from-file", 7, 99)
    with get_possibly_temporary_instance_for_cli():  # Dagster's commands put it in the environment
        assert settings == Settings.from_environment(os.environ)


def test_an_env_file_that_is_not_text_is_refused(tmp_path, monkeypatch):
    (tmp_path / ".env").write_bytes(b"SID_SEED=\xff\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"\.env: not UTF-8 text"):
        Settings.from_environment()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SID_SEED=1\n\n  SID CATALOG=hush\n", 3),
        ('SID_CATALOG="hush\nSID_SEED=7\n', 1),
        ("# a comment\n=hush\nSID_SEED=7\n", 2),
    ],
)
def test_a_line_that_cannot_be_parsed_is_refused(text, line, tmp_path, monkeypatch):
    """The line is named, not quoted: it may hold a key."""
    (tmp_path / ".env").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"\.env, line {line}: cannot be parsed") as refused:
        Settings.from_environment()
    assert "hush" not in str(refused.value)


def test_the_servers_key_is_not_a_setting(tmp_path, monkeypatch):
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
    """The IO manager and the assets write to one folder, wherever it is set."""
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
        ({"SID_DEPLOYMENT": "prod"}, "not one of demo, onerec"),
        ({"SID_CATALOGUE": "x"}, "SID_CATALOGUE: no such setting. Did you mean SID_CATALOG?"),
        ({"SID_SEED": "many"}, "SID_SEED=many: input should be a valid integer"),
    ],
)
def test_a_wrong_setting_is_refused(environment, words):
    with pytest.raises(InputError, match=words):
        Settings.from_environment(environment)


def test_a_missing_catalog_is_named():
    with pytest.raises(InputError, match="SID_CATALOG is not set"):
        Settings.from_environment({"SID_DEPLOYMENT": "onerec"}).require("catalog")


def test_new_generation_is_not_an_environment_variable():
    assert not set(Refresh.model_fields) & set(Settings.model_fields)
    with pytest.raises(InputError, match="no such setting"):
        Settings.from_environment({"SID_NEW_GENERATION": "true"})
