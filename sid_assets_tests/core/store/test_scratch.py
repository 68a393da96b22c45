"""Scratch folders: if they cannot be made, a message says what to do."""

from pathlib import Path

import pyarrow as pa
import pytest
from upath import UPath

from sid_assets.core.arrow.external_sort import sort_batches
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


def test_a_disk_that_it_fills_is_named(mounted):
    folder, mount = mounted
    mount("size=1m")
    rows = (pa.record_batch({"key": range(n, n + 10_000)}) for n in range(0, 10**6, 10_000))
    message = rf"{folder}/\.scratch-\w+: cannot be written: No space left.*written so far"
    with pytest.raises(StoreError, match=message), scratch_folder(UPath(folder)) as scratch:
        list(sort_batches(rows, "key", Path(scratch, "runs"), 1 << 18))
    assert list(folder.iterdir()) == []
