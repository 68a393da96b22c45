"""Domains: the names of their assets, tables and groups, and their settings."""

import dagster as dg
import pytest

from sid_assets.assets.domains import GOODS, ITEMS, domains_of
from sid_assets.core.errors import InputError
from sid_assets.settings import Settings


def test_the_main_domain_has_no_prefix():
    assert ITEMS.key("codes") == dg.AssetKey(["codes"])
    assert (ITEMS.table("codes"), ITEMS.group("items")) == ("codes", "items")
    assert ITEMS.sid2pid_json == "sid2pid.json"


def test_goods_have_names_of_their_own():
    assert GOODS.key("codes") == dg.AssetKey(["goods", "codes"])
    assert (GOODS.table("codes"), GOODS.group("items")) == ("goods/codes", "goods_items")
    assert GOODS.sid2pid_json == "goods/sid2iid.json"


def test_goods_are_a_domain_if_they_have_a_catalog():
    assert domains_of(Settings.from_environment({})) == [ITEMS]
    settings = Settings.from_environment({"SID_GOODS_CATALOG": "goods.parquet"})
    assert domains_of(settings) == [ITEMS, GOODS]
    assert GOODS.catalog(settings) == "goods.parquet"


def test_a_domain_without_a_catalog_says_which_setting_names_it():
    with pytest.raises(InputError, match="SID_GOODS_CATALOG is not set"):
        GOODS.catalog(Settings.from_environment({}))


def test_only_items_can_have_existing_vectors():
    values = {"SID_EMBEDDINGS": "vectors.parquet", "SID_GOODS_CATALOG": "goods.parquet"}
    settings = Settings.from_environment(values)
    assert (ITEMS.embeddings(settings), GOODS.embeddings(settings)) == ("vectors.parquet", "")
