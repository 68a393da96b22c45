"""Fixtures that many tests share."""

import os
from pathlib import Path

import pytest

from sid_assets_tests.model_fixtures import real_tokenizer, small_model

__all__ = ["real_tokenizer", "small_model"]

# One dependency draws in a crash of transformers' tokenizers after a fork; they run fine without.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings must not reach the tests."""
    for name in list(os.environ):
        if name.startswith("SID_") and name != "SID_TEST_DATA":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def office() -> Path:
    """A real catalog of office products; the test is skipped where it is not at hand."""
    folder = os.environ.get("SID_TEST_DATA")
    if not folder:
        pytest.skip("SID_TEST_DATA is not set: it names the folder with the real catalogs")
    return Path(folder, "amazon_office")
