"""The service of the compose files: sensor, queue and killed processes, seen through GraphQL."""

import threading
import time
import urllib.error
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import numpy as np
import pandas as pd
import psycopg2
import pytest

from sid_assets.core.embeddings.cuts import CHUNK_ROWS
from sid_assets.dead_runs import DEAD
from sid_assets_tests.embedding_server import KEY, EmbeddingServer
from sid_assets_tests.postgres import wait_for_port
from sid_assets_tests.service import Service, service

pytestmark = pytest.mark.service

PASSWORD = "hush-postgres-5551"  # noqa: S105 - of a database that is gone after the test
HOOK = "hush-hook-5552"
BUCKET_SECRET = "for-trying"  # noqa: S105 - what compose.try.yaml gives away

SECONDS = 600
TWO_LOOKS = 12
"""Seconds in which Dagster's daemon has looked at the queue twice: by default every five."""

FEW = 300
MORE = CHUNK_ROWS + 600
"""New items of a refresh: two chunks or more."""

ONE_CHUNK = CHUNK_ROWS + 100
"""Texts to embed until the first chunk is written."""

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
START_SENSOR = """
mutation Start($sensor: SensorSelector!) {
  startSensor(sensorSelector: $sensor) { __typename ... on PythonError { message } }
}
"""
STOP_SENSOR = """
mutation Stop($id: String!) { stopSensor(id: $id) { __typename ... on PythonError { message } } }
"""
SENSOR_ID = """
query Sensor($sensor: SensorSelector!) {
  sensorOrError(sensorSelector: $sensor) { ... on Sensor { id sensorState { status } } }
}
"""
RUNS = """
{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }
"""
RUN = """
query Run($id: ID!) {
  runOrError(runId: $id) { ... on Run { status eventConnection { events {
    __typename ... on MessageEvent { message eventType stepKey }
    ... on AssetCheckEvaluationEvent { evaluation { checkName success } }
  } } } }
}
"""
RELOAD = """
mutation Reload($name: String!) {
  reloadRepositoryLocation(repositoryLocationName: $name) { __typename }
}
"""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "sid_assets"}
SENSOR = {**LOCATION, "sensorName": "refresh_on_new_catalog"}


class Gate:
    """Lets an embedding server answer a number of different texts; then requests have to wait.

    Attributes:
        answered: How many texts were answered.
        waits: Set while a request waits.
        refreshed: How many items the last refresh had that succeeded.
    """

    def __init__(self) -> None:
        self.answered = self.refreshed = 0
        self.waits = threading.Event()
        self._seen: set[str] = set()
        self._limit = 0
        self._closed = threading.Condition()

    def close_after(self, texts: int) -> None:
        """Let no more than these be answered from now on."""
        with self._closed:
            self._seen, self._limit = set(), texts
            self.waits.clear()

    def open(self) -> None:
        """Let all be answered, and count from zero."""
        with self._closed:
            self._limit, self.answered = 0, 0
            self.waits.clear()
            self._closed.notify_all()

    def embed(self, texts: list[str]) -> np.ndarray:
        """A vector for each text, of its own."""
        with self._closed:
            while self._limit and len(self._seen.union(texts)) > self._limit:
                self.waits.set()
                self._closed.wait()
            self._seen.update(texts)
            self.answered += len(texts)
        draws = [np.random.default_rng(hash_of(text)) for text in texts]
        vectors = np.stack([draw.standard_normal(4096, np.float32) for draw in draws])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def hash_of(text: str) -> int:
    """A number that depends on all of a text, and on nothing else."""
    return int.from_bytes(text.encode(), "little") % (2**61 - 1)


def write_catalog(running: Service, items: int) -> None:
    """A catalog in the bucket, written by the environment of the code server."""
    import s3fs

    environment = running.environment("code")
    bucket = s3fs.S3FileSystem(
        key=environment["AWS_ACCESS_KEY_ID"],
        secret=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        use_listings_cache=False,
    )
    pids = range(1, items + 1)
    frame = pd.DataFrame({"pid": pids, "title": [f"thing {pid}" for pid in pids]})
    bucket.pipe_file("semantic-ids/catalog.parquet", frame.to_parquet(index=False))


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Service]:
    with EmbeddingServer(gate.embed) as embedder:
        settings = {
            "POSTGRES_PASSWORD": PASSWORD,
            "SID_FAILURE_WEBHOOK": f"http://127.0.0.1:9/{HOOK}",
            "OPENAI_API_KEY": KEY,
            "SID_DEPLOYMENT": "demo",
            "SID_CATALOG": "s3://semantic-ids/catalog.parquet",
            "SID_TEXT_TEMPLATE": "{title}",
            "SID_EMBEDDER": "openai",
            "SID_EMBEDDING_URL": embedder.url,
            "SID_EMBEDDING_MODEL": "m",
            "SID_EMBEDDING_TOKENIZER": "server",
            "SID_CODEBOOK_SIZE": "64",
        }
        folder = tmp_path_factory.mktemp("service") / "all"
        with service(folder, settings, "compose.yaml", "compose.try.yaml") as started:
            yield started
            gate.open()


def launch(running: Service) -> str:
    """Launch a refresh, as the UI does; the id of the run."""
    params = {
        "selector": {**LOCATION, "jobName": "refresh_semantic_ids"},
        "mode": "default",
        "runConfigData": {},
    }
    launched = running.ui.ask(LAUNCH, params=params)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return launched["run"]["runId"]


def wait(running: Service, what: str, until: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What is waited for, once it is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := until():
            return found
        time.sleep(1)
    raise TimeoutError(f"{what}: not in {seconds} s\n{running.log.read_text()[-4000:]}")


def status(running: Service, run_id: str) -> str:
    return running.ui.ask(RUN, id=run_id)["runOrError"]["status"]


def events(running: Service, run_id: str) -> list[dict[str, Any]]:
    return running.ui.ask(RUN, id=run_id)["runOrError"]["eventConnection"]["events"]


def said(running: Service, run_id: str) -> str:
    """The messages of a run."""
    return "\n".join(event.get("message") or "" for event in events(running, run_id))


def wait_for_success(running: Service, run_id: str) -> None:
    wait(running, "the end of a run", lambda: status(running, run_id) in ENDED)
    assert status(running, run_id) == "SUCCESS", said(running, run_id)[-4000:]


def hang(running: Service, gate: Gate, items: int, answered: int) -> str:
    """Launch a refresh of a catalog, and let the embedder answer so many texts.

    Returns:
        The id of the run, which waits for the embedder.
    """
    gate.close_after(answered)
    write_catalog(running, items)
    run_id = launch(running)
    wait(
        running,
        "a request that waits",
        lambda: gate.waits.is_set() or status(running, run_id) in ENDED,
    )
    assert gate.waits.is_set(), said(running, run_id)[-4000:]
    return run_id


def test_the_sensor_sees_a_new_catalog_in_the_bucket_and_refreshes(running):
    started = running.ui.ask(START_SENSOR, sensor=SENSOR)["startSensor"]
    assert started["__typename"] == "Sensor", started
    write_catalog(running, FEW)

    def found() -> list[dict[str, Any]]:
        runs = running.ui.ask(RUNS)["runsOrError"]["results"]
        tag = {"key": "dagster/sensor_name", "value": "refresh_on_new_catalog"}
        return [run for run in runs if tag in run["tags"]]

    (run,) = wait(running, "a run of the sensor", found)
    wait_for_success(running, run["runId"])
    checks = [e["evaluation"] for e in events(running, run["runId"]) if "evaluation" in e]
    assert len(checks) > 20
    assert [check["checkName"] for check in checks if not check["success"]] == []
    sensor = running.ui.ask(SENSOR_ID, sensor=SENSOR)["sensorOrError"]
    running.ui.ask(STOP_SENSOR, id=sensor["id"])


def test_a_second_refresh_waits_for_the_first_and_resumes_its_work_when_it_is_killed(running, gate):
    first = hang(running, gate, FEW + MORE, ONE_CHUNK)
    second = launch(running)
    worker = running.run_worker()
    time.sleep(TWO_LOOKS)
    assert status(running, second) == "QUEUED"
    assert running.run_worker() == worker  # the only one
    worker.kill()
    wait(running, "the end of the killed run", lambda: status(running, first) == "FAILURE")
    assert "signal 9 (SIGKILL)" in said(running, first)
    gate.open()
    wait_for_success(running, second)
    assert 0 < gate.answered < CHUNK_ROWS, said(running, second)
    gate.refreshed = FEW + MORE


@pytest.fixture
def many(running: Service, gate: Gate) -> None:
    """A refresh of many items has succeeded, in this test or in one before."""
    if gate.refreshed < FEW + MORE:
        gate.open()
        write_catalog(running, FEW + MORE)
        wait_for_success(running, launch(running))
        gate.refreshed = FEW + MORE


@pytest.mark.usefixtures("many")
def test_a_run_that_ends_with_its_code_server_is_found_and_the_next_one_goes_on(running, gate):
    killed = hang(running, gate, FEW + MORE + 50, 20)
    running.kill("code")
    second_code_server(running)
    wait(running, "the end of the killed run", lambda: status(running, killed) == "FAILURE")
    assert DEAD in said(running, killed)
    gate.open()
    second = launch(running)
    wait_for_success(running, second)
    assert gate.answered < CHUNK_ROWS, said(running, second)


def second_code_server(running: Service) -> None:
    """Start the code server again, and wait until the web server has found it."""
    running.start("code")
    wait_for_port(running.ports["4000"])
    running.ui.ask(RELOAD, name=LOCATION["repositoryLocationName"])


def test_runs_and_the_queue_go_on_when_daemon_and_database_were_killed(running, gate):
    first = hang(running, gate, FEW + MORE + 100, 20)
    running.kill("daemon")
    running.postgres.stop("immediate")
    running.postgres.start()
    wait(running, "new connections of the web server", lambda: has_new_connections(running, first))
    second = launch(running)
    gate.open()
    running.start("daemon")
    wait_for_success(running, first)
    wait_for_success(running, second)


def has_new_connections(running: Service, run_id: str) -> bool:
    """Whether the web server has replaced its connections to a database that was started again.

    A request that meets an old one fails, and there is one for runs, events and schedules each.
    """
    try:
        running.ui.ask(RUNS)
        running.ui.ask(RUN, id=run_id)
        running.ui.ask(SENSOR_ID, sensor=SENSOR)
    except urllib.error.HTTPError:
        return False
    return True


def test_secrets_are_neither_in_files_nor_in_the_history(running):
    secrets = [PASSWORD, HOOK, KEY, BUCKET_SECRET]
    contents = {
        str(path): path.read_bytes() for path in running.folder.rglob("*") if path.is_file()
    }
    contents |= database(running)
    assert len(contents) > 30
    for name, content in contents.items():
        found = [secret for secret in secrets if secret.encode() in content]
        assert not found, name


def database(running: Service) -> dict[str, bytes]:
    """All rows of Dagster's tables, with what is compressed in them."""
    environment = running.environment("daemon")
    connection = psycopg2.connect(
        host=environment["POSTGRES_HOST"],
        port=environment["POSTGRES_PORT"],
        user=environment["POSTGRES_USER"],
        password=environment["POSTGRES_PASSWORD"],
        dbname=environment["POSTGRES_DB"],
    )
    found = {}
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("select tablename from pg_tables where schemaname = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f'select * from "{table}"')  # noqa: S608 - a name from the database
            found[table] = b"\n".join(plain(value) for row in cursor for value in row)
    return found


def plain(value: Any) -> bytes:
    """A value of the database, unpacked if it is compressed."""
    if isinstance(value, memoryview):
        with suppress(zlib.error):
            return zlib.decompress(value)
        return bytes(value)
    return str(value).encode()
