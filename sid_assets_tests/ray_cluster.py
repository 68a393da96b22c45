"""Ray on loopback: two nodes of one CPU each, as separate processes; and a run that is watched."""

import atexit
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

NODE = {
    "num_cpus": 1,
    "num_gpus": 0,
    "object_store_memory": 100 << 20,
    "include_dashboard": False,
    "env_vars": {"RAY_worker_niceness": "0"},
}

MEETING_SECONDS = 60.0
"""How long an actor waits for the others before its first chunk."""


@contextmanager
def two_nodes() -> Iterator[Any]:
    """A cluster, whose `address` others connect to; nodes can be added and removed."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        cluster.add_node(**NODE)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def started(
    program: Callable[[], None],
    arguments: Sequence[str],
    variables: Mapping[str, str],
    folder: Path,
    log: Path,
) -> BaseProcess:
    """Start a program in a process that has already loaded what takes seconds to load.

    Args:
        program: A function of a module. It ends like a program: with `SystemExit`, or by returning.
        arguments: The arguments of the command line.
        variables: Its environment.
        folder: Its working folder.
        log: Receives what it prints.
    """
    context = multiprocessing.get_context("forkserver")
    # Not the graph, which takes its settings from the environment as it is loaded.
    context.set_forkserver_preload(["dagster._cli", "ray", "s3fs", "sid_assets.graph"])
    process = context.Process(
        target=_as_a_program, args=(program, list(arguments), dict(variables), folder, log)
    )
    process.start()
    return process


def _as_a_program(
    program: Callable[[], None],
    arguments: list[str],
    variables: dict[str, str],
    folder: Path,
    log: Path,
) -> None:
    assert "sid_assets.definitions" not in sys.modules
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    with log.open("wb") as file:
        for output in (1, 2):
            os.dup2(file.fileno(), output)
    sys.argv = ["dagster", *arguments]
    try:
        program()
    finally:
        atexit._run_exitfuncs()  # processes of this kind leave them out


def dagster(
    rows: int = 0,
    seconds: float = 0,
    actors: int = 1,
    meeting: str = "",
    tables: Sequence[str] = (),
) -> None:
    """Dagster's command, with the arguments of this process, in a run that is watched.

    Its actors log which process did a chunk; see `chunks_done`. They are of a class that Ray
    sends to them, so that the nodes need not know it.

    Args:
        rows: The most rows of a chunk; 0: as many as usual.
        seconds: How much longer a chunk takes.
        actors: An actor begins its first chunk once so many have one, or one on every node.
        meeting: A folder in which they see each other.
        tables: Make these without their checks, which takes less time, and leave the arguments.
    """
    from dagster._cli import main

    from sid_assets.core import ray_backend
    from sid_assets.core.embeddings import cuts
    from sid_assets.core.store.chunks import Chunk, ChunkTask, Done
    from sid_assets.settings import Settings
    from sid_assets_tests.films import make as make_tables

    def nodes_alive() -> int:
        import ray

        return sum(node["Alive"] for node in ray.nodes())

    class WatchedActor(ray_backend.ChunkActor):
        def do(self, chunk: Chunk) -> Any:
            import ray

            assert self._task is not None
            folder = Path(meeting, self._task.folder.name)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / str(os.getpid())).touch()
            until = time.monotonic() + MEETING_SECONDS
            while len(list(folder.iterdir())) < min(actors, self._task.total, nodes_alive()):
                assert time.monotonic() < until, "the others did not come"
                time.sleep(0.05)
            time.sleep(seconds)
            done = super().do(chunk)
            if not isinstance(done, Done):
                return done
            node = ray.get_runtime_context().get_node_id()
            how = "found" if done.resumed else "done"
            who = f"chunk {chunk.number} {how} by process {os.getpid()} on node {node}"
            return replace(done, messages=(*done.messages, who))

    make = ChunkTask.make

    def make_slowly(self: ChunkTask[Any], chunk: Chunk, said: list[str]) -> Any:
        time.sleep(seconds)
        return make(self, chunk, said)

    cuts.CHUNK_ROWS = rows or cuts.CHUNK_ROWS
    ray_backend.ChunkActor = WatchedActor
    with patch.object(ChunkTask, "make", make_slowly):  # in this process; actors have their own
        if tables:
            make_tables(Settings.from_environment(), *tables)
        else:
            main()


@dataclass(frozen=True)
class ChunkDone:
    """What a watched run logged about a chunk.

    Attributes:
        table: Its table.
        number: Its number.
        is_found: Whether an earlier run had made it.
        process: The process of the actor.
        node: Its node.
    """

    table: str
    number: int
    is_found: bool
    process: int
    node: str


LINE = re.compile(r" - (\w+) - chunk (\d+) (done|found) by process (\d+) on node (\w+)")


def chunks_done(log: str) -> list[ChunkDone]:
    """What a watched run logged about its chunks."""
    return [
        ChunkDone(table, int(number), how == "found", int(process), node)
        for table, number, how, process, node in LINE.findall(log)
    ]
