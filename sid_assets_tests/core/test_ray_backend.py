"""Ray actors: the same parts as in one process, whatever dies."""

import builtins
import os
import pickle
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from sid_assets.core.embedders import Embedded
from sid_assets.core.embedders.openai_server import OpenAIServerEmbedder
from sid_assets.core.embeddings.run import embed_items
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.quantise.run import encode_items
from sid_assets.core.ray_backend import (
    CONNECTIONS,
    ChunkActor,
    RayBackend,
    RemoteEmbedder,
    embedder_of,
)
from sid_assets.core.ray_options import RayOptions
from sid_assets.core.store.chunks import Chunk, Say, run_chunks
from sid_assets.core.store.draft import Draft
from sid_assets.core.store.store import Store
from sid_assets_tests.core.drawn_vectors import (
    ALLOW_ALL,
    FakeEmbedder,
    commit_texts,
    embed,
    expected_vectors,
    item_texts,
    vectors_by_pid,
)
from sid_assets_tests.core.quantise.test_run import codes_by_pid, expected_codes, tokenizer
from sid_assets_tests.ray_cluster import NODE, two_nodes

REPOSITORY = Path(__file__).parents[2]
COLUMNS = pa.schema([pa.field("pid", pa.int64(), nullable=False)])
CHUNKS = [Chunk(number, 5, 5 * number, 5 * number + 4) for number in range(12)]


@dataclass
class Summary:
    """The process that did a chunk, its node, and its threads."""

    process: int = 0
    node: str = ""
    threads: str = ""


@dataclass(frozen=True)
class Work:
    """Counts from the first pid of a chunk to its last; things happen at some chunks.

    Attributes:
        once: A folder in which a file is left when the process has ended itself at a chunk.
        ends_at: The chunks at which the process ends itself, for the first time they are tried.
        always_ends_at: The chunks at which it always does.
        refuses: The chunks that are refused.
        waits: A chunk that is done once all others are.
        seconds: How long a chunk takes.
        actors: An actor begins its first chunk once so many have one.
    """

    once: Path
    ends_at: tuple[int, ...] = ()
    always_ends_at: tuple[int, ...] = ()
    refuses: tuple[int, ...] = ()
    waits: int = -1
    seconds: float = 0.05
    actors: int = 1

    @cached_property
    def weights(self) -> float:
        """What every actor loads once; a file is left every time."""
        note_in(self.once / "loads")
        return self.seconds

    def meet(self) -> None:
        """Wait until the other actors have a chunk."""
        note_in(self.once / "actors", str(os.getpid()))
        wait_for_files(self.once / "actors", self.actors)

    def __call__(self, chunk: Chunk, say: Say) -> tuple[list[pa.RecordBatch], Summary]:
        import ray

        mark = self.once / str(chunk.number)
        if chunk.number in self.always_ends_at:
            os._exit(1)
        if chunk.number in self.ends_at and not mark.exists():
            mark.touch()
            os._exit(1)
        if chunk.number in self.refuses:
            raise InputError(f"pid {chunk.first_pid}: no good")
        if chunk.number == self.waits:
            wait_for_files(self.once, len(CHUNKS) - 1)
        self.meet()
        time.sleep(self.weights)
        say(f"chunk {chunk.number}")
        pids = list(range(chunk.first_pid, chunk.last_pid + 1))
        node = ray.get_runtime_context().get_node_id()
        if self.waits >= 0:
            mark.touch()
        summary = Summary(os.getpid(), node, os.environ["OMP_NUM_THREADS"])
        return [pa.record_batch([pids], schema=COLUMNS)], summary


def note_in(folder: Path, name: str = "") -> int:
    """Leave a file in a folder, under a new name if none is given; how many were there."""
    folder.mkdir(parents=True, exist_ok=True)
    there = len(list(folder.iterdir()))
    (folder / (name or secrets.token_hex(8))).touch()
    return there


def wait_for_files(folder: Path, count: int, seconds: float = 120) -> None:
    """Wait until a folder has so many files."""
    until = time.monotonic() + seconds
    while sum(path.is_file() for path in folder.iterdir()) < count:
        assert time.monotonic() < until, "they did not appear"
        time.sleep(0.05)


@dataclass
class Told:
    """What a run told."""

    summaries: dict[int, Summary] = field(default_factory=dict)
    resumed: list[int] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def on_done(self, chunk: Chunk, summary: Summary, resumed: bool) -> None:
        self.summaries[chunk.number] = summary
        if resumed:
            self.resumed.append(chunk.number)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture
def draft(tmp_path) -> Iterator[Draft]:
    with Store(tmp_path / "data").draft("t") as draft:
        draft.begin("work")
        yield draft


def run(draft: Draft, work: Work, told: Told, cluster: Any, **options: Any) -> list[int]:
    """Do all chunks; the pids of their parts, in order."""
    with RayBackend(RayOptions(cluster.address, **options), told.log.append) as backend:
        return run_on(backend, draft, work, told)


def run_on(backend: RayBackend, draft: Draft, work: Work, told: Told) -> list[int]:
    """Do all chunks on actors of a backend; the pids of their parts, in order."""
    parts = run_chunks(
        draft,
        CHUNKS,
        COLUMNS,
        work,
        told.on_done,
        Summary,
        log=told.log.append,
        backend=backend,
    )
    found = (pa.parquet.read_table(part.path(draft.folder).path) for part in parts)
    return pa.concat_tables(found)["pid"].to_pylist()


ALL = list(range(60))


@pytest.mark.service
def test_two_actors_do_all_chunks_and_a_second_run_none(cluster, draft, tmp_path):
    told = Told()
    assert run(draft, Work(tmp_path, waits=0), told, cluster) == ALL
    assert len({summary.process for summary in told.summaries.values()}) == 2
    assert len({summary.node for summary in told.summaries.values()}) == 2
    assert sorted(told.log) == sorted(f"chunk {chunk.number}" for chunk in CHUNKS)
    assert len(list((tmp_path / "loads").iterdir())) == 2  # one for each actor
    again = Told()
    assert run(draft, Work(tmp_path, always_ends_at=tuple(range(12))), again, cluster) == ALL
    assert sorted(again.resumed) == list(range(12))


@pytest.mark.service
def test_chunks_of_an_actor_that_dies_are_done_by_another(cluster, draft, tmp_path):
    told = Told()
    assert run(draft, Work(tmp_path, ends_at=(3, 7)), told, cluster) == ALL
    assert len({summary.process for summary in told.summaries.values()}) >= 2
    assert any("died" in line and "another one is started" in line for line in told.log)


@pytest.mark.service
def test_a_chunk_that_kills_every_actor_is_told_and_the_others_are_kept(cluster, draft, tmp_path):
    with pytest.raises(StoreError) as refused:
        run(draft, Work(tmp_path, always_ends_at=(4,)), Told(), cluster, retries=1)
    assert "1 of 12 chunks failed. Those that are done are kept" in str(refused.value)
    assert "chunk 4 (pids 20 to 24): it was tried 2 times" in str(refused.value)
    again = Told()
    assert run(draft, Work(tmp_path), again, cluster) == ALL
    assert len(again.resumed) == 11


@pytest.mark.service
def test_a_bad_row_stops_its_chunk_only(cluster, draft, tmp_path):
    with pytest.raises(InputError, match=r"chunk 2 \(pids 10 to 14\): pid 10: no good"):
        run(draft, Work(tmp_path, refuses=(2,)), Told(), cluster)
    again = Told()
    assert run(draft, Work(tmp_path), again, cluster) == ALL
    assert sorted(again.resumed) == [number for number in range(12) if number != 2]


@pytest.mark.service
def test_many_bad_chunks_stop_the_run(cluster, draft, tmp_path):
    with pytest.raises(InputError, match=r"3 of 12 chunks failed|4 of 12 chunks failed"):
        run(draft, Work(tmp_path, refuses=tuple(range(12))), Told(), cluster)


@pytest.mark.service
def test_others_go_on_while_a_chunk_is_slow(cluster, draft, tmp_path, monkeypatch):
    monkeypatch.setattr("sid_assets.core.ray_backend.SLOW_SECONDS", 0.01)
    told = Told()
    assert run(draft, Work(tmp_path, waits=0), told, cluster) == ALL
    assert any("Waited for: chunk 0 (pids 0 to 4) on node" in line for line in told.log)


@pytest.mark.service
def test_a_node_that_is_lost_is_survived(cluster, draft, tmp_path):
    node = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    told, lost = Told(), []
    on_done = told.on_done

    def lose_the_node(chunk: Chunk, summary: Summary, resumed: bool) -> None:
        on_done(chunk, summary, resumed)
        if summary.node == node.node_id and not lost:
            lost.append(node)
            cluster.remove_node(node, allow_graceful=False)

    told.on_done = lose_the_node
    work = Work(tmp_path, seconds=0.3, actors=3)
    assert run(draft, work, told, cluster, actors=3) == ALL
    assert len(told.summaries) == 12
    assert lost == [node]  # its actor was at work
    assert any("died" in line and "another one is started" in line for line in told.log)


class DiesAtSomeStarts(ChunkActor):
    """Ends its process before it is ready, the first and the third time."""

    def prepare(self, version: str, task: Any) -> str:
        if note_in(task.work.once / "starts") in (0, 2):
            os._exit(1)
        return super().prepare(version, task)


@pytest.mark.service
def test_actors_that_die_at_their_start_are_counted_until_one_is_ready(
    cluster, draft, tmp_path, monkeypatch
):
    """Over many hours, more than a few nodes are taken away while an actor starts there."""
    monkeypatch.setattr("sid_assets.core.ray_backend.ChunkActor", DiesAtSomeStarts)
    told = Told()
    work = Work(tmp_path, ends_at=(3,))
    assert run(draft, work, told, cluster, actors=1, retries=1) == ALL
    assert len(list((tmp_path / "starts").iterdir())) == 4
    assert sum("died" in line for line in told.log) == 3


class DiesAtEveryStart(ChunkActor):
    """Ends its process before it is ready."""

    def prepare(self, version: str, task: Any) -> str:
        os._exit(1)


@pytest.mark.service
def test_actors_that_all_die_at_their_start_end_the_run(cluster, draft, tmp_path, monkeypatch):
    monkeypatch.setattr("sid_assets.core.ray_backend.ChunkActor", DiesAtEveryStart)
    with pytest.raises(StoreError, match="2 Ray actors died before they were ready"):
        run(draft, Work(tmp_path), Told(), cluster, actors=1, retries=1)


@pytest.mark.service
def test_a_node_with_another_version_of_the_package_refuses(cluster, draft, tmp_path, monkeypatch):
    here = metadata.version("sid_assets")
    other = SimpleNamespace(version=lambda package: "0.0.dev7")
    monkeypatch.setattr("sid_assets.core.ray_backend.metadata", other)
    refused = rf"Node .* has sid_assets {re.escape(here)}, and the run has 0\.0\.dev7\. Install"
    with pytest.raises(StoreError, match=refused):
        run(draft, Work(tmp_path), Told(), cluster)
    assert not list(draft.folder.glob("part-*"))


@dataclass
class LoadingEmbedder(FakeEmbedder):
    """Leaves a file, named after the process, whenever it loads."""

    loads: Path = Path()

    @cached_property
    def weights(self) -> None:
        note_in(self.loads, f"{os.getpid()}-{secrets.token_hex(4)}")

    def embed(self, texts: Sequence[str]) -> Embedded:
        self.weights  # noqa: B018 - as a model is loaded
        return super().embed(texts)


@pytest.mark.service
def test_vectors_and_codes_are_those_of_one_process(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("sid_assets.core.embeddings.cuts.CHUNK_ROWS", 9)
    texts, log = item_texts(range(50)), []
    local, store = Store(tmp_path / "local"), Store(tmp_path / "ray")
    expected = embed(local, texts, FakeEmbedder()).version
    embedder = LoadingEmbedder(loads=tmp_path / "loads")
    with RayBackend(RayOptions(cluster.address), log.append) as backend:
        draft, _, progress = embed_items(
            store,
            "item_embeddings",
            commit_texts(store, texts),
            embedder_of(backend, embedder),
            ALLOW_ALL,
            log.append,
            lambda progress: None,
            backend=backend,
        )
        made = store.commit(draft)
        assert embedder.calls == []  # nothing was embedded by the driver
        assert progress.embedded == 50
        loads = [path.name.partition("-")[0] for path in embedder.loads.iterdir()]
        assert len(loads) == len(set(loads)) <= 2  # each actor loads once, for probe and chunks
        assert vectors_by_pid(made) == expected_vectors(texts, FakeEmbedder())
        assert made.rows == expected.rows
        checkpoint = tokenizer(store, made)
        shutil.copytree(store.root.path, tmp_path / "copy", symlinks=True)
        codes, _ = encode_items(
            store, "codes", made, checkpoint, None, log.append, lambda progress: None, backend
        )
    assert codes_by_pid(codes.as_version()) == expected_codes(made, checkpoint)
    here, _ = encode_items(
        Store(tmp_path / "copy"), "codes", made, checkpoint, None, log.append, lambda progress: None
    )
    assert [part.digest for part in here.parts] == [part.digest for part in codes.parts]
    assert log == []


@pytest.mark.service
def test_a_folder_that_a_node_does_not_see_is_named(cluster, draft, tmp_path):
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"Node .* does not see .*data/\.versions/t/"):
        run(draft, Work(tmp_path), Told(), cluster)
    (tmp_path / "elsewhere").rename(tmp_path / "data")


@pytest.mark.service
def test_a_client_and_a_node_that_lacks_the_package(draft, tmp_path, monkeypatch):
    """The client's search path is not that of the nodes, which have an environment of their own."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    broken = tmp_path / "broken" / "sid_assets" / "__init__.py"
    broken.parent.mkdir(parents=True)
    broken.write_text("raise ImportError('it is missing')")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = Cluster(True, head_node_args={**NODE, "ray_client_server_port": port})
    try:
        told = Told()
        with RayBackend(RayOptions(f"ray://127.0.0.1:{port}"), told.log.append) as backend:
            assert run_on(backend, draft, Work(tmp_path), told) == ALL
            assert {summary.threads for summary in told.summaries.values()} == {"1"}
            cluster.add_node(**{**NODE, "env_vars": {"PYTHONPATH": str(broken.parents[1])}})
            cluster.wait_for_nodes()
            with Store(tmp_path / "other").draft("t") as afresh:
                afresh.begin("work")
                refused = r"Ray node [\d.]+ cannot load sid_assets \(.*missing"
                with pytest.raises(InputError, match=refused):
                    run_on(backend, afresh, Work(tmp_path, waits=0), Told())
    finally:
        cluster.shutdown()


def test_the_servers_key_is_not_sent_to_actors(monkeypatch):
    """Each node has it in its own environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-the-tests")
    embedder = OpenAIServerEmbedder("http://127.0.0.1:1/v1", "m", tokenizer="", patience=0)
    remote = RemoteEmbedder(embedder, cast(RayBackend, None))
    assert remote.count_tokens(["a text"]).estimated
    assert b"secret-of-the-tests" not in pickle.dumps(remote)


def test_a_cluster_that_refuses_the_client_is_tried_again_and_told_why(monkeypatch):
    import ray

    refused = "Initialization failure from server:\nTraceback ...\nRuntimeError: it did not start"
    tried = []

    def init(address: str, **options: Any) -> None:
        tried.append(address)
        raise ConnectionAbortedError(refused)

    monkeypatch.setattr(ray, "init", init)
    reason = "Ray cannot be reached: Initialization failure from server: RuntimeError: it did not"
    with pytest.raises(InputError, match=rf"SID_RAY_ADDRESS=ray://head: {reason}"):
        RayBackend(RayOptions("ray://head"), print)
    assert tried == ["ray://head"] * CONNECTIONS


def test_without_ray_the_message_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without_ray(name: str, *rest: Any) -> Any:
        if name == "ray":
            raise ModuleNotFoundError("No module named 'ray'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(InputError, match=r"needs Ray: pip install 'sid_assets\[ray\]'"):
        RayBackend(RayOptions(), print)
