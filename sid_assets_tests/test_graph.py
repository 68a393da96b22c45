"""The graph in the Dagster project of somebody else, beside assets and resources of theirs."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

import sid_assets
from sid_assets.core.errors import InputError
from sid_assets.graph import semantic_ids
from sid_assets.settings import Settings
from sid_assets_tests.graph import write_catalog, write_interactions

TABLES = ("item_texts", "item_embeddings", "codes", "sid_registry", "pid2sid")


class HostIOManager(dg.IOManager):
    """The host's, which keeps what assets return in memory."""

    def __init__(self) -> None:
        self.kept: dict[dg.AssetKey, Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep it."""
        self.kept[context.asset_key] = obj

    def load_input(self, context: dg.InputContext) -> Any:
        """Give it, as what the input is annotated with."""
        table = self.kept[context.asset_key]
        wanted = context.dagster_type.typing_type
        return {
            pa.Table: lambda: table,
            pa.RecordBatchReader: table.to_reader,
            pa.dataset.Dataset: lambda: pa.dataset.dataset(table),
            pd.DataFrame: table.to_pandas,
        }[wanted]()


def settings_in(folder: Path, **values: Any) -> Settings:
    """Settings of the demo with a tokenizer that is trained fast."""
    catalog = folder / "catalog.parquet"
    values = {"catalog": str(catalog), "events": "", "captions": "", **values}
    return Settings(data_dir=str(folder / "data"), codebook_size=8, **values)


def host(*parts: dg.Definitions, assets: Any = ()) -> dg.Definitions:
    """A project of somebody else's with an IO manager, an executor and `settings` of its own."""
    own = dg.Definitions(
        assets=list(assets),
        resources={
            "io_manager": HostIOManager(),
            "settings": dg.ResourceDefinition.none_resource(),
        },
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(own, *parts)


def run(
    definitions: dg.Definitions,
    *selected: str,
    instance: dg.DagsterInstance | None = None,
    config: dict[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    """Materialise a selection with its checks; failures do not raise."""
    job = definitions.resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey.from_user_string(key) for key in selected]
    return job.execute_in_process(
        instance=instance, asset_selection=keys or None, run_config=config, raise_on_error=False
    )


def keys_of(definitions: dg.Definitions) -> set[str]:
    """All keys, as text."""
    return {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}


def test_two_catalogs_run_beside_a_host_with_resources_of_its_own(tmp_path):
    parts = []
    for number, country in enumerate(("us", "de")):
        folder = tmp_path / country
        folder.mkdir()
        write_catalog(folder / "catalog.parquet", seed=number)
        data = str(tmp_path / "data")
        settings = settings_in(folder).changed(data_dir=data)
        parts.append(semantic_ids(settings, key_prefix=country, training=False))

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


@pytest.mark.parametrize("form", ["table", "reader", "dataset", "pandas"])
def test_an_upstream_asset_gives_the_catalog_through_the_io_manager_of_the_host(form, tmp_path):
    frame = write_catalog(tmp_path / "catalog.parquet")

    @dg.asset
    def raw_us() -> pa.Table:
        return pa.Table.from_pandas(frame, preserve_index=False)

    part = semantic_ids(
        settings_in(tmp_path),
        key_prefix="us",
        training=False,
        quality=False,
        upstream={"catalog": sid_assets.Upstream("raw_us", load_as=form)},
    )
    definitions = host(part, assets=[raw_us])
    result = run(definitions, "raw_us", "us/catalog", "us/item_texts")
    assert result.success
    texts = sid_assets.load(str(tmp_path / "data" / "us"))["item_texts"].to_table()
    assert texts["pid"].to_pylist() == sorted(frame.pid)
    graph = definitions.resolve_asset_graph()
    assert graph.get(dg.AssetKey(["us", "catalog"])).parent_keys == {dg.AssetKey("raw_us")}


def versions_read(instance: dg.DagsterInstance, of: str, by: str) -> str | None:
    """The data version of an input that an asset was made from, as Dagster recorded it."""
    entry = instance.get_latest_materialization_event(dg.AssetKey.from_user_string(by))
    assert entry
    assert entry.asset_materialization
    return (entry.asset_materialization.tags or {}).get(f"dagster/input_data_version/{of}")


def test_files_that_no_asset_makes_have_the_data_version_that_was_read(tmp_path):
    write_catalog(tmp_path / "catalog.parquet")
    definitions = host(semantic_ids(settings_in(tmp_path), key_prefix="us"))
    with dg.instance_for_test() as instance:
        read = []
        for items in (20, 30):
            write_catalog(tmp_path / "catalog.parquet", items=items)
            assert run(definitions, "us/item_texts", instance=instance).success
            (seen,) = instance.fetch_observations(dg.AssetKey(["us", "catalog"]), limit=1).records
            assert seen.asset_observation
            version = seen.asset_observation.tags["dagster/data_version"]
            assert versions_read(instance, "us/catalog", "us/item_texts") == version
            read.append(version)
        assert read[0] != read[1]


def upstream_with_files(folder: Path, catalog: Path) -> dg.Definitions:
    """A project with an asset that writes files itself."""
    numbers = iter(range(1, 100))

    @dg.asset
    def raw_us() -> None:
        write_catalog(catalog, items=10 * next(numbers))

    part = semantic_ids(
        settings_in(folder),
        key_prefix="us",
        training=False,
        quality=False,
        upstream={"catalog": sid_assets.Upstream("raw_us", path=str(folder / "raw.parquet"))},
    )
    return host(part, assets=[raw_us])


def test_an_upstream_asset_that_writes_files_itself_comes_first(tmp_path):
    definitions = upstream_with_files(tmp_path, tmp_path / "raw.parquet")
    assert "us/catalog" not in keys_of(definitions)
    with dg.instance_for_test() as instance:
        for items in (10, 20):
            assert run(definitions, "raw_us", "us/item_texts", instance=instance).success
            texts = sid_assets.load(str(tmp_path / "data" / "us"))["item_texts"].to_table()
            assert texts.num_rows == items


def test_files_that_stay_though_their_asset_was_made_again_are_told(tmp_path):
    definitions = upstream_with_files(tmp_path, tmp_path / "elsewhere.parquet")
    write_catalog(tmp_path / "raw.parquet")
    with dg.instance_for_test() as instance:
        logs = []
        for _ in range(2):
            result = run(definitions, "raw_us", "us/item_texts", instance=instance)
            assert result.success
            logs.append("\n".join(str(entry) for entry in instance.all_logs(result.run_id)))
    told = "raw_us was materialised again, but the files that it is said to write"
    assert [told in log for log in logs] == [False, True]


def test_an_unknown_input_is_refused(tmp_path):
    with pytest.raises(InputError, match="catalogue: no such input"):
        semantic_ids(settings_in(tmp_path), upstream={"catalogue": sid_assets.Upstream("raw")})


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
