"""Fixtures of the tests of training data."""

from pathlib import Path

import pytest

from sid_assets.core.training.prompts import Prompts, load_prompts
from sid_assets_tests.core.training import generated


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recif")


@pytest.fixture(scope="module")
def one_wording(folder: Path) -> Prompts:
    """Prompts with one wording in each list."""
    (folder / "prompts.yaml").write_text(generated.one_wording(), "utf-8")
    return load_prompts(folder / "prompts.yaml")
