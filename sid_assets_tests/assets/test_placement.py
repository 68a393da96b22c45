"""The names of a catalog's assets in Dagster."""

import dagster as dg

from sid_assets.assets.placement import Placement

PLACED = Placement(("shop", "us"), group_prefix="us", name="us")


def test_in_the_program_of_its_own_names_have_no_prefix():
    own = Placement()
    assert own.key("goods/codes") == dg.AssetKey(["goods", "codes"])
    assert (own.group("items"), own.named("settings"), own.io_manager) == (
        *("items", "settings", "io_manager"),
    )


def test_elsewhere_all_names_have_one():
    assert PLACED.key("goods/codes") == dg.AssetKey(["shop", "us", "goods", "codes"])
    assert (PLACED.group("items"), PLACED.named("settings"), PLACED.io_manager) == (
        *("us_items", "us_settings", "us_io_manager"),
    )
    assert PLACED.resource_keys == {"us_settings", "us_refresh"}


def test_inputs_that_are_not_there_have_no_key():
    key = dg.AssetKey("raw_us")
    assert Placement(inputs={"catalog": key}).keys_of("catalog", "events") == [key]
