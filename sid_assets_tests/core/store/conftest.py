"""Stores for the tests of this folder."""

import pytest

from sid_assets.core.store.store import Store


@pytest.fixture(params=["local", "memory", "s3"])
def store(request, tmp_path) -> Store:
    """A store on disk, and on object stores without and with conditional writes."""
    if request.param == "s3":
        return Store(f"{request.getfixturevalue('bucket')}/data")
    return Store(tmp_path / "data" if request.param == "local" else f"memory://{tmp_path.name}")


@pytest.fixture
def local(tmp_path) -> Store:
    """A store on disk."""
    return Store(tmp_path / "data")
