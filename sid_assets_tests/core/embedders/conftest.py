"""Fixtures of the tests of embedders: texts, and their vectors."""

from pathlib import Path

import numpy as np
import pytest

from sid_assets.core.embedders.qwen3 import (
    Qwen3Embedder,
)
from sid_assets_tests.core.embedders.mixed_texts import texts_of_mixed_length_and_script


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return texts_of_mixed_length_and_script()


@pytest.fixture(scope="module")
def vectors(small_model: Path, texts: list[str]) -> np.ndarray:
    """The vectors of the texts, by the embedder with its defaults."""
    return Qwen3Embedder(str(small_model)).embed(texts).vectors
