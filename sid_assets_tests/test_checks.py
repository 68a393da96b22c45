"""The checks as Dagster runs them: a tampered file fails its check and blocks downstream assets."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_assets.core.store.write import draft_rows
from sid_assets.core.training_sets import PRETRAIN_ROWS
from sid_assets.definitions import defs
from sid_assets.io_managers import DataFolderIOManager
from sid_assets.settings import Refresh
from sid_assets_tests.films import STAGES
from sid_assets_tests.graph import (
    GRAPH,
    assets_and_checks,
    failed_checks,
    failure_message,
    materialize,
    settings_for,
    settings_with_interactions,
    table,
    write_catalog,
)
from sid_assets_tests.test_definitions import CHECKS_THAT_WARN


@pytest.fixture
def settings(made_folder):
    return settings_with_interactions(made_folder)


def _check(settings, *tables: str) -> dg.ExecuteInProcessResult:
    """Run only the checks of tables."""
    return dg.materialize(
        assets_and_checks(defs),
        selection=dg.AssetSelection.checks_for_assets(*map(dg.AssetKey, tables)),
        resources={
            "settings": settings,
            "refresh": Refresh(),
            "io_manager": DataFolderIOManager(settings=settings),
        },
        raise_on_error=False,
    )


def _tamper(settings, table: str) -> None:
    """Rewrite the first file of a table without its first row."""
    path = settings.store().require(table).paths[0].path
    pq.write_table(pq.read_table(path).slice(1), path)


def test_a_failed_check_is_logged(tmp_path, capfd):
    """The command line shows no checks, and the log has many lines that nobody reads."""
    write_catalog(tmp_path / "catalog.parquet", pids=range(60))
    made = settings_for(tmp_path)
    assert materialize(made, "item_texts", checks=True).success
    told = capfd.readouterr().err
    assert "WARNING" in told
    assert "item_texts: check pid_zero: " in told
    _tamper(made, "item_texts")
    assert not _check(made, "item_texts").success
    told = capfd.readouterr().err
    assert "item_texts: check files: " in told


def test_every_declared_check_has_a_finding(settings):
    tables = {
        *("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes", "pid2sid"),
        *(
            "sid_registry",
            "sid_moves",
            "sid_refreshes",
            "sid2pid",
            "sid_prefixes",
            "sid_vocabulary",
            "video_rec_dataset",
        ),
    }
    found = _check(settings, *tables).get_asset_check_evaluations()
    declared = {key for key in GRAPH.asset_check_keys if key.asset_key.to_user_string() in tables}
    assert {check.asset_check_key for check in found} == declared
    assert not [check for check in found if "not evaluated" in (check.description or "")]


@pytest.mark.parametrize("table", ["item_texts", "item_embeddings", "codes", "pid2sid"])
def test_a_tampered_file_fails_its_checks(settings, table):
    assert _check(settings, table).success
    _tamper(settings, table)
    result = _check(settings, table)
    assert not result.success
    assert f"{table}:files" in failed_checks(result)


def test_a_tampered_training_set_fails_its_checks(settings):
    _tamper(settings, "video_rec_dataset")
    result = _check(settings, "video_rec_dataset")
    assert not result.success
    assert "video_rec_dataset:files" in failed_checks(result)


def _commit_again(settings, edit: Callable[[pd.DataFrame, dict[str, Any]], None]) -> None:
    """Commit video_rec_dataset again, with other rows or counts; its files are intact."""
    store, name = settings.store(), "video_rec_dataset"
    version = store.require(name)
    rows, counts = version.stream().read_pandas(), version.provenance.details["counts"]
    edit(rows, counts)
    reader = pa.Table.from_pandas(rows, PRETRAIN_ROWS, preserve_index=False).to_reader()
    draft = draft_rows(store, name, reader, version.provenance)
    draft.add_details({"counts": counts})
    store.commit(draft)


def _spell_an_unknown_sid(rows: pd.DataFrame, counts: dict[str, Any]) -> None:
    rows["segments"] = rows["segments"].str.replace("<s_a_", "<s_a_9", n=1)


def _count_one_row_more(rows: pd.DataFrame, counts: dict[str, Any]) -> None:
    counts["candidates"] += 1


def _count_pids_without_a_sid(rows: pd.DataFrame, counts: dict[str, Any]) -> None:
    counts["pids"]["hist_video_pid"]["with_sid"] //= 2


@pytest.mark.parametrize(
    ("edit", "check"),
    [
        (_spell_an_unknown_sid, "contract"),
        (_count_one_row_more, "rows_add_up"),
        (_count_pids_without_a_sid, "coverage"),
    ],
)
def test_each_check_of_a_training_set_sees_what_is_wrong(settings, edit, check):
    _commit_again(settings, lambda rows, counts: None)
    assert failed_checks(_check(settings, "video_rec_dataset")) == set()
    _commit_again(settings, edit)
    result = _check(settings, "video_rec_dataset")
    assert failed_checks(result) == {f"video_rec_dataset:{check}"}
    assert result.success == (check in CHECKS_THAT_WARN)


def test_a_tampered_tokenizer_fails_its_checks(settings):
    path = settings.store().require("tokenizer_checkpoint").paths[0].path
    with open(path, "r+b") as file:  # noqa: PTH123 - a plain path string
        file.truncate(1000)
    assert not _check(settings, "tokenizer_checkpoint").success


def _move_two_sids(settings) -> None:
    """Commit `codes` again, with other codes for the first two items."""
    store = settings.store()
    version = store.require("codes")
    rows = version.stream().read_all()
    codes = rows["codes"].to_pylist()
    codes[:2] = [[7 - code for code in sid] for sid in codes[:2]]
    moved = rows.set_column(1, rows.schema.field("codes"), pa.array(codes, rows["codes"].type))
    draft = draft_rows(store, "codes", moved.to_reader(), version.provenance)
    store.commit(draft)


def test_a_published_sid_stays_if_the_codes_of_its_item_are_others(settings):
    published = table(settings, "pid2sid")
    _move_two_sids(settings)
    result = None
    for _ in range(2):  # the codes are reused
        result = materialize(settings, *STAGES, checks=True)
        assert result.success, failure_message(result)
        assert failed_checks(result) == {"sid_registry:same_codes"}
        pd.testing.assert_frame_equal(published, table(settings, "pid2sid"))
    assert result is not None
    (found,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "same_codes"]
    assert "(2 rows; first ids: 1, 2)" in (found.description or "")


def test_a_registry_that_moves_a_sid_fails_its_checks(settings):
    store = settings.store()
    version = store.require("sid_registry")
    rows = version.stream().read_all()
    sids = rows["sid"].to_pylist()
    sids[:2] = [[7 - code for code in sid] for sid in sids[:2]]
    column = pa.array(sids, rows["sid"].type)
    for name in ("sid", "codes"):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(name), column)
    store.commit(draft_rows(store, "sid_registry", rows.to_reader(), version.provenance))
    result = _check(settings, "sid_registry", "pid2sid")
    assert failed_checks(result) == {
        "sid_registry:unmoved",
        "sid_registry:same_codes",
        "pid2sid:equal_to_registry",
    }
    (found,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "unmoved"]
    assert "a published SID vanished (2 rows; first ids: 1, 2)" in (found.description or "")


def test_the_version_before_is_not_needed(settings):
    assert materialize(settings, *STAGES).success
    before = settings.store().require("sid_registry").previous()
    (before.folder / "_manifest.json").write_text("{}")
    result = _check(settings, "sid_registry")
    assert failed_checks(result) == set()
    (found,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "unmoved"]
    assert "not compared now" in (found.description or "")


def test_all_checks_except_warnings_block():
    for key in GRAPH.asset_check_keys:
        spec = GRAPH.get_check_spec(key)
        warns = key.name in CHECKS_THAT_WARN
        assert spec.blocking != warns, key
