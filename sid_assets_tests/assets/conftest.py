"""Fixtures of the tests of assets."""

import pytest

from sid_assets_tests.graph import write_catalog, write_interactions


@pytest.fixture
def folder(tmp_path):
    """A catalog of sixty items, and interactions with them."""
    frame = write_catalog(tmp_path / "catalog.parquet")
    write_interactions(tmp_path / "interactions.parquet", frame.pid.tolist())
    return tmp_path
