"""Leases: one process writes, one that died is replaced, and one that was cut off is refused."""

import json
import platform
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from sid_assets.core.errors import StoreError
from sid_assets.core.store.conditional import read_object, replace_object
from sid_assets.core.store.lease import Terms, leased
from sid_assets.core.store.places import place

BUSY = Terms(renewal=0.2, lapse=60, look=0.1)
"""Renewed all the time, and never lapsed."""

SHORT = Terms(renewal=60, lapse=0.05, look=0.01)
"""Lapsed at once."""


@pytest.fixture(params=["memory", "s3"])
def path(request, tmp_path):
    root = (
        request.getfixturevalue("bucket") if request.param == "s3" else f"memory://{tmp_path.name}"
    )
    return place(f"{root}/.lease.json")


def held_elsewhere(path) -> None:
    """The object of a lease whose owner is on another machine, and does not renew it."""
    owner = {"machine": "elsewhere", "process": 1, "started": 1.0, "since": "then", "token": "t"}
    replace_object(path, json.dumps(owner).encode(), read_object(path))


def test_a_lease_that_is_renewed_is_refused_with_its_owner(path):
    with leased(path, path.parent / "t", BUSY):
        refused = rf"t: another run is writing it \(machine {platform.node()}, process \d+, since"
        with pytest.raises(StoreError, match=refused), leased(path, path.parent / "t", BUSY):
            pass
    with leased(path, path.parent / "t", BUSY) as lease:
        lease.require_held()


def test_a_lease_is_released_when_its_block_raises(path):
    with suppress(StopIteration), leased(path, path.parent / "t", BUSY):
        raise StopIteration
    with leased(path, path.parent / "t", BUSY) as lease:
        lease.require_held()


def test_a_lease_that_is_not_renewed_lapses(path):
    held_elsewhere(path)
    with leased(path, path.parent / "t", SHORT) as lease:
        lease.require_held()


def test_the_lease_of_a_process_that_was_killed_on_this_machine_has_lapsed(path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        owner = {"machine": platform.node(), "process": process.pid, "token": "t"}
        owner["started"] = psutil.Process(process.pid).create_time()
        replace_object(path, json.dumps(owner).encode(), read_object(path))
        process.kill()
    with leased(path, path.parent / "t", BUSY) as lease:
        lease.require_held()


def test_whoever_was_cut_off_is_told(path):
    with leased(path, path.parent / "t", Terms(renewal=60)) as lease:
        held_elsewhere(path)
        taken = read_object(path)
        with pytest.raises(StoreError, match="did not renew its write lock for 60 seconds"):
            lease.require_held()
    assert read_object(path) == taken  # whose it is now


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"machine": "m"}'])
def test_a_damaged_object_holds_nothing(path, content):
    path.fs.pipe_file(path.path, content)
    with leased(path, path.parent / "t", BUSY) as lease:
        lease.require_held()
