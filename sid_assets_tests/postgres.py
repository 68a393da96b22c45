"""A PostgreSQL server on loopback, from the system's packages, run by a user without rights."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEBIAN = Path("/usr/lib/postgresql")
SECONDS = 60


@dataclass
class Postgres:
    """A server with one database.

    Attributes:
        port: Where it listens on loopback.
        folder: Its files.
        programs: The folder of PostgreSQL's programs.
        environment: The variables that lead to it, as a container of PostgreSQL takes them.
    """

    port: int
    folder: Path
    programs: Path
    environment: dict[str, str]

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        log = self.folder / "log"
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-l", str(log), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; `immediate` is as if it was killed."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "stop")

    def make(self) -> None:
        """Make its files, the user and the database."""
        name, password, database = (
            self.environment[f"POSTGRES_{what}"] for what in ("USER", "PASSWORD", "DB")
        )
        given = self.folder / "password"
        given.write_text(password)
        self._give_away(given)
        arguments = ("-U", name, f"--pwfile={given}", "--auth=scram-sha-256", "--encoding=UTF8")
        self._run("initdb", "-D", str(self.folder / "data"), *arguments)
        given.unlink()
        self.start()
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", name)
        self._run("createdb", *where, database, PGPASSWORD=password)

    def _run(self, program: str, *arguments: str, **more: str) -> None:
        user: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
            user = {"user": _unprivileged(), "group": "nogroup", "extra_groups": []}
        subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **more},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=SECONDS,
            **user,
        )

    def _give_away(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, _unprivileged(), "nogroup")


@contextmanager
def started_postgres(environment: dict[str, str]) -> Iterator[Postgres]:
    """A server with an empty database, on a free port; it is gone when the block ends.

    Args:
        environment: `POSTGRES_USER`, `POSTGRES_PASSWORD` and `POSTGRES_DB`.
    """
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = Postgres(free_port(), folder, _programs(), environment)
    server._give_away(folder)
    try:
        server.make()
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop("immediate")
        shutil.rmtree(folder)


def free_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, seconds: float = SECONDS) -> None:
    """Wait until a server listens on a port of loopback."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


def _programs() -> Path:
    """The folder of PostgreSQL's programs. Debian does not add it to PATH."""
    if found := sorted(DEBIAN.glob("*/bin/pg_ctl")):
        return found[-1].parent
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    raise FileNotFoundError("PostgreSQL is not installed (Debian: apt-get install postgresql)")


def _unprivileged() -> str:
    """The user whom Debian's package makes for PostgreSQL; else nobody."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
