"""The write lock of a table on an object store: an object that its owner keeps renewing.

A lease whose object does not change for a while has lapsed: its owner was killed, or cut off. Only
the time between two looks counts, on the clock of the one who looks, so clocks need not agree. The
owner of a lapsed lease may still be alive and wake up; what it would then write is refused by the
conditions of its writes.
"""

import datetime as dt
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.machine import process_numbers, started
from sid_assets.core.store.conditional import ConflictError, Seen, read_object, replace_object


@dataclass(frozen=True)
class Terms:
    """How long leases last, in seconds.

    Attributes:
        renewal: Time between two renewals.
        lapse: A lease that is not renewed for this long has lapsed.
        look: Time between two looks at another's lease.
    """

    renewal: float = 10.0
    lapse: float = 60.0
    look: float = 2.0


TERMS = Terms()


class LeaseLostError(StoreError):
    """A lease has lapsed while its owner was cut off, and another process has taken it."""


class Lease:
    """A lease that this process holds; a thread renews it until it is released."""

    def __init__(self, path: UPath, seen: Seen, terms: Terms) -> None:
        """Use `leased`. Takes the lease.

        Args:
            path: The object.
            seen: The object as it was read: free or lapsed.
            terms: How long it lasts.

        Raises:
            ConflictError: Another process was faster.
        """
        self._path = path
        self._terms = terms
        self._owner = {
            "machine": platform.node(),
            "process": os.getpid(),
            "started": started(os.getpid()),
            "numbers": process_numbers(),
            "since": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "token": secrets.token_hex(8),
        }
        self._renewals = 0
        self._is_lost = False
        self._one_at_a_time = threading.Lock()
        self._released = threading.Event()
        self._seen = replace_object(path, self._content(), seen)
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def require_held(self) -> None:
        """Renew the lease now.

        Raises:
            LeaseLostError: It has lapsed, and another run has taken it.
        """
        self._renew()
        self.require_not_lost()

    def require_not_lost(self) -> None:
        """Look at what the last renewal found.

        Raises:
            LeaseLostError: It had lapsed, and another run had taken it.
        """
        if self._is_lost:
            raise LeaseLostError(
                f"{self._path.parent}: this run did not renew its write lock for "
                f"{self._terms.lapse:,.0f} seconds, because its machine was paused or cut off, and "
                "another run has taken it. Nothing is lost. Wait until that run has ended, then "
                "run again."
            )

    def release(self) -> None:
        """Let others write at once. Without it they wait until the lease has lapsed."""
        self._released.set()
        self._thread.join(self._terms.renewal)
        if self._thread.is_alive():  # it waits for the store; the lease lapses
            return
        with suppress(Exception):  # it lapses
            content = json.dumps({"released_by": self._owner["token"]}).encode()
            replace_object(self._path, content, self._seen)

    def _content(self) -> bytes:
        return json.dumps({**self._owner, "renewals": self._renewals}).encode()

    def _keep(self) -> None:
        while not self._released.wait(self._terms.renewal) and not self._is_lost:
            # The next renewal may reach the store; clients have errors of types of their own.
            with suppress(Exception):
                self._renew()

    def _renew(self) -> None:
        with self._one_at_a_time:
            self._renewals += 1
            try:
                self._seen = replace_object(self._path, self._content(), self._seen)
            except ConflictError:
                now = read_object(self._path)
                if _owner_in(now).get("token") != self._owner["token"]:
                    self._is_lost = True
                else:  # a renewal before was done, and its answer was lost
                    self._seen = now


@contextmanager
def leased(path: UPath, what: UPath, terms: Terms | None = None) -> Iterator[Lease]:
    """Hold a lease until the block ends.

    Args:
        path: The object.
        what: What is written under it, for the message.
        terms: How long leases last; by default `TERMS`.

    Raises:
        StoreError: Another process holds it.
    """
    terms = terms or TERMS
    try:
        lease = Lease(path, _free(path, what, terms), terms)
    except ConflictError:
        raise _held(what, read_object(path)) from None
    try:
        yield lease
    finally:
        lease.release()


def _free(path: UPath, what: UPath, terms: Terms) -> Seen:
    """The object, once it is free or has lapsed.

    Raises:
        StoreError: Its owner renews it.
    """
    first = now = read_object(path)
    until = time.monotonic() + terms.lapse
    while not _is_free(now) and time.monotonic() < until:
        time.sleep(terms.look)
        now = read_object(path)
        if now != first and not _is_free(now):
            raise _held(what, now)
    return now


def _is_free(seen: Seen) -> bool:
    """Whether nobody holds a lease: it was never taken, was released, or its process is gone."""
    owner = _owner_in(seen)
    if "token" not in owner:
        return True
    here = process_numbers()
    if here is None or owner.get("numbers") != list(here):
        return False
    process = owner.get("process")
    return isinstance(process, int) and started(process) != owner.get("started")


def _owner_in(seen: Seen) -> dict[str, Any]:
    with suppress(ValueError, TypeError):
        fields = json.loads(seen.content or b"{}")
        return fields if isinstance(fields, dict) else {}
    return {}


def _held(what: UPath, seen: Seen) -> StoreError:
    owner = _owner_in(seen)
    return StoreError(
        f"{what}: another run is writing it (machine {owner.get('machine', 'unknown')}, process "
        f"{owner.get('process', 'unknown')}, since {owner.get('since', 'now')}). Wait until that "
        "run has ended, or stop it, then run again."
    )
