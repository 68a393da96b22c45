"""Scratch folders: if they cannot be made, a message says what to do."""

import pytest
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.store.scratch import scratch_folder


def test_a_folder_that_cannot_be_written_is_explained():
    root = UPath("/proc")  # nobody can write there, not even root
    if not root.exists():
        pytest.skip("no /proc here")
    with pytest.raises(StoreError, match="/proc"), scratch_folder(root):
        pass


def test_it_is_beside_the_data_and_removed_afterwards(tmp_path):
    with scratch_folder(UPath(tmp_path)) as folder:
        assert UPath(folder).parent == UPath(tmp_path)
    assert list(tmp_path.iterdir()) == []
