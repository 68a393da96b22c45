"""Functions of assets get resources under other names, and their refusals are messages."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from sid_assets.assets.declare import asset, step
from sid_assets.assets.domains import GOODS, Domain
from sid_assets.assets.placement import Placement
from sid_assets.core.errors import InputError
from sid_assets.settings import Refresh, Settings

PLACED = Placement(("us",), group_prefix="us", name="us")
DOMAIN = Domain("goods", "goods", "goods_catalog", placement=PLACED)


def run(declared: dg.AssetsDefinition, folder: Path) -> dg.ExecuteInProcessResult:
    """Materialise it with resources that have other names."""
    resources = {
        "us_settings": Settings(data_dir=str(folder), seed=7),
        "us_refresh": Refresh(allow_large_change=True),
        "us_io_manager": dg.mem_io_manager,
    }
    return dg.materialize([declared], resources=resources, raise_on_error=False)


def test_an_asset_stands_under_the_names_of_its_placement(tmp_path):
    @asset(DOMAIN, "codes", group="semantic_ids")
    def codes(settings: Settings, refresh: Refresh) -> int:
        return settings.seed if refresh.allow_large_change else 0

    assert codes.key == dg.AssetKey(["us", "goods", "codes"])
    assert codes.group_names_by_key[codes.key] == "us_goods_semantic_ids"
    result = run(codes, tmp_path / "data")
    assert result.output_for_node("us__goods__codes") == 7
    assert (tmp_path / "data" / ".taken_by.json").exists()


def test_a_refusal_is_a_failure_with_its_message_alone(tmp_path):
    @asset(DOMAIN, "codes", group="semantic_ids")
    def codes(context: dg.AssetExecutionContext) -> int:
        raise InputError(f"no rows for {context.asset_key.path[-1]}")

    failure = run(codes, tmp_path).failure_data_for_node("us__goods__codes")
    assert failure
    assert failure.error
    assert failure.error.message.strip() == "no rows for codes"


@pytest.mark.parametrize("fails", [False, True])
def test_a_function_that_yields_is_followed_to_its_end(tmp_path, fails):
    ended = []

    def both(settings: Settings) -> Iterator[dg.Output[int]]:
        yield dg.Output(settings.seed, "one")
        if fails:
            raise InputError("no second one")
        yield dg.Output(2, "two")
        ended.append(True)

    outs = {name: dg.AssetOut(key=["us", name]) for name in ("one", "two")}
    declared = dg.multi_asset(name="both", outs=outs, required_resource_keys=PLACED.resource_keys)(
        step(PLACED, both)
    )
    result = dg.materialize(
        [declared],
        resources={
            "us_settings": Settings(data_dir=str(tmp_path), seed=7),
            "us_refresh": Refresh(),
        },
        raise_on_error=False,
    )
    assert result.output_for_node("both", "one") == 7
    assert (result.success, ended) == (not fails, [] if fails else [True])
    if fails:
        failure = result.failure_data_for_node("both")
        assert failure
        assert failure.error
        assert failure.error.message.strip() == "no second one"


def test_a_step_that_only_reads_takes_no_folder(tmp_path):
    def look(settings: Settings) -> int:
        return settings.seed

    declared = dg.asset(name="look", required_resource_keys=PLACED.resource_keys)(
        step(PLACED, look, writes=False)
    )
    assert run(declared, tmp_path / "data").success
    assert not (tmp_path / "data").exists()


def test_goods_keep_their_place_in_the_store():
    assert GOODS.table("codes") == DOMAIN.table("codes") == "goods/codes"
