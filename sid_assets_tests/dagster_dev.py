"""A real `dagster dev` on a free port, as `make ui` starts it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
START_SECONDS = 120

RUNS = "query Run($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@dataclass
class DagsterDev:
    """A running web server.

    Attributes:
        url: Its address.
        data_dir: Where its graph writes.
    """

    url: str
    data_dir: Path

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """What GraphQL answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(  # noqa: S310 - an address on loopback
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def wait_for(self, run_id: str, seconds: float) -> str:
        """The status of a run once it has ended."""
        deadline = time.monotonic() + seconds
        status = "not known"
        while time.monotonic() < deadline:
            status = self.ask(RUNS, id=run_id)["runOrError"]["status"]
            if status in ("SUCCESS", "FAILURE", "CANCELED"):
                return status
            time.sleep(1)
        raise TimeoutError(f"run {run_id} is still {status} after {seconds} s")


@contextmanager
def dagster_dev(home: Path, settings: Mapping[str, str]) -> Iterator[DagsterDev]:
    """Start `dagster dev` with its state in a folder; stop it and everything it started."""
    port = _free_port()
    write_instance(home)
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "SID_DATA_DIR": str(home / "data"),
        "LANG": "en_US.UTF-8",
        **settings,
    }
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "--host", "127.0.0.1"]
    log = (home / "dagster-dev.log").open("w")
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=REPOSITORY,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that it and all its servers can be stopped together
    )
    try:
        server = DagsterDev(f"http://127.0.0.1:{port}", home / "data")
        wait_until_it_answers(server, process, home / "dagster-dev.log")
        yield server
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


def write_instance(home: Path) -> None:
    """The project's own dagster.yaml, with its state below this folder."""
    home.mkdir(parents=True, exist_ok=True)
    text = (REPOSITORY / "dagster.yaml").read_text()
    text = re.sub(r"base_dir: \.dagster", f"base_dir: {home}/.dagster", text)
    (home / "dagster.yaml").write_text(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_answers(server: DagsterDev, process: subprocess.Popen, log: Path) -> None:
    """Wait until a web server answers and has loaded the graph."""
    deadline = time.monotonic() + START_SECONDS
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if server.ask(query)["repositoriesOrError"].get("nodes"):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.5)
    raise AssertionError(f"dagster dev did not start:\n{log.read_text()[-3000:]}")
