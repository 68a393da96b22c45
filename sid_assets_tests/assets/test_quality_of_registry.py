"""`sid_quality` of published SIDs: what resolving did, and the refreshes."""

from pathlib import Path

import pandas as pd
import pytest

from sid_assets_tests.graph import (
    failure_message,
    materialize,
    metadata_of,
    settings_for,
    table,
    write_catalog,
    write_frame,
    write_interactions,
)

CODES = ("item_texts", "item_embeddings", "tokenizer_checkpoint", "codes")
TABLES = (*CODES, "sid_registry", "sid_moves", "sid_refreshes", "pid2sid", "sid_quality")
ITEMS = 40
NOT_CURRENT = "so the figures are of codes"


def write_colliding(path: Path, items: int = ITEMS) -> None:
    """A catalog in which the first six items have one text."""
    write_catalog(path, items=items)
    frame = pd.read_parquet(path)
    frame.loc[:5, ["title", "description"]] = "the same"
    frame.loc[:5, "category"] = frame["category"][0]
    write_frame(path, frame)


def quality_of(settings, *tables: str) -> tuple[dict, str]:
    """The metadata of `sid_quality`, and its page."""
    result = materialize(settings, *tables)
    assert result.success, failure_message(result)
    found = metadata_of(result, "sid_quality")
    return found, Path(str(found["report"])).read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("registry")
    write_colliding(path / "catalog.parquet")
    return path


@pytest.fixture(scope="module")
def resolved(folder):
    """The settings, the figures of codes alone, and those of resolved SIDs with their page."""
    interactions = folder / "interactions.parquet"
    write_interactions(interactions, range(1, ITEMS + 1))
    settings = settings_for(
        folder, codebook_size="16", max_items_per_sid="1", interactions=str(interactions)
    )
    of_codes, _ = quality_of(settings, *CODES, "sid_quality")
    return settings, of_codes, *quality_of(settings, *TABLES)


def test_figures_are_of_published_sids_and_those_of_codes_stand_beside(resolved):
    settings, of_codes, found, page = resolved
    assert of_codes["sid_colliding_items"] > 0
    assert found["sid_colliding_items"] == 0
    assert found["sid_distinct"] == ITEMS
    for name in ("distinct", "colliding_items", "colliding_share", "largest_group"):
        assert found[f"before_resolving_{name}"] == of_codes[f"sid_{name}"], name
    for kind in ("same_text", "other_text"):
        name = f"collisions_{kind}"
        assert found[f"before_resolving_{name}"] == of_codes[name]
        assert found[name] == 0
    moves = table(settings, "sid_moves")
    assert found["resolving_moved"] == found["sids_not_codes"] == len(moves) > 0
    assert found["resolving_mean_extra_error"] == pytest.approx(moves.extra_error.mean())
    assert found["resolving_largest_extra_error"] == pytest.approx(moves.extra_error.max())
    rise = found["layer_3_error_mean"] - of_codes["layer_3_error_mean"]
    assert rise == pytest.approx(moves.extra_error.sum() / ITEMS, abs=1e-6)
    assert '<section id="resolving">' in page
    assert of_codes["interactions_sid_colliding_share"] > 0
    assert found["interactions_sid_colliding_share"] == 0
    assert found["margin_3_mean"] == of_codes["margin_3_mean"], "margins are of codes"


def test_two_refreshes_make_a_history_and_no_warning(resolved, capsys):
    settings, _, _, page = resolved
    assert '<section id="history">' not in page
    _, page = quality_of(settings, *TABLES)
    assert '<section id="history">' in page
    assert NOT_CURRENT not in capsys.readouterr().err


def test_where_nothing_was_resolved_the_figures_are_those_of_codes(tmp_path):
    write_catalog(tmp_path / "catalog.parquet", items=ITEMS)
    settings = settings_for(tmp_path, codebook_size="16")
    of_codes, before = quality_of(settings, *CODES, "sid_quality")
    found, after = quality_of(settings, *TABLES[4:])
    assert before == after
    for plain in (of_codes, found):
        assert not [name for name in plain if "resolving" in name]
    assert found == of_codes


def test_sids_that_were_not_made_from_these_codes_are_not_used(tmp_path, capsys):
    write_colliding(tmp_path / "catalog.parquet")
    values = {"max_items_per_sid": "1", "max_changed_share": "1"}
    settings = settings_for(tmp_path, codebook_size="16", **values)
    quality_of(settings, *TABLES)
    assert NOT_CURRENT not in capsys.readouterr().err
    write_colliding(tmp_path / "catalog.parquet", ITEMS + 1)
    result = materialize(settings, *CODES, "sid_quality")
    assert result.success, failure_message(result)
    assert NOT_CURRENT in capsys.readouterr().err
    assert metadata_of(result, "sid_quality")["sid_colliding_items"] > 0
    assert "sids_not_codes" not in metadata_of(result, "sid_quality")
