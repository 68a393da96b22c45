"""Leases: one process writes, one that died is replaced, and one that was cut off is refused."""

import itertools
import json
import platform
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from sid_assets.core.errors import StoreError
from sid_assets.core.machine import process_numbers, started
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
        owner = {
            "process": process.pid,
            "started": started(process.pid),
            "numbers": process_numbers(),
            "token": "t",
        }
        process.kill()
    replace_object(path, json.dumps(owner).encode(), read_object(path))
    with leased(path, path.parent / "t", BUSY) as lease:
        lease.require_held()


@pytest.mark.parametrize("numbers", [None, ["another boot", "pid:[4026531836]"]])
def test_processes_of_a_namesake_are_not_looked_for_here(path, numbers):
    """Host names are not unique, and a process of another machine has no number here."""
    owner = {
        "machine": platform.node(),
        "process": 2**22 + 1,
        "started": "1",
        "numbers": numbers,
        "token": "t",
    }
    replace_object(path, json.dumps(owner).encode(), read_object(path))
    refused = pytest.raises(StoreError, match="another run is writing it")
    with Renewing(path, owner), refused, leased(path, path.parent / "t", BUSY):
        pass


class Renewing:
    """Renews a lease that names an owner, as that owner would."""

    def __init__(self, path, owner):
        self._path, self._owner, self._over = path, owner, threading.Event()
        self._thread = threading.Thread(target=self._renew)

    def _renew(self):
        for number in itertools.count():
            content = json.dumps({**self._owner, "renewals": number}).encode()
            replace_object(self._path, content, read_object(self._path))
            if self._over.wait(0.1):
                return

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()


def test_a_renewal_whose_answer_was_lost_counts(path):
    """The next renewal finds an object that it did not expect, and it is its own."""
    with leased(path, path.parent / "t", Terms(renewal=60)) as lease:
        before = read_object(path)
        fields = json.loads(before.content or b"")
        replace_object(path, json.dumps({**fields, "renewals": 1}).encode(), before)
        lease.require_held()
        lease.require_held()
    with leased(path, path.parent / "t", Terms(renewal=60)) as lease:
        lease.require_held()


def test_whoever_was_cut_off_is_told(path):
    with leased(path, path.parent / "t", Terms(renewal=60)) as lease:
        held_elsewhere(path)
        taken = read_object(path)
        with pytest.raises(StoreError, match="did not renew its write lock for 60 seconds"):
            lease.require_held()
        with pytest.raises(StoreError, match="another run has taken it"):
            lease.require_not_lost()
    assert read_object(path) == taken  # whose it is now


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"machine": "m"}'])
def test_a_damaged_object_holds_nothing(path, content):
    path.fs.pipe_file(path.path, content)
    with leased(path, path.parent / "t", BUSY) as lease:
        lease.require_held()
