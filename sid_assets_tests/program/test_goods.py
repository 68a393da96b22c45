"""Goods as a second domain: their own id space, the same embedder and tokenizer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.definitions import definitions
from sid_assets.settings import Settings
from sid_assets_tests.films import GOODS_STAGES, STAGES
from sid_assets_tests.graph import (
    assets_and_checks,
    failed_checks,
    failure_message,
    settings_for,
    table,
    write_catalog,
    write_frame,
    write_interactions,
)

WARNINGS = {
    "sid_quality:collisions",
    "sid_quality:reconstruction",
    "goods/sid_quality:collisions",
    "goods/sid_quality:reconstruction",
    "goods/sid_quality:utilisation",
}
"""Checks that may warn on small catalogs, one of which the tokenizer was not trained on."""

GOODS = range(41, 81)
"""Ids of goods. Some (1 to 60) are also ids of items, which are different things."""


def materialize(settings: Settings, *tables: str) -> dg.ExecuteInProcessResult:
    """Materialise tables of the graph for these settings; all if none are named."""
    defs = definitions(settings)
    selection = dg.AssetSelection.all()
    if tables:
        selection = dg.AssetSelection.assets(*(dg.AssetKey(name.split("/")) for name in tables))
    return dg.materialize(
        assets_and_checks(defs),
        selection=selection,
        resources=defs.resources,
        raise_on_error=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Items, goods, and users who interact with both."""
    folder = tmp_path_factory.mktemp("goods")
    frame = write_catalog(folder / "catalog.parquet")
    write_catalog(folder / "goods.parquet", items=len(GOODS), seed=1, pids=GOODS)
    interactions = write_interactions(folder / "interactions.parquet", frame.pid.tolist())
    draw = np.random.default_rng(2)
    users = range(len(interactions))
    interactions["hist_longview_video_list"] = interactions.hist_video_pid
    interactions["hist_ad_pid"] = interactions.target_video_pid
    interactions["hist_goods_pid"] = [draw.choice(GOODS, 5).tolist() for _ in users]
    interactions["target_goods_pid"] = [[45, *draw.choice(GOODS, 2).tolist()] for _ in users]
    write_frame(folder / "interactions.parquet", interactions)
    return folder


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    return settings_for(
        folder,
        goods_catalog=str(folder / "goods.parquet"),
        interactions=str(folder / "interactions.parquet"),
    )


@pytest.fixture(scope="module")
def made(settings: Settings) -> dg.ExecuteInProcessResult:
    result = materialize(settings)
    assert result.success, failure_message(result)
    return result


def test_all_checks_of_both_domains_are_green(made):
    assert failed_checks(made) <= WARNINGS
    checked = {check.asset_key.to_user_string() for check in made.get_asset_check_evaluations()}
    assert checked >= {"goods/item_texts", "goods/codes", "goods/pid2sid", "goods/sid2pid"}


@pytest.mark.parametrize("prefix", ["", "goods/"])
def test_quality_and_the_reverse_index_count_the_same_interactions(made, settings, prefix):
    key = dg.AssetKey(f"{prefix}sid_quality".split("/"))
    (quality,) = [m for m in made.get_asset_materialization_events() if m.asset_key == key]
    counts = table(settings, f"{prefix}sid2pid").counts
    assert quality.materialization.metadata["interactions"].value == counts.map(sum).sum() > 0


def test_goods_have_sids_of_the_same_tokenizer(made, settings):
    sids = table(settings, "goods/pid2sid")
    assert sids.pid.tolist() == list(GOODS)
    assert all(len(sid) == 3 and max(sid) < 8 for sid in sids.sid)
    codes = settings.store().require("goods/codes").provenance
    assert codes.tokenizer == settings.store().require("codes").provenance.tokenizer


def spelled(pids: Any, sids: Mapping[Any, Any]) -> str:
    texts = ("<s_a_{}><s_b_{}><s_c_{}>".format(*sids[pid]) for pid in pids)
    return "".join(f"<|sid_begin|>{text}<|sid_end|>" for text in texts)


def test_product_rec_looks_goods_up_among_goods(made, folder, settings):
    rows = table(settings, "sft_product_rec_dataset")
    users = pd.read_parquet(folder / "interactions.parquet")
    users = users[users.split == 0]
    assert len(rows) == len(users) == 19
    items = table(settings, "pid2sid").set_index("pid").sid.to_dict()
    goods = table(settings, "goods/pid2sid").set_index("pid").sid.to_dict()
    assert any(list(items[pid]) != list(goods[pid]) for pid in range(41, 61))
    for messages, user in zip(rows.messages, users.itertuples(), strict=True):
        _, question, answer = [part["content"][0]["text"] for part in json.loads(messages)]
        assert answer == spelled(user.target_goods_pid, goods)
        assert spelled(user.hist_goods_pid, goods) in question
        assert spelled(user.hist_longview_video_list, items) in question


def test_the_reverse_index_of_goods_is_what_onerec_reads(made, folder, settings):
    index = json.loads(Path(settings.data_dir, "goods", "sid2iid.json").read_text())
    users = pd.read_parquet(folder / "interactions.parquet")
    uses = pd.concat([users.hist_goods_pid, users.target_goods_pid]).explode().value_counts()
    found = {
        entry["iid"]: (int(key), entry["count"]) for key, many in index.items() for entry in many
    }
    sids = table(settings, "goods/pid2sid")
    assert found == {
        pid: (c0 * 8192 * 8192 + c1 * 8192 + c2, uses.get(pid, 0))
        for pid, (c0, c1, c2) in zip(sids.pid, sids.sid, strict=True)
    }
    assert not Path(settings.data_dir, "goods", "sid2pid.json").exists()


def test_the_items_have_their_own_reverse_index_and_prefixes(made, settings):
    index = json.loads(Path(settings.data_dir, "sid2pid.json").read_text())
    assert sorted(entry["pid"] for many in index.values() for entry in many) == list(range(1, 61))
    prefixes = SidPrefixes.load(Path(settings.data_dir, "sid_prefixes.safetensors"))
    assert prefixes.packed().tolist() == sorted(map(int, index))


def test_the_file_list_names_what_was_made_of_goods(made, settings):
    listed = json.loads(Path(settings.data_dir, "sft_file_list.json").read_text())
    assert any("sft_product_rec_dataset" in path for path in listed)
    assert all(Path(path).exists() for path in listed)


def test_other_goods_leave_the_items_as_they_are(made, folder, settings):
    """This test is last, because it changes what the others read."""
    before = table(settings, "pid2sid")
    earlier = settings.store().require("tokenizer_checkpoint").provenance.tokenizer
    more = write_catalog(folder / "more.parquet", items=45, seed=1, pids=range(41, 86))
    changed = settings_for(
        folder,
        goods_catalog=str(folder / "more.parquet"),
        interactions=str(folder / "interactions.parquet"),
        max_changed_share="1",
    )
    result = materialize(changed, *STAGES, *GOODS_STAGES)
    assert result.success, failure_message(result)
    assert table(changed, "goods/pid2sid").pid.tolist() == more.pid.tolist()
    pd.testing.assert_frame_equal(before, table(changed, "pid2sid"))
    tokenizer = changed.store().require("tokenizer_checkpoint").provenance.tokenizer
    assert tokenizer == earlier


def test_without_a_catalog_of_goods_there_are_none(folder):
    graph = definitions(settings_for(folder)).resolve_asset_graph()
    assert not [key for key in graph.materializable_asset_keys if key.path[0] == "goods"]


def test_every_asset_of_goods_has_checks_and_says_what_it_is(settings):
    graph = definitions(settings).resolve_asset_graph()
    checked = {key.asset_key for key in graph.asset_check_keys}
    goods = [key for key in graph.materializable_asset_keys if key.path[0] == "goods"]
    assert len(goods) == 12
    for key in goods:
        assert graph.get(key).description, key
        assert graph.get(key).group_name.startswith("goods_"), key
        assert key in checked, key
