"""An embedding run in a separate process that is killed."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sid_assets.core.embedders import Embedded
from sid_assets.core.embeddings import cuts
from sid_assets.core.store.store import Store
from sid_assets_tests.core.drawn_vectors import FakeEmbedder, draft_embeddings

ROWS = 20
"""Rows of a chunk."""

FILE_EVENTS = (
    "open",
    "os.link",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.utime",
)


@dataclass(frozen=True)
class Moment:
    """When to kill the run.

    Attributes:
        event: Before this change to a file or folder (counted from 1; 0: never).
        seconds: This many seconds after its start (0: never).
    """

    event: int = 0
    seconds: float = 0.0


class SlowEmbedder(FakeEmbedder):
    """Takes some time for each call, like a model."""

    def embed(self, texts: Sequence[str]) -> Embedded:
        time.sleep(0.005)
        return super().embed(texts)


def run(folder: Path, log: Path, moment: Moment) -> int | None:
    """Embed the `item_texts` of a folder in chunks of `ROWS` and commit, until killed.

    The process kills itself with SIGKILL. The log gets a line for each embedded text. A file beside
    it gets the number of file events, before the commit and in total.

    Returns:
        The exit status of the process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_run, args=(folder, log, moment))
    process.start()
    process.join()
    return process.exitcode


def events_of(log: Path) -> tuple[int, int]:
    """File events of a run that was not killed: before its commit, and in total."""
    before, in_all = map(int, log.with_suffix(".events").read_text().split())
    return before, in_all


def _run(folder: Path, log: Path, moment: Moment) -> None:
    cuts.CHUNK_ROWS = ROWS
    events = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal events
        if event in FILE_EVENTS and str(arguments[0]).startswith(str(folder)):
            events += 1
            if events == moment.event:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    if moment.seconds:
        threading.Timer(moment.seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    store = Store(folder)
    embedder = SlowEmbedder(log=log)
    draft, *_ = draft_embeddings(store, store.require("item_texts"), embedder)
    before_commit = events
    store.commit(draft)
    log.with_suffix(".events").write_text(f"{before_commit} {events}")
    if moment.seconds:
        signal.pause()  # a fast machine finishes first: being killed then is a valid case too
