"""What a run leaves behind contains no secret: history, logs, tables and output."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sid_assets.definitions import defs
from sid_assets.variables import WEBHOOK_VARIABLE
from sid_assets_tests.failed_runs import tell

REPOSITORY = Path(__file__).parents[2]
KEY = "sk-hush-0123456789"
HOOK = "hush-hook-9876543210"
VECTOR = [1.0] + [0.0] * 4095


@contextmanager
def server(*, good: bool) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An embedding server that also takes failures; gives its address and what it received.

    If it is not good, it refuses the key and repeats it.
    """
    failures: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == f"/{HOOK}":
                failures.append(body)
                self.answer(200, {})
            elif good and self.headers["Authorization"] == f"Bearer {KEY}":
                rows = range(len(body["input"]))
                self.answer(200, {"data": [{"index": i, "embedding": VECTOR} for i in rows]})
            else:
                said = f"no such key: {self.headers['Authorization']}"
                self.answer(401, {"error": {"message": said}})

        def answer(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", failures
        listening.shutdown()


def dagster(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Dagster command in a folder, with its history below it and the secrets set."""
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    (folder / "catalog.csv").write_text("pid,title\n1,One\n2,Two\n")
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "DAGSTER_HOME": str(folder / "home"),
        "SID_DATA_DIR": str(folder / "data"),
        "SID_CATALOG": str(folder / "catalog.csv"),
        "SID_TEXT_TEMPLATE": "{title}",
        "SID_EMBEDDER": "openai",
        "SID_EMBEDDING_URL": f"{url}/v1",
        "SID_EMBEDDING_TOKENIZER": "server",
        "SID_FAILURE_WEBHOOK": f"{url}/{HOOK}",
        "OPENAI_API_KEY": KEY,
    }
    return subprocess.run(
        [sys.executable, "-m", "dagster", *arguments, "-m", "sid_assets.definitions"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def files_with_secrets(folder: Path, output: str) -> list[str]:
    """Files that contain one of the secrets; "output" stands for what the command printed."""
    contents = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    contents["output"] = output.encode()
    contents |= {f"{path}, unpacked": unpacked(path) for path in folder.rglob("*.db")}
    assert len(contents) > 5
    secrets = (KEY.encode(), HOOK.encode())
    return [name for name, content in contents.items() if any(one in content for one in secrets)]


def unpacked(database: Path) -> bytes:
    """The values of a database that are compressed, as Dagster's descriptions of jobs are."""
    found = []
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("select name from sqlite_master where type = 'table'")
        for (table,) in tables.fetchall():
            for row in connection.execute(f'select * from "{table}"'):  # noqa: S608
                for value in row:
                    with suppress(zlib.error):
                        found.append(zlib.decompress(value) if isinstance(value, bytes) else b"")
    return b"\n".join(found)


def tell_of_the_failed_run(home: Path) -> None:
    """Evaluate the sensor of failed runs, as Dagster's daemon does, for the only run."""
    sensor = defs.get_repository_def().get_sensor_def("post_failures")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        tell(sensor, instance, run.run_id)


@pytest.fixture(scope="module")
def failed(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, str, list[dict[str, Any]]]:
    """The folder of a refresh whose server refuses the key, its output, and what was posted."""
    folder = tmp_path_factory.mktemp("failed")
    with server(good=False) as (url, failures):
        result = dagster(folder, url, "job", "execute", "-j", "refresh_semantic_ids")
        assert result.returncode == 1, result.stderr[-2000:]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(WEBHOOK_VARIABLE, f"{url}/{HOOK}")
            tell_of_the_failed_run(folder / "home")
    return folder, result.stdout + result.stderr, failures


def test_a_failed_refresh_leaves_no_secret_behind(failed):
    folder, output, failures = failed
    assert files_with_secrets(folder, output) == []
    ((step, error),) = [(failure["step"], failure["error"]) for failure in failures]
    assert (step, "no such key: Bearer [the key]" in error) == ("item_embeddings", True)


def test_a_refusal_in_a_run_is_shown_as_its_message_without_frames(failed):
    _, output, _ = failed
    assert "no such key: Bearer [the key]" in output
    for frame in ("Traceback", "Stack Trace", 'File "'):
        assert frame not in output


def test_a_run_that_succeeds_leaves_no_secret_behind(tmp_path):
    arguments = ("asset", "materialize", "--select", "item_texts,item_embeddings")
    with server(good=True) as (url, failures):
        result = dagster(tmp_path, url, *arguments)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "data" / "item_embeddings.parquet").exists()
    assert files_with_secrets(tmp_path, result.stdout + result.stderr) == []
    assert not failures
