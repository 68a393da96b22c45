"""The graph in the Dagster project of somebody else, beside assets and resources of theirs."""

import os

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

import sid_assets
from sid_assets.core.errors import InputError
from sid_assets.graph import semantic_ids
from sid_assets.settings import Settings
from sid_assets_tests.graph import write_catalog, write_interactions
from sid_assets_tests.host import host, keys_of, run, settings_in

TABLES = ("item_texts", "item_embeddings", "codes", "sid_registry", "pid2sid")


def test_two_catalogs_run_beside_a_host_with_resources_of_its_own(tmp_path):
    parts = []
    for number, country in enumerate(("us", "de")):
        folder = tmp_path / country
        folder.mkdir()
        write_catalog(folder / "catalog.parquet", seed=number)
        data = str(tmp_path / "data")
        settings = settings_in(folder).changed(data_dir=data)
        parts.append(semantic_ids(settings, key_prefix=country, training=False, quality=False))

    @dg.asset
    def of_the_host() -> int:
        return 1

    @dg.asset(ins={"pid2sid": dg.AssetIn(key=["us", "pid2sid"])})
    def popular(pid2sid: pa.Table) -> pa.Table:
        return pid2sid.slice(0, 3)

    definitions = host(*parts, assets=[of_the_host, popular])
    result = run(definitions)
    assert result.success
    assert {f"{country}/{table}" for country in ("us", "de") for table in TABLES} < keys_of(
        definitions
    )
    for number, country in enumerate(("us", "de")):
        catalog = pd.read_parquet(tmp_path / country / "catalog.parquet")
        found = sid_assets.load(str(tmp_path / "data" / country))["pid2sid"].to_pandas()
        assert sorted(found.pid) == sorted(catalog.pid), number
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"us", "de"}


def test_every_file_lies_below_the_prefix(tmp_path):
    write_catalog(tmp_path / "catalog.parquet")
    write_interactions(tmp_path / "rows.parquet", range(1, 60))
    settings = settings_in(tmp_path, interactions=str(tmp_path / "rows.parquet"))
    definitions = host(semantic_ids(settings, key_prefix="shop/us"))
    assert run(definitions).success
    (shop,) = (tmp_path / "data").iterdir()
    assert [path.name for path in shop.iterdir()] == ["us"]
    names = {path.name for path in (shop / "us").iterdir() if not path.name.startswith(".")}
    assert {
        *("pid2sid.parquet", "tokenizer_checkpoint.pt", "sid_report.html", "sid2pid.json"),
        *("sid_vocabulary.parquet", "video_rec_dataset.parquet"),
    } <= names


def test_without_a_prefix_keys_are_as_in_the_program_of_its_own_and_names_are_not():
    definitions = semantic_ids(Settings())
    from sid_assets.definitions import defs

    assert keys_of(definitions) == keys_of(defs)
    assert set(definitions.resources or {}) == {
        *("semantic_ids_settings", "semantic_ids_refresh", "semantic_ids_io_manager")
    }
    assert definitions.executor is None
    assert not definitions.loggers
    assert [job.name for job in definitions.jobs or ()] == ["refresh_semantic_ids"]


def test_the_job_makes_the_assets_of_its_catalog_only(tmp_path):
    @dg.asset
    def of_the_host() -> int:
        return 1

    definitions = host(semantic_ids(settings_in(tmp_path), name="ids"), assets=[of_the_host])
    layer = definitions.resolve_job_def("refresh_ids").asset_layer
    made = {key.to_user_string() for key in layer.executable_asset_keys}
    assert "pid2sid" in made
    assert "of_the_host" not in made


def test_parts_may_be_left_out(tmp_path):
    keys = keys_of(semantic_ids(settings_in(tmp_path), training=False, quality=False))
    assert "sid_quality" not in keys
    assert not [key for key in keys if key.endswith("_dataset")]


def test_the_launchpad_overrides_the_settings_of_one_catalog(tmp_path):
    write_catalog(tmp_path / "catalog.parquet")
    write_catalog(tmp_path / "other.parquet", items=20)
    definitions = host(semantic_ids(settings_in(tmp_path), key_prefix="us"))
    other = {"catalog": str(tmp_path / "other.parquet")}
    config = {"resources": {"us_settings": {"config": other}}}
    assert run(definitions, "us/item_texts", config=config).success
    folder = sid_assets.load(str(tmp_path / "data" / "us"))
    assert folder["item_texts"].to_table().num_rows == 20


def test_a_refusal_names_the_resource_that_permits_it(tmp_path):
    write_catalog(tmp_path / "catalog.parquet")
    settings = settings_in(tmp_path)
    assert run(host(semantic_ids(settings, key_prefix="us", training=False, quality=False))).success
    other = settings.changed(text_template="{title}")
    result = run(host(semantic_ids(other, key_prefix="us")), "us/item_texts")
    assert not result.success
    failure = result.failure_data_for_node("us__item_texts")
    assert failure
    assert '{"resources": {"us_refresh": {"config": {"new_generation": true}}}}' in str(
        failure.error.message if failure.error else ""
    )


def test_a_data_folder_from_a_variable_needs_no_prefix():
    with pytest.raises(InputError, match="data_dir must be a text where there is a key prefix"):
        semantic_ids(Settings(data_dir=dg.EnvVar("PLACE")), key_prefix="us")


def test_a_name_that_dagster_refuses_is_refused():
    with pytest.raises(InputError, match="letters, digits and underscores"):
        semantic_ids(Settings(), name="us-east")


def test_owners_tags_and_freshness_follow_the_settings(tmp_path):
    settings = settings_in(
        tmp_path, owners="ann@example.com, team:recsys", tags="tier=1, live", fresh_hours=30
    )
    graph = semantic_ids(settings, key_prefix="us").resolve_asset_graph()
    node = graph.get(dg.AssetKey(["us", "pid2sid"]))
    assert node.owners == ["ann@example.com", "team:recsys"]
    assert {"tier": "1", "live": ""}.items() <= node.tags.items()
    assert node.freshness_policy
    assert graph.get(dg.AssetKey(["us", "codes"])).freshness_policy is None


def test_two_runs_never_refresh_one_data_folder(tmp_path):
    write_catalog(tmp_path / "catalog.parquet")
    definitions = host(semantic_ids(settings_in(tmp_path), name="one"))
    again = host(semantic_ids(settings_in(tmp_path), name="two"))
    with dg.instance_for_test() as instance:
        assert run(definitions, "item_texts", instance=instance).success
        job = definitions.resolve_implicit_global_asset_job_def()
        other = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        taken = tmp_path / "data" / ".taken_by.json"
        taken.write_text(taken.read_text().replace(taken.read_text()[9:-2], other.run_id))
        result = run(again, "item_texts", instance=instance)
        assert not result.success
        failure = result.failure_data_for_node("item_texts")
        assert failure
        assert f"run {other.run_id}" in str(failure.error and failure.error.message)
        instance.report_run_canceled(other)
        assert run(again, "item_texts", instance=instance).success


def test_names_in_the_environment_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SID_CATALOG", "elsewhere.parquet")
    monkeypatch.setenv("SID_NO_SUCH_SETTING", "1")
    write_catalog(tmp_path / "catalog.parquet")
    assert run(host(semantic_ids(settings_in(tmp_path))), "item_texts").success
    assert os.environ["SID_NO_SUCH_SETTING"] == "1"
