"""The inputs as assets: files with a data version, and assets of the user's."""

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

import sid_assets
from sid_assets.core.errors import InputError
from sid_assets.graph import semantic_ids
from sid_assets_tests.graph import write_catalog
from sid_assets_tests.host import host, keys_of, run, settings_in


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


def stale_causes(
    instance: dg.DagsterInstance, definitions: dg.Definitions, of: str
) -> list[dg.AssetKey]:
    """The inputs for which Dagster's UI shows an asset as stale."""
    resolver = CachingStaleStatusResolver(
        instance, definitions.resolve_asset_graph(), LoadingContextForTest(instance)
    )
    causes = resolver.get_stale_causes(dg.AssetKey.from_user_string(of))
    return [cause.dependency.asset_key for cause in causes if cause.dependency]


def test_files_that_no_asset_makes_have_the_data_version_that_was_read(tmp_path):
    write_catalog(tmp_path / "catalog.parquet")
    definitions = host(semantic_ids(settings_in(tmp_path), key_prefix="us"))
    with dg.instance_for_test() as instance:
        read = []
        for items in (20, 30):
            write_catalog(tmp_path / "catalog.parquet", items=items)
            assert run(definitions, "us/item_texts", instance=instance).success
            read.append(versions_read(instance, "us/catalog", "us/item_texts"))
            assert not stale_causes(instance, definitions, "us/item_texts")
        assert None not in read
        assert read[0] != read[1]
        catalog = dg.AssetKey(["us", "catalog"])
        found = instance.fetch_materializations(catalog, limit=9).records
        assert len(found) == 2
        newer = dg.AssetMaterialization(catalog, tags={"dagster/data_version": "newer"})
        instance.report_runless_asset_event(newer)
        assert stale_causes(instance, definitions, "us/item_texts") == [catalog]


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
