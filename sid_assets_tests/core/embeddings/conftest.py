"""Fixtures of the tests of embedding runs."""

import pytest

from sid_assets.core.embeddings import cuts
from sid_assets.core.embeddings import worker as chunk_worker
from sid_assets.core.store.store import Store


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path) -> Store:
    return Store(tmp_path / "data" if request.param == "local" else f"memory://{tmp_path.name}")


@pytest.fixture
def local(tmp_path) -> Store:
    return Store(tmp_path / "data")


@pytest.fixture
def small_chunks(monkeypatch) -> None:
    """Several chunks and row groups with few rows."""
    monkeypatch.setattr(cuts, "CHUNK_ROWS", 7)
    monkeypatch.setattr(chunk_worker, "VECTOR_ROW_GROUP", 2)
