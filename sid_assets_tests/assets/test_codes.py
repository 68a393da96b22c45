"""`codes` as Dagster runs it: what it needs, and what it reports."""

from sid_assets_tests.graph import failure_message, materialize, metadata_of, settings_for

BEFORE = ("item_texts", "item_embeddings")


def test_it_reports_what_was_quantised_and_with_which_tokenizer(folder):
    settings = settings_for(folder)
    assert materialize(settings, *BEFORE, "tokenizer_checkpoint").success
    tokenizer = settings.store().require("tokenizer_checkpoint").provenance.tokenizer
    for quantised, reused in ((60, 0), (0, 60)):
        result = materialize(settings, "codes")
        assert result.success, failure_message(result)
        metadata = metadata_of(result, "codes")
        assert (metadata["items_quantised"], metadata["items_reused"]) == (quantised, reused)
        assert metadata["tokenizer"] == tokenizer


def test_without_a_tokenizer_there_are_no_codes(folder):
    settings = settings_for(folder)
    assert materialize(settings, *BEFORE).success
    result = materialize(settings, "codes")
    assert not result.success
    assert "tokenizer_checkpoint" in failure_message(result)
    assert settings.store().current("codes") is None
