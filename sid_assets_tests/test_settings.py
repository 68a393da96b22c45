"""Settings: what the environment says reaches the assets, and the docs say the same."""

import json
import os
import re
from typing import Any

import dagster as dg
import pytest
from dagster._cli.utils import get_possibly_temporary_instance_for_cli
from pydantic import ValidationError

from sid_assets import sample
from sid_assets.core.errors import InputError
from sid_assets.definitions import defs
from sid_assets.graph import resources
from sid_assets.settings import DEPLOYMENTS, Refresh, Settings, variable
from sid_assets_tests.graph import assets_and_checks

ANOTHER: dict[Any, Any] = {str: "another", int: 7, float: 0.25, bool: True}
"""A value of each type that is not the default of any setting."""

ANOTHER_OF_ITS_FORM = {
    "deployment": "demo",
    "pid_type": "string",
    "backend": "ray",
    "embedder": "openai",
    "embedding_dtype": "float16",
    "embedding_url": "http://localhost:8000/v1",
    "training": "balanced",
    "training_inequality": 2.5,
    "no_room": "share",
    "on_text_change": "keep",
    "schedule": "30 4 * * *",
    "timezone": "Asia/Shanghai",
    "event_timezone": "Asia/Shanghai",
    "event_split": "leave_last",
    "automation": "conditions",
}
"""The same for settings whose values have a form of their own."""


def test_the_defaults_are_those_of_the_deployment():
    demo, onerec = (
        Settings.from_environment({"SID_DEPLOYMENT": name}) for name in ("demo", "onerec")
    )
    assert (demo.catalog, demo.tokenizer, demo.training_iterations) == (
        str(sample.CATALOG),
        "train",
        10,
    )
    assert (onerec.catalog, onerec.embedder, onerec.training_iterations) == ("", "qwen3", 20)
    assert onerec.tokenizer == "OpenOneRec/OneRec-tokenizer"


def test_the_environment_wins_over_the_default():
    settings = Settings.from_environment({"SID_DATA_DIR": "elsewhere", "SID_CODEBOOK_SIZE": "64"})
    assert settings.data_dir == "elsewhere"
    assert settings.codebook_size == 64


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
@pytest.mark.parametrize("name", Settings.model_fields)
def test_settings_made_in_code_are_those_of_the_environment(deployment, name):
    value = ANOTHER_OF_ITS_FORM.get(name, ANOTHER[Settings.model_fields[name].annotation])
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
    with pytest.raises(InputError, match="catalogue: no such setting"):
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
    assert (seen["embedder"], seen["training_iterations"]) == ("hashing", 20)


class Extended(Settings):
    """A subclass, with a field of its own and another default."""

    label: str = "none"
    seed: int = 5


def test_a_subclass_has_the_defaults_of_the_deployment_too():
    settings = Extended(deployment="onerec", catalog="x")
    assert (settings.embedder, settings.training_iterations) == ("qwen3", 20)
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
    assert isinstance(refused.value.__cause__, ValidationError)
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
    assert Settings.from_environment({}).of_catalog("events") == str(sample.EVENTS)
    own = Settings.from_environment({"SID_CATALOG": "mine.parquet"})
    assert (own.of_catalog("events"), own.of_catalog("captions")) == ("", "")
    assert Settings.from_environment({"SID_EVENTS": ""}).events == ""


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


WRONG_VALUES = [
    ("max_changed_share", "30", "must be a number from 0 to 1"),
    ("max_changed_share", "nan", "must be a number from 0 to 1"),
    ("max_collision_share", "-0.1", "must be a number from 0 to 1"),
    ("min_utilisation", "inf", "must be a number from 0 to 1"),
    ("max_error_ratio", "-1", "must be a number 0 or more"),
    ("max_error_ratio", "inf", "must be a number 0 or more"),
    ("codebook_size", "-1", "must be a whole number from 0 to 8,192"),
    ("codebook_size", "8193", "must be a whole number from 0 to 8,192"),
    ("seed", "-1", "must be a whole number from 0 to 2,147,483,645"),
    ("seed", "4294967296", "must be a whole number from 0 to 2,147,483,645"),
    ("seed", "many", "must be a whole number from 0 to 2,147,483,645"),
    ("seed", "1.5", "must be a whole number from 0 to 2,147,483,645"),
    ("training_iterations", "0", "must be a whole number from 1 to 1,000"),
    ("training_restarts", "-1", "must be a whole number from 0 to 1,000"),
    ("points_per_centroid", "0", "must be a whole number from 1 to 1,000,000"),
    ("max_length", "1", "must be a whole number from 2 to 1,048,576"),
    ("batch_tokens", "-1", "must be a whole number from 0 to 16,777,216"),
    ("embedding_requests", "0", "must be a whole number from 1 to 1,024"),
    ("shuffle", "maybe", "must be true or false"),
    ("pid_type", "text", "not one of auto, int, string"),
    ("embedder", "bert", "not one of hashing, qwen3, openai"),
    ("embedding_dtype", "int8", r"not one of \(empty\), float32, bfloat16, float16"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG_VALUES)
def test_a_value_that_is_not_allowed_is_refused_with_what_is(name, value, words):
    """The error names the variable, from the environment and in code."""
    with pytest.raises(InputError, match=rf"^{variable(name)}={re.escape(value)}: {words}"):
        Settings.from_environment({variable(name): value})
    with pytest.raises(InputError, match=rf"^{variable(name)}={re.escape(value)}: {words}"):
        Settings(**{name: value})


def test_all_wrong_values_are_reported_at_once():
    with pytest.raises(InputError, match=r"SID_SEED=-1: .*SID_SHUFFLE=maybe: "):
        Settings.from_environment({"SID_SEED": "-1", "SID_SHUFFLE": "maybe"})


def test_every_number_has_a_range_that_the_launchpad_and_the_docs_show():
    for name, field in Settings.model_fields.items():
        if field.annotation in (int, float):
            assert field.description, name
            assert re.search(r"(From .* to .*|or more)\.$", field.description), name


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_changed_share", 30.0, "SID_MAX_CHANGED_SHARE=30.0: must be a number from 0 to 1."),
        ("max_changed_share", float("nan"), "SID_MAX_CHANGED_SHARE=nan: must be a number from"),
        ("codebook_size", 9000, "SID_CODEBOOK_SIZE=9000: must be a whole number from 0 to 8,192."),
        ("embedder", "bert", "SID_EMBEDDER=bert: not one of hashing, qwen3, openai."),
    ],
)
def test_run_config_with_a_wrong_value_is_refused_before_any_step(name, value, words):
    """Dagster's error has the message, and none of our frames."""

    @dg.asset
    def look(settings: Settings) -> None:
        """Never reached."""

    with dg.instance_for_test() as instance:
        result = dg.materialize(
            [look],
            resources=resources(Settings()),
            run_config={"resources": {"settings": {"config": {name: value}}}},
            instance=instance,
            raise_on_error=False,
        )
        error = json.dumps([str(event) for event in instance.all_logs(result.run_id)])
    assert words in error
    assert "sid_assets/" not in error


@pytest.mark.parametrize(
    "values", [{"seed": dg.EnvVar.int("NUMBER")}, {"embedder": dg.EnvVar("WORD")}]
)
def test_a_variable_of_dagster_is_checked_when_it_has_its_value(values, monkeypatch):
    settings = Settings(**values)

    @dg.asset
    def look(settings: Settings) -> None:
        """Reached only with good values."""

    monkeypatch.setenv("NUMBER", "7")
    monkeypatch.setenv("WORD", "qwen3")
    assert dg.materialize([look], resources={"settings": settings}).success
    monkeypatch.setenv("NUMBER", "-7")
    monkeypatch.setenv("WORD", "bert")
    with pytest.raises(dg.DagsterError) as refused:
        dg.materialize([look], resources={"settings": settings})
    assert re.search(r"SID_SEED=-7|SID_EMBEDDER=bert", str(refused.value.__cause__))


def test_the_smallest_and_the_largest_values_are_allowed():
    lowest = Settings(max_changed_share=0, seed=0, codebook_size=1, batch_tokens=0)
    highest = Settings(max_changed_share=1, seed=2**31 - 3, codebook_size=8192, device="cuda:1")
    assert (lowest.codebook_size, highest.seed, highest.device) == (1, 2**31 - 3, "cuda:1")


def test_an_unknown_deployment_is_refused():
    with pytest.raises(InputError, match="SID_DEPLOYMENT=prod: not one of demo, onerec"):
        Settings.from_environment({"SID_DEPLOYMENT": "prod"})


def test_a_missing_catalog_is_named():
    with pytest.raises(InputError, match="SID_CATALOG is not set"):
        Settings.from_environment({"SID_DEPLOYMENT": "onerec"}).require("catalog")


@pytest.mark.parametrize("name", ["new_generation", "allow_large_change"])
def test_a_permission_is_not_an_environment_variable(name):
    assert not set(Refresh.model_fields) & set(Settings.model_fields)
    with pytest.raises(InputError, match=f'no such setting.*for one run.*"{name}": true'):
        Settings.from_environment({f"SID_{name.upper()}": "true"})
