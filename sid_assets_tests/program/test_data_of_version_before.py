"""A data folder of the previous version is read and refreshed, and its unfinished work resumed."""

import json
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from sid_assets.core.catalog.making import TextsMaking
from sid_assets.core.embeddings.making import EmbeddingsMaking
from sid_assets.core.quantise.tokenizer import TokenizerMaking, load_tokenizer
from sid_assets.core.schema import FORMAT_VERSION, table_named
from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.core.store.parts import file_digest
from sid_assets.core.store.provenance import Provenance
from sid_assets.settings import Refresh, Settings
from sid_assets_tests.films import STAGES
from sid_assets_tests.graph import failed_checks, failure_message, materialize, settings_for, table

ARCHIVE = Path(__file__).parent / "data" / "data_folders_of_0.1.tar.gz"
CODEBOOK_SIZE = {"int": "4", "string": "2"}
WARNINGS = {"sid_quality:collisions", "sid_quality:reconstruction", "sid_quality:utilisation"}
"""Checks that may warn on a catalog of eight items."""


def unpacked(tmp_path: Path, ids: str, **values: str) -> Settings:
    """The settings of a data folder that was just unpacked, by the type of its ids."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / ids
    inputs = {name: str(folder / f"{name}.parquet") for name in ("interactions", "captions")}
    return settings_for(folder, **{"codebook_size": CODEBOOK_SIZE[ids], **inputs, **values})


def metadata(result, asset: str) -> dict:
    found = result.asset_materializations_for_node(asset)[0].metadata
    return {name: value.value for name, value in found.items()}


@pytest.mark.parametrize("ids", ["int", "string"])
def test_every_table_is_read(tmp_path, ids):
    store = unpacked(tmp_path, ids).store()
    tables = store.tables()
    assert {"item_texts", "item_embeddings", "tokenizer_checkpoint", "codes", "pid2sid"} < {*tables}
    for name in tables:
        version = store.require(name)
        if table_named(name).suffix == ".parquet":
            assert version.stream().read_all().num_rows == version.rows > 0
            assert len(pd.read_parquet(store.path(name).path)) == version.rows
    assert store.require("pid2sid").pid_type == ids
    assert load_tokenizer(store.require("tokenizer_checkpoint")).shape[0] == 3
    assert len(store.require("sid_prefixes").load_file(SidPrefixes.load)) > 0


def test_the_tables_say_how_they_were_made(tmp_path):
    settings = unpacked(tmp_path, "int")
    store = settings.store()
    texts = TextsMaking.of(store.require("item_texts").provenance)
    assert (texts.template, texts.pids.stored) == (settings.text_template, "int")
    assert texts.fingerprint
    embeddings = EmbeddingsMaking.of(store.require("item_embeddings").provenance)
    assert (embeddings.adopted, bool(embeddings.canary)) == (0, True)
    provenance = store.require("tokenizer_checkpoint").provenance
    tokenizer = TokenizerMaking.of(provenance)
    assert (tokenizer.source.kind, tokenizer.shape, tokenizer.space_is) == (
        "train",
        (3, 4, 4096),
        "known",
    )
    assert tokenizer.training_error is not None
    assert tokenizer.details() == provenance.details


@pytest.mark.parametrize("ids", ["int", "string"])
@pytest.mark.parametrize("size", ["as-set", "left-open"])
def test_a_refresh_of_the_same_catalog_embeds_nothing_and_publishes_the_same_sids(
    tmp_path, ids, size
):
    settings = unpacked(tmp_path, ids, **({"codebook_size": "0"} if size == "left-open" else {}))
    names = ["pid2sid", "sid2pid", "video_rec_dataset", *(["pid_map"] if ids == "string" else [])]
    before = {name: table(settings, name) for name in names}
    tables = (*STAGES, *names[2:]) if size == "left-open" else ()  # else all
    result = materialize(settings, *tables, checks=True)
    assert result.success, failure_message(result)
    assert failed_checks(result) <= WARNINGS
    assert metadata(result, "item_embeddings")["items_embedded"] == 0
    assert metadata(result, "codes")["items_quantised"] == 0
    assert metadata(result, "tokenizer_checkpoint")["kept"]
    for name, rows in before.items():
        pd.testing.assert_frame_equal(table(settings, name), rows)


def test_a_refresh_shares_the_parts_that_the_previous_release_wrote(tmp_path):
    settings = unpacked(tmp_path, "int")
    store = settings.store()
    tables = ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes")
    written = {name: store.require(name) for name in ("item_embeddings", "codes")}
    for _ in range(2):
        assert materialize(settings, *tables).success
        for name, before in written.items():
            version = store.require(name)
            assert version.folder != before.folder
            manifest = json.loads((version.folder / "_manifest.json").read_text())
            assert manifest["provenance"]["format_version"] == FORMAT_VERSION
            for mine, digest in zip(version.paths, before.parts, strict=True):
                assert file_digest(mine) == digest.digest
                assert Path(mine.path).stat().st_nlink > 1
            assert Provenance.of(version.schema()) == version.provenance
            written[name] = version


def test_its_tokenizer_is_of_kmeans(tmp_path):
    result = materialize(unpacked(tmp_path, "int", training="balanced"))
    assert not result.success
    assert "method: 'kmeans' -> 'balanced'" in failure_message(result)


@pytest.mark.parametrize(
    ("tables", "resumed"),
    [
        (("item_embeddings", "tokenizer_checkpoint", "codes", "sid_registry", "pid2sid"), 4),
        # Texts made again, from a file in another place, are another version: the vectors of the
        # unfinished run are reused one by one.
        (STAGES, 0),
    ],
    ids=["same-texts", "texts-made-anew"],
)
def test_what_an_unfinished_run_embedded_is_not_embedded_again(tmp_path, tables, resumed):
    settings = unpacked(tmp_path, "int", catalog=str(tmp_path / "int" / "catalog_later.parquet"))
    store = settings.store()
    (left,) = store.unfinished("item_embeddings")
    before = table(settings, "pid2sid").set_index("pid").sid
    result = materialize(settings, *tables, checks=True)
    assert result.success, failure_message(result)
    assert failed_checks(result) <= WARNINGS
    counts = metadata(result, "item_embeddings")
    said = {name: counts[f"items_{name}"] for name in ("resumed", "reused", "embedded")}
    assert said == {"resumed": resumed, "reused": 8 - resumed, "embedded": 2}
    assert (store.require("item_embeddings").folder == left.folder) is bool(resumed)
    after = table(settings, "pid2sid").set_index("pid").sid
    assert sorted(after.index) == list(range(1, 11))
    for pid in (1, *range(3, 9)):  # item 2 has another title
        assert after[pid].tolist() == before[pid].tolist()


def published(settings: Settings) -> dict:
    frame = table(settings, "pid2sid")
    return {pid: sid.tolist() for pid, sid in zip(frame.pid, frame.sid, strict=True)}


@pytest.mark.parametrize("ids", ["int", "string"])
def test_the_registry_is_made_from_the_published_sids_once_and_told(tmp_path, ids, capfd):
    settings = unpacked(tmp_path, ids)
    before = published(settings)
    told = f"sid_registry: made from the {len(before)} SIDs in pid2sid"
    for told_now in (True, False):
        result = materialize(settings, *STAGES, "sid_refreshes")
        assert result.success, failure_message(result)
        assert (told in capfd.readouterr().err) is told_now
        rows = table(settings, "sid_registry")
        assert dict(zip(rows.pid, rows.sid.map(list), strict=True)) == before
        assert rows.text_hash.notna().all()
        assert set(rows.made) == {"quantised"}
        assert published(settings) == before
        counts = metadata(result, "sid_registry")
        assert (counts["items"], counts["new"], counts["changed"]) == (len(before), 0, 0)
    assert table(settings, "sid_refreshes")["items"].tolist() == [len(before)] * 2


def test_a_changed_item_is_told_by_the_text_behind_its_published_sid(tmp_path):
    settings = unpacked(tmp_path, "int", catalog=str(tmp_path / "int" / "catalog_later.parquet"))
    before = published(settings)
    result = materialize(settings, *STAGES)
    assert result.success, failure_message(result)
    counts = metadata(result, "sid_registry")
    assert (counts["new"], counts["changed"], counts["removed"]) == (2, 1, 0)
    now = published(settings)
    assert all(now[pid] == sid for pid, sid in before.items() if pid != 2)


def test_unknown_texts_read_as_unchanged(tmp_path):
    settings = unpacked(tmp_path, "int")
    before = published(settings)
    # Two runs that stopped before any SID was published: the vectors behind pid2sid are gone.
    for name in ("catalog_later.parquet", "catalog.parquet"):
        early = settings_for(
            tmp_path / "int", codebook_size="4", catalog=str(tmp_path / "int" / name)
        )
        tables = ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes")
        result = materialize(early, *tables, refresh=Refresh(allow_large_change=True))
        assert result.success, failure_message(result)
    result = materialize(settings, *STAGES)
    assert result.success, failure_message(result)
    assert published(settings) == before
    assert metadata(result, "sid_registry")["changed"] == 0


def test_another_template_is_refused(tmp_path):
    settings = unpacked(tmp_path, "int", text_template="{title}")
    for _ in range(2):
        result = materialize(settings)
        assert not result.success
        assert "SID_TEXT_TEMPLATE: " in failure_message(result)
        assert "new_generation" in failure_message(result)
