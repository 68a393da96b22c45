"""The service of `deploy/compose.yaml` as processes on loopback.

Commands and environment are read out of the compose files. Names of hosts become 127.0.0.1, ports
become free ones, and the folders of the image and of its volumes become folders of the test.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from sid_assets_tests.dagster_dev import DagsterDev, wait_until_it_answers
from sid_assets_tests.postgres import Postgres, free_port, started_postgres, wait_for_port

REPOSITORY = Path(__file__).parents[1]
DEPLOY = REPOSITORY / "deploy"
IMAGE_FOLDERS = ("/opt/dagster", "/scratch", "/models")


def compose(*names: str) -> dict[str, Any]:
    """Compose files, merged as `docker compose --file ... --file ...` merges these."""
    merged: dict[str, Any] = {}
    for name in names:
        _merge(merged, yaml.safe_load((DEPLOY / name).read_text()))
    return merged


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


@dataclass
class Service:
    """The running processes.

    Attributes:
        folder: What stands for the image's folders.
        services: The `services` of the compose files.
        dot_env: The variables of `.env`.
        ports: The port that stands for each of the compose files'.
        postgres: The database.
        processes: The programs that run, by service.
    """

    folder: Path
    services: dict[str, Any]
    dot_env: dict[str, str]
    ports: dict[str, int]
    postgres: Postgres
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)

    @property
    def ui(self) -> DagsterDev:
        """The web server."""
        return DagsterDev(f"http://127.0.0.1:{self.ports['3000']}", self.folder / "data")

    @property
    def log(self) -> Path:
        """What all programs print."""
        return self.folder / "output.log"

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service, with the addresses of this machine."""
        service = self.services[name]
        found = {**self.dot_env} if "env_file" in service else {}
        found |= service.get("environment", {})
        return {key: self._here(value) for key, value in found.items()}

    def start(self, name: str) -> None:
        """Start the command of a service."""
        command = self.services[name]["command"]
        arguments = [self._here(argument) for argument in command]
        if name == "bucket":
            arguments = ["moto_server", *arguments]  # the entry point of its image
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "DAGSTER_HOME": str(self.folder / "opt/dagster"),
            "TMPDIR": str(self.folder / "scratch"),
            "HF_HOME": str(self.folder / "models"),
            **self.environment(name),
        }
        with self.log.open("a") as log:
            self.processes[name] = subprocess.Popen(
                arguments,
                cwd=self.folder / "opt/dagster",
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for_end(self, name: str) -> None:
        """Wait until a service that ends by itself has ended well."""
        assert self.processes.pop(name).wait(timeout=120) == 0, self.log.read_text()[-3000:]

    def kill(self, name: str) -> None:
        """Kill a service and everything that it started, as when its container is gone."""
        process = self.processes.pop(name)
        for part in [psutil.Process(process.pid), *_children(process.pid)]:
            _kill(part)
        process.wait()

    def run_worker(self) -> psutil.Process:
        """The process of the run, which the code server started."""
        workers = [one for one in _children(self.processes["code"].pid) if _is_run_worker(one)]
        (worker,) = workers
        return worker

    def _here(self, value: str) -> str:
        """A value of a compose file with the addresses and folders of this machine."""
        password = self.dot_env["POSTGRES_PASSWORD"]
        value = re.sub(r"\$\{POSTGRES_PASSWORD:\?[^}]*\}", password, str(value))
        for host in ("postgres", "code", "bucket", "0.0.0.0"):  # noqa: S104 - it is replaced
            value = "127.0.0.1" if value == host else value.replace(f"//{host}:", "//127.0.0.1:")
        for port, here in self.ports.items():
            value = str(here) if value == port else re.sub(rf":{port}\b", f":{here}", value)
        return value


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def _is_run_worker(process: psutil.Process) -> bool:
    """Whether a process is what the gRPC server spawned: neither a server nor Python's helpers."""
    try:
        said = shlex.join(process.cmdline())
        parent = shlex.join(psutil.Process(process.ppid()).cmdline())
    except psutil.NoSuchProcess:
        return False
    return "multiprocessing.spawn" in said and "api grpc" in parent


@contextmanager
def service(folder: Path, dot_env: Mapping[str, str], *files: str) -> Iterator[Service]:
    """Start what compose files describe; stop all of it when the block ends.

    Args:
        folder: A folder of the test.
        dot_env: The variables of `.env`.
        files: The compose files.
    """
    services = compose(*files)["services"]
    for name in IMAGE_FOLDERS:
        (folder / name.strip("/")).mkdir(parents=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(DEPLOY / name, folder / "opt/dagster")
    own = {"POSTGRES_PASSWORD": dot_env["POSTGRES_PASSWORD"]}
    own |= {
        key: services["postgres"]["environment"][key] for key in ("POSTGRES_DB", "POSTGRES_USER")
    }
    with ExitStack() as stack:
        postgres = stack.enter_context(started_postgres(own))
        ports = {"5432": postgres.port, **{port: free_port() for port in ("3000", "4000", "9000")}}
        running = Service(folder, services, dict(dot_env), ports, postgres)
        stack.callback(_stop_all, running)
        if "bucket" in services:
            running.start("bucket")
            wait_for_port(ports["9000"])
            running.start("make-bucket")
            running.wait_for_end("make-bucket")
        running.start("code")
        wait_for_port(ports["4000"], 120)
        running.start("daemon")
        running.start("web")
        wait_until_it_answers(running.ui, running.processes["web"], running.log)
        yield running


def _stop_all(running: Service) -> None:
    for name, process in list(running.processes.items()):
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        running.kill(name)
