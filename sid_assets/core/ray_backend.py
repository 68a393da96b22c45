"""Chunks computed by Ray actors: on all GPUs of a machine, or on several machines.

An actor loads the model or the codebooks once, reads the rows of its chunks, and writes their parts
into the shared folder or bucket. Only summaries come back. The driver, which is the run, hands out
chunks, counts, and commits. Ray restarts nothing by itself: a chunk whose actor died is given to
another one, as often as the options allow. A chunk that is done twice does no harm.
"""

import contextlib
import os
import platform
import re
import secrets
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from sid_assets.core.embedders import Embedded, Embedder, Memory, TokenCounts
from sid_assets.core.errors import InputError, SidAssetsError, StoreError
from sid_assets.core.ray_options import (
    RayOptions,
    actors_for,
    describe_room,
    has_room,
    share_of_an_actor,
)
from sid_assets.core.store.chunks import Backend, Chunk, ChunkTask, Done, Summary
from sid_assets.core.store.draft import STATE
from sid_assets.core.store.parts import WrittenByAnotherError
from sid_assets.core.store.places import store_trouble
from sid_assets.core.store.provenance import EmbeddingSpace

PACKAGE = "sid_assets"

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_FAILED = 3
"""Chunks that may fail before the run gives up; others are finished and kept until then."""

SLOW_SECONDS = 600.0
"""If no chunk is done for so long, the log says which ones are waited for."""

START_SECONDS = 600.0
"""How long the first actor may take to start, on a cluster that has to find a machine for it."""

CONNECTIONS = 3
"""How often a cluster is tried whose head node does not start what serves this client."""

NOT_LOADED = "failed to import on the worker"
"""What Ray says if a node cannot load the class of an actor."""


@dataclass(frozen=True)
class Failed:
    """A chunk that an actor could not do, for a reason that another actor would not change.

    Attributes:
        number: The chunk's number.
        message: Why.
        is_input: Whether the input is to blame.
    """

    number: int
    message: str
    is_input: bool


class ChunkActor:
    """Runs in a process of its own, on any node."""

    def prepare(self, version: str, task: ChunkTask[Any] | None) -> str:
        """Verify that this node can do the work; its name.

        Raises:
            StoreError: It has another version of this package, or does not see the folder.
        """
        node = platform.node()
        _use_own_cpus()
        if version != (here := metadata.version(PACKAGE)):
            raise StoreError(
                f"Node {node} has {PACKAGE} {here}, and the run has {version}. Install the "
                "same version on all nodes."
            )
        self._task = task
        if task and not (task.folder / STATE).exists():
            raise StoreError(
                f"Node {node} does not see {task.folder}, where the run keeps its data. All nodes "
                "need the same shared folder at the same path, or SID_DATA_DIR in a bucket."
            )
        return node

    def do(self, chunk: Chunk) -> Done[Any] | Failed:
        """Do a chunk of the task."""
        assert self._task is not None  # noqa: S101 - `prepare` was called
        try:
            return self._task.do(chunk)
        except WrittenByAnotherError:
            raise  # its part is found at the next try
        except SidAssetsError as error:
            return Failed(chunk.number, str(error), isinstance(error, InputError))

    def ask(self, embedder: Embedder, method: str, *arguments: Any) -> Any:
        """Call a method of an embedder, which keeps its weights for the chunks to come."""
        return getattr(embedder, method)(*arguments)


@dataclass
class _Actor:
    """An actor as the driver sees it.

    Attributes:
        handle: Ray's.
        ready: The answer of `prepare`, a reference.
        node: Its name, once it is ready.
        chunk: What it is doing; None if nothing. It gets one at a time: a chunk that waited behind
            a slow one could be done by another actor.
        answer: The answer, a reference, if it has a chunk.
    """

    handle: Any
    ready: Any
    node: str = ""
    chunk: Chunk | None = None
    answer: Any = None


class RayBackend:
    """Computes chunks on Ray. Use it as a context manager: actors end with the block.

    Attributes:
        dashboard: The URL of Ray's dashboard; "" if there is none.
    """

    def __init__(self, options: RayOptions, log: Callable[[str], None]) -> None:
        """Start Ray, or connect to a cluster.

        Args:
            options: How Ray is used.
            log: Receives messages about actors and slow chunks.

        Raises:
            InputError: Ray is not installed, or the cluster cannot be reached.
        """
        self._options = options
        self._log = log
        self._first: _Actor | None = None
        self._owns_ray, self.dashboard = _connect(options.address)

    def __enter__(self) -> "RayBackend":
        return self

    def __exit__(self, *error: object) -> None:
        import ray

        if self._first:
            with contextlib.suppress(Exception):  # it may be gone
                ray.kill(self._first.handle)
        if self._owns_ray:
            ray.shutdown()

    def ask(self, embedder: Embedder, method: str, *arguments: Any) -> Any:
        """Call a method of an embedder on an actor.

        Raises:
            SidAssetsError: What the method raises.
            StoreError: No actor could do it.
        """
        import ray
        from ray import exceptions

        for left in reversed(range(self._options.retries + 1)):
            actor = self._first or self.start_actor(None)
            self._first = actor
            try:
                self.wait_for(actor)
                return ray.get(actor.handle.ask.remote(embedder, method, *arguments))
            except exceptions.RayTaskError as error:
                raise _own(error) from None
            except exceptions.RayError as error:
                self._first = None
                if not left or NOT_LOADED in str(error):
                    raise _why_lost("All Ray actors died that were to embed", error) from error
        raise AssertionError("unreachable")

    def run(
        self, task: ChunkTask[Summary], chunks: Sequence[Chunk]
    ) -> Generator[Done[Summary], None, None]:
        """Do all chunks, in any order.

        Raises:
            InputError: Chunks failed because of their input; the others are finished.
            StoreError: Chunks failed, or their actors died too often.
        """
        run = _Run(self, self._options, task, chunks, self._log, self._take_first())
        try:
            yield from run.results()
        finally:
            run.end()

    def _take_first(self) -> _Actor | None:
        """The actor that embedded before the chunks were cut: it has loaded the weights."""
        first, self._first = self._first, None
        return first

    def start_actor(self, task: Any) -> _Actor:
        """Start an actor. It waits until the cluster has room for it."""
        import ray

        cpus, gpus = share_of_an_actor(self._options, ray.nodes())
        options: Mapping[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0}
        if self._options.memory:
            options = {**options, "memory": self._options.memory}
        if self._owns_ray and not has_room(self._options, ray.nodes()):
            raise InputError(self.no_room("Ray on this machine has no room for an actor."))
        actor: Any = ray.remote(ChunkActor)
        handle = actor.options(**options).remote()
        return _Actor(handle, handle.prepare.remote(metadata.version(PACKAGE), task))

    def wait_for(self, actor: _Actor) -> None:
        """Wait until an actor is ready.

        Raises:
            StoreError: The cluster has no room for it, or its node cannot do the work.
        """
        import ray
        from ray import exceptions

        if actor.node:
            return
        try:
            actor.node = ray.get(actor.ready, timeout=START_SECONDS)
        except exceptions.GetTimeoutError as error:
            raise self.none_started() from error

    def none_started(self) -> StoreError:
        """The error if the cluster has no room for an actor."""
        return StoreError(
            self.no_room(f"Ray started no actor within {START_SECONDS:,.0f} seconds.")
        )

    def no_room(self, what: str) -> str:
        """What happened, what was asked for, and what to do."""
        import ray

        return f"{what} {describe_room(self._options, ray.nodes())}"


class _Run:
    """The chunks of one task, handed out to actors."""

    def __init__(
        self,
        backend: RayBackend,
        options: RayOptions,
        task: ChunkTask[Any],
        chunks: Sequence[Chunk],
        log: Callable[[str], None],
        first: _Actor | None,
    ) -> None:
        import ray

        self._backend, self._options, self._log = backend, options, log
        self._task = ray.put(task)
        self._waiting = deque(chunks)
        self._total = len(chunks)
        self._tries: dict[int, int] = {}
        self._failed: list[tuple[Chunk, Failed]] = []
        self._actors: list[_Actor] = []
        self._deaths_at_start = 0
        if first:
            first.ready, first.node = (
                first.handle.prepare.remote(metadata.version(PACKAGE), self._task),
                "",
            )
            self._actors.append(first)

    def results(self) -> Iterator[Done[Any]]:
        """The chunks as they are done."""
        wanted = min(self._wanted_actors(), self._total)
        while len(self._actors) < wanted:
            self._actors.append(self._backend.start_actor(self._task))
        while self._waiting or any(actor.chunk for actor in self._actors):
            if len(self._failed) >= MOST_FAILED:
                break
            self._hand_out()
            yield from self._take_back()
        if self._failed:
            raise self._failure()

    def end(self) -> None:
        """Stop the actors."""
        import ray

        for actor in self._actors:
            with contextlib.suppress(Exception):  # it may be gone
                ray.kill(actor.handle)

    def _wanted_actors(self) -> int:
        import ray

        return self._options.actors or actors_for(self._options, ray.nodes())

    def _hand_out(self) -> None:
        """Give chunks to the actors that are ready."""
        import ray
        from ray import exceptions

        new = {actor.ready: actor for actor in self._actors if not actor.node}
        ready, _ = ray.wait(list(new), num_returns=len(new), timeout=0) if new else ([], [])
        for reference in ready:
            actor = new[reference]
            try:
                actor.node = ray.get(reference)
                self._deaths_at_start = 0  # nodes come and go during a run of many hours
            except exceptions.RayTaskError as error:
                raise _own(error) from None
            except exceptions.RayError as error:
                self._replace(actor, error)
        for actor in self._actors:
            if actor.node and self._waiting and actor.chunk is None:
                actor.chunk = self._waiting.popleft()
                actor.answer = actor.handle.do.remote(actor.chunk)

    def _take_back(self) -> Iterator[Done[Any]]:
        """The chunks that are done, once there are some."""
        import ray
        from ray import exceptions

        at_work = {actor.answer: actor for actor in self._actors if actor.chunk}
        starting = [actor.ready for actor in self._actors if not actor.node]
        is_one_ready = len(starting) < len(self._actors)
        patience = SLOW_SECONDS if is_one_ready else START_SECONDS
        done, _ = ray.wait([*at_work, *starting], timeout=patience)
        if not done:
            if not is_one_ready:
                raise self._backend.none_started()
            self._tell_of_slow_chunks()
        for reference in done:
            if reference not in at_work:
                continue  # an actor is ready
            actor = at_work[reference]
            chunk, actor.chunk = actor.chunk, None
            assert chunk is not None  # noqa: S101 - it is at work
            try:
                result = ray.get(reference)
            except exceptions.RayTaskError as error:
                self._try_again(chunk, f"{type(error.cause).__name__}: {error.cause}")
            except exceptions.RayError as error:
                self._try_again(chunk, _first_line(error))
                self._replace(actor, error)
            else:
                if isinstance(result, Failed):
                    self._failed.append((chunk, result))
                else:
                    yield result

    def _replace(self, actor: _Actor, error: Exception) -> None:
        """Start another actor for one that died.

        Raises:
            InputError: Its node does not have this package.
            StoreError: Too many died before they were ready, and none was ready meanwhile.
        """
        import ray

        if not actor.node:
            self._deaths_at_start += 1
            if self._deaths_at_start > self._options.retries or NOT_LOADED in str(error):
                raise _why_lost(
                    f"{self._deaths_at_start} Ray actors died before they were ready", error
                ) from error
        node = f" on node {actor.node}" if actor.node else ""
        self._log(f"A Ray actor{node} died ({_first_line(error)}); another one is started.")
        with contextlib.suppress(Exception):  # it may only be out of reach
            ray.kill(actor.handle)
        self._actors.remove(actor)
        self._actors.append(self._backend.start_actor(self._task))

    def _try_again(self, chunk: Chunk, why: str) -> None:
        self._tries[chunk.number] = tries = self._tries.get(chunk.number, 0) + 1
        if tries > self._options.retries:
            message = f"it was tried {tries} times; the last time: {why}"
            self._failed.append((chunk, Failed(chunk.number, message, False)))
        else:
            self._waiting.appendleft(chunk)

    def _tell_of_slow_chunks(self) -> None:
        waited = [
            f"{_named(actor.chunk)} on node {actor.node}" for actor in self._actors if actor.chunk
        ]
        self._log(
            f"No chunk was done for {SLOW_SECONDS / 60:,.0f} minutes. Waited for: "
            f"{', '.join(waited) or 'an actor to start'}."
        )

    def _failure(self) -> SidAssetsError:
        lines = [f"{_named(chunk)}: {failed.message}" for chunk, failed in self._failed]
        kind = InputError if all(failed.is_input for _, failed in self._failed) else StoreError
        return kind(
            f"{len(self._failed)} of {self._total:,} chunks failed. Those that are done are kept; "
            "the next run goes on with them.\n" + "\n".join(lines)
        )


@dataclass(frozen=True)
class RemoteEmbedder:
    """An embedder whose texts an actor embeds. Pickled, it is the embedder itself.

    Attributes:
        local: The embedder, which loads no weights here.
        backend: Where the actors are.
        key: Identifies it in the processes of actors.
    """

    local: Embedder
    backend: RayBackend
    key: str = field(default_factory=lambda: secrets.token_hex(8))

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, the embedder: the same one every time, so that it loads once."""
        return _kept, (self.key, self.local)

    @property
    def space(self) -> EmbeddingSpace:
        """The embedder's space."""
        return self.local.space

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed texts on an actor."""
        return self.backend.ask(self, "embed", list(texts))

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Count tokens here, which takes no weights."""
        return self.local.count_tokens(texts)

    def memory(self) -> Memory | None:
        """The memory that an actor needs and has."""
        return self.backend.ask(self, "memory")

    def close(self) -> None:
        """Actors end with the backend."""


_KEPT: dict[str, Embedder] = {}


def _kept(key: str, embedder: Embedder) -> Embedder:
    """The embedder of a key in this process: the first one that came."""
    return _KEPT.setdefault(key, embedder)


def embedder_of(backend: Backend, embedder: Embedder) -> Embedder:
    """The embedder to use where chunks are computed by a backend."""
    return RemoteEmbedder(embedder, backend) if isinstance(backend, RayBackend) else embedder


def _connect(address: str) -> tuple[bool, str]:
    """Start Ray or connect to it, unless this process has done so.

    Returns:
        Whether it did, and the URL of the dashboard.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "SID_BACKEND=ray needs Ray: pip install 'sid_assets[ray]'. It is missing here "
            f"({error})."
        ) from error
    if ray.is_initialized():
        return False, ""
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if not address:
        options |= {"include_dashboard": True, "dashboard_host": "127.0.0.1"}
    try:
        context = _initialised(address or "local", options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise InputError(
            f"SID_RAY_ADDRESS={address}: Ray cannot be reached: {_first_and_last_line(error)}"
            if address
            else f"Ray cannot be started on this machine: {_first_and_last_line(error)}"
        ) from error
    url = context.dashboard_url
    return True, f"http://{url}" if url else ""


def _initialised(address: str, options: Mapping[str, Any]) -> Any:
    """What `ray.init` returns.

    A head node forks a process for each client, which may hang as it starts: Ray gives up after
    half a minute, and another one is likely to start.
    """
    import ray

    for left in reversed(range(CONNECTIONS)):
        try:
            with _signals_kept():
                return ray.init(address, **options)
        except ConnectionAbortedError:
            if not left:
                raise


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray replaces the handler with which Dagster ends a run that is stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:  # None: it was not set from Python
            signal.signal(signal.SIGTERM, before)


def _own(error: Any) -> Exception:
    """The error of this package for what a task raised, or else Ray's."""
    if isinstance(error.cause, SidAssetsError):
        return error.cause
    if trouble := store_trouble(error.cause):
        return StoreError(f"On a Ray node: {trouble}")
    return error


def _why_lost(what: str, error: Exception) -> SidAssetsError:
    """The error for the last of several actors that died, given what they did."""
    text = str(error)
    if NOT_LOADED not in text:
        return StoreError(f"{what}; the last one: {text}")
    address = re.search(r"\bip=([^,)\s]+)", text)
    return InputError(
        f"The Ray node {address[1] if address else '(unknown)'} cannot load {PACKAGE} "
        f"({text.strip().splitlines()[-1]}). Install {PACKAGE}[ray] "
        f"{metadata.version(PACKAGE)} and the same other packages on all nodes."
    )


def _use_own_cpus() -> None:
    """Let this process compute in as many threads as its actor has CPUs.

    Ray says so to OpenMP, but not if the environment of the node says something else.
    """
    import ray

    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    threads = max(1, int(cpus))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def _named(chunk: Chunk) -> str:
    return f"chunk {chunk.number} (pids {chunk.first_pid!r} to {chunk.last_pid!r})"


def _first_and_last_line(error: BaseException) -> str:
    """What happened, and why: Ray's client puts the traceback of the server into its message."""
    last = str(error).strip().rpartition("\n")[2]
    return " ".join(dict.fromkeys(filter(None, (_first_line(error), last))))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
