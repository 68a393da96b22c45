"""The model fixtures, for all tests of embedders."""

from sid_assets_tests.model_fixtures import real_tokenizer, small_model

__all__ = ["real_tokenizer", "small_model"]
