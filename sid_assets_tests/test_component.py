"""The component, by itself and in a project that Dagster's own command has made."""

from typing import Any

import dagster as dg
import pandas as pd
import pytest
import yaml
from dagster.components.testing.utils import component_defs

import sid_assets
from sid_assets.core.errors import InputError
from sid_assets.settings import Settings
from sid_assets_tests.dagster_project import EXECUTOR, Project
from sid_assets_tests.graph import write_catalog

SCHEMA = sid_assets.SemanticIds.model().model_json_schema()
COUNTRIES = ("us", "de")

ASSETS = """
from pathlib import Path

import dagster as dg
import pandas as pd


def write(name: str) -> None:
    rows = [(pid, f"A thing of {name} with number {pid}") for pid in range(1, 61)]
    Path("raw").mkdir(exist_ok=True)
    pd.DataFrame(rows, columns=["pid", "title"]).to_parquet(f"raw/{name}.parquet")


@dg.asset
def raw_us() -> None:
    write("us")


@dg.asset
def raw_de() -> None:
    write("de")

"""
"""A module of the user's that writes two catalogs."""


def resolved(**attributes: Any) -> dg.Definitions:
    """The definitions of a component with these attributes."""
    component = sid_assets.SemanticIds.resolve_from_yaml(yaml.safe_dump(attributes) or "")
    return component_defs(component=component)


def data_dir(definitions: dg.Definitions, settings: str) -> str:
    """Where the graph of these settings, a resource, writes."""
    with dg.build_resources({"settings": (definitions.resources or {})[settings]}) as resources:
        return resources.settings.data_dir


def keys_of(definitions: dg.Definitions) -> set[str]:
    """All keys, as text."""
    return {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}


def test_without_attributes_the_graph_is_that_of_the_demo():
    assert keys_of(resolved(settings={})) == keys_of(sid_assets.semantic_ids(Settings()))


def test_every_setting_can_be_given():
    fields = SCHEMA["$defs"]["SemanticIdsSettingsModel"]["properties"]
    assert set(fields) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        assert fields[name]["description"].startswith(str(field.description)), name


def test_every_attribute_is_described():
    for model in (SCHEMA, *SCHEMA["$defs"].values()):
        for name, field in model["properties"].items():
            assert field.get("description"), name


def test_attributes_decide_names_and_parts():
    definitions = resolved(
        key_prefix="shop/us",
        group_prefix="ours",
        name="american",
        pool="gpus",
        training=False,
        quality=False,
        settings={"data_dir": "/data", "embedder": "hashing"},
    )
    keys = keys_of(definitions)
    assert "shop/us/codes" in keys
    assert not {key for key in keys if key.endswith(("sid_quality", "_dataset"))}
    node = definitions.resolve_asset_graph().get(dg.AssetKey(["shop", "us", "codes"]))
    assert node.group_name.startswith("ours_")
    assert node.pools == {"gpus"}
    assert [job.name for job in definitions.jobs or ()] == ["refresh_american"]
    assert data_dir(definitions, "american_settings") == "/data/shop/us"


def test_an_upstream_asset_comes_before_the_texts():
    definitions = resolved(
        key_prefix="us", upstream={"catalog": {"key": "raw/us", "path": "raw/us.parquet"}}
    )
    node = definitions.resolve_asset_graph().get(dg.AssetKey(["us", "item_texts"]))
    assert dg.AssetKey(["raw", "us"]) in node.parent_keys


def test_a_variable_of_the_environment_can_be_the_value_of_a_setting(monkeypatch):
    monkeypatch.setenv("OUR_PLACE", "/elsewhere")
    settings = {"data_dir": "{{ env.OUR_PLACE }}"}
    definitions = resolved(key_prefix="us", settings=settings)
    assert data_dir(definitions, "us_settings") == "/elsewhere/us"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"settings": {"embedder": "words"}}, "SID_EMBEDDER=words: not one of"),
        ({"settings": {"schedule": "daily"}}, "SID_SCHEDULE=daily: must be a cron schedule"),
        ({"key_prefix": "us-east"}, "'us-east': names may have"),
        ({"upstream": {"catalogue": {"key": "raw"}}}, "catalogue: no such input"),
    ],
)
def test_a_wrong_value_is_refused_with_a_message(attributes, message):
    with pytest.raises(InputError, match=message):
        resolved(**attributes)


@pytest.mark.parametrize("attributes", [{"settings": {"codebook_sise": 8}}, {"codebook_sise": 8}])
def test_an_unknown_name_is_refused(attributes):
    with pytest.raises(ValueError, match=r"codebook_sise[\s\S]*not permitted"):
        resolved(**attributes)


@pytest.fixture(scope="module")
def scaffolded(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a catalog that `dg scaffold` has added."""
    project = Project(tmp_path_factory.mktemp("scaffolded"), "sid_project_scaffolded")
    added = project.run(
        *("dg", "scaffold", "defs", "sid_assets.SemanticIds", "shop"),
        *("--key-prefix", "shop", "--catalog", "items.parquet"),
    )
    assert added.returncode == 0, added.stdout
    return project


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two catalogs from assets of its own, in which everything has been made."""
    project = Project(tmp_path_factory.mktemp("launched"), "sid_project_launched")
    (project.defs / "raw.py").write_text(ASSETS)
    (project.defs / "executor.py").write_text(EXECUTOR)
    for country in COUNTRIES:
        settings = {"codebook_size": 8, "text_template": "{title}", "automation": "conditions"}
        project.component(
            country,
            key_prefix=country,
            training=False,
            quality=False,
            upstream={"catalog": {"key": f"raw_{country}", "path": f"raw/{country}.parquet"}},
            settings={**settings, "events": "", "captions": ""},
        )
    checked = project.run("dg", "check", "defs")
    assert checked.returncode == 0, checked.stdout
    assert "All component YAML validated successfully" in checked.stdout
    result = project.run("dg", "launch", "--assets", "*")
    assert result.returncode == 0, result.stdout[-3000:]
    return project


def test_it_is_listed(scaffolded):
    listed = scaffolded.run("dg", "list", "components", "--json")
    assert '"sid_assets.SemanticIds"' in listed.stdout


def test_what_is_scaffolded_works(scaffolded):
    written = yaml.safe_load((scaffolded.defs / "shop" / "defs.yaml").read_text())
    assert written == {
        "type": "sid_assets.SemanticIds",
        "attributes": {
            "key_prefix": "shop",
            "settings": {"deployment": "demo", "data_dir": "data", "catalog": "items.parquet"},
        },
    }
    frame = write_catalog(scaffolded.folder / "items.parquet")
    with scaffolded.loaded() as definitions, dg.instance_for_test() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        texts = dg.AssetKey(["shop", "item_texts"])
        assert job.execute_in_process(instance=instance, asset_selection=[texts]).success
    found = sid_assets.load(str(scaffolded.folder / "data" / "shop"))["item_texts"].to_pandas()
    assert found.pid.tolist() == frame.pid.tolist()


def test_a_misspelt_setting_is_refused_by_its_name(scaffolded):
    scaffolded.component("shop", settings={"codebook_sise": 8})
    checked = scaffolded.run("dg", "check", "yaml")
    assert checked.returncode == 1
    assert "{'codebook_sise': 8} is not valid" in checked.stdout


def instance_of(project: Project) -> dg.DagsterInstance:
    """The instance that its commands use."""
    return dg.DagsterInstance.from_config(str(project.home))


def test_two_catalogs_are_made_side_by_side(launched):
    for country in COUNTRIES:
        sids = sid_assets.load(str(launched.folder / "data" / country))["pid2sid"].to_pandas()
        raw = pd.read_parquet(launched.folder / "raw" / f"{country}.parquet")
        assert sids.pid.tolist() == raw.pid.tolist()
    with instance_of(launched) as instance:
        (run,) = instance.get_runs()
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        records = instance.get_records_for_run(run.run_id, of_type=kind, limit=1000).records
        events = [record.event_log_entry.dagster_event for record in records]
        checks = [event.asset_check_evaluation_data for event in events if event]
        assert {check.asset_key.path[0] for check in checks} == set(COUNTRIES)
        assert [check.check_name for check in checks if not check.passed] == []


def test_a_new_catalog_of_one_refreshes_that_one_only(launched):
    with launched.loaded() as definitions, instance_of(launched) as instance:
        first = dg.evaluate_automation_conditions(definitions, instance)
        assert first.total_requested == 0
        instance.report_runless_asset_event(
            dg.AssetMaterialization("raw_us", tags={"dagster/data_version": "of the next day"})
        )
        then = dg.evaluate_automation_conditions(definitions, instance, cursor=first.cursor)
        graph = definitions.resolve_asset_graph()
        requested = {key for key in graph.get_all_asset_keys() if then.get_num_requested(key)}
    assert dg.AssetKey(["us", "item_texts"]) in requested
    assert dg.AssetKey(["us", "pid2sid"]) in requested
    assert {key.path[0] for key in requested} == {"us"}
