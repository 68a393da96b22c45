"""The real hub client, in a separate process, against a small hub on loopback."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

REPO = "someone/tokenizer"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = bytes(range(256)) * 4000

DOWNLOADS = """
import json, sys
from sid_assets.core.errors import InputError
from sid_assets.core.quantise.hub import download_checkpoint
try:
    found = download_checkpoint(*json.loads(sys.argv[1]))
except InputError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({"path": str(found.path), "repo_id": found.repo_id,
                      "revision": found.revision, "filename": found.filename}))
"""


@dataclass
class Hub:
    """The content and the faults of a fake hub.

    Attributes:
        files: Name -> announced content, which decides the announced size and hash.
        served: Name -> content that is served instead.
        large: Whether the files are announced as large (SHA-256) or with git's hash (SHA-1).
        breaks_after: Bytes after which the next transfer is interrupted, once.
        ranges: The first byte of each transfer.
    """

    files: dict[str, bytes] = field(default_factory=lambda: {"model.pt": CONTENT})
    served: dict[str, bytes] = field(default_factory=dict)
    large: bool = True
    breaks_after: int = 0
    ranges: list[int] = field(default_factory=list)
    url: str = ""

    def hash_of(self, name):
        content = self.files[name]
        if self.large:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git's

    def info(self):
        siblings = []
        for name, content in self.files.items():
            file = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
            if self.large:
                file["lfs"] = {
                    "sha256": self.hash_of(name),
                    "size": len(content),
                    "pointerSize": 134,
                }
            else:
                file["blobId"] = self.hash_of(name)
            siblings.append(file)
        return {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings, "tags": []}


class Handler(BaseHTTPRequestHandler):
    """Two routes of the hub: the content of a repository, and one of its files."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: Hub

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        path = unquote(urlsplit(self.path).path)
        for revision in ("main", "v1", COMMIT):
            if path == f"/api/models/{REPO}/revision/{revision}":
                return self.send(200, json.dumps(self.hub.info()).encode(), with_body)
            for name in self.hub.files:
                if path == f"/{REPO}/resolve/{revision}/{name}":
                    return self.send_file(name, with_body)
        missing = "RepoNotFound" if REPO not in path else "RevisionNotFound"
        return self.send(404, b"{}", with_body, {"X-Error-Code": missing})

    def send_file(self, name, with_body):
        content = self.hub.served.get(name, self.hub.files[name])
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{self.hub.hash_of(name)}"',
            "Accept-Ranges": "bytes",
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        limit = None
        if with_body:
            self.hub.ranges.append(start)
            limit, self.hub.breaks_after = self.hub.breaks_after or None, 0
        self.send(206 if start else 200, content[start:], with_body, headers, limit)

    def send(self, status, content, with_body, headers=None, limit=None):
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content[:limit])
        if limit is not None:
            self.close_connection = True

    def log_message(self, format, *arguments):
        pass


@pytest.fixture
def hub():
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def download(tmp_path):
    """Runs `download_checkpoint` in a process with its own cache."""

    def run(url, *arguments, **environment):
        result = subprocess.run(
            [sys.executable, "-c", DOWNLOADS, json.dumps(arguments or [REPO])],
            env={
                **os.environ,
                "HF_HOME": str(tmp_path / "hub"),
                "HF_ENDPOINT": url,
                "HF_HUB_DISABLE_TELEMETRY": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    return run


def cached_files(tmp_path):
    return list((tmp_path / "hub").rglob("*.pt"))


@pytest.mark.parametrize("large", [True, False], ids=["large file", "small file"])
def test_the_only_checkpoint_is_found_and_downloaded(hub, download, large):
    hub.files = {"README.md": b"# Tokenizer", "sub/model.pt": CONTENT}
    hub.large = large
    found = download(hub.url)
    assert Path(found.pop("path")).read_bytes() == CONTENT
    assert found == {"repo_id": REPO, "revision": COMMIT, "filename": "sub/model.pt"}


def test_a_second_download_comes_from_the_cache(hub, download):
    first = download(hub.url)
    assert download(hub.url) == first
    assert hub.ranges == [0]


@pytest.mark.parametrize("revision", ["v1", COMMIT])
def test_a_revision_can_be_pinned(hub, download, revision):
    assert download(hub.url, REPO, revision)["revision"] == COMMIT


def test_several_checkpoints_are_listed_and_one_can_be_named(hub, download):
    hub.files = {"a.pt": b"a", "b.pt": CONTENT}
    assert "several checkpoints (a.pt, b.pt). Name one" in download(hub.url)["error"]
    assert download(hub.url, REPO, None, "b.pt")["filename"] == "b.pt"


def test_no_checkpoint(hub, download):
    hub.files = {"README.md": b"#"}
    assert "there is no file ending with .pt" in download(hub.url)["error"]


def test_a_named_file_that_is_not_there(hub, download):
    error = download(hub.url, REPO, None, "c.pt")["error"]
    assert "there is no c.pt. Checkpoints found: model.pt" in error


@pytest.mark.parametrize(
    "arguments", [["someone/else"], [REPO, "v2"], ["not a name"]], ids=["repo", "revision", "name"]
)
def test_nothing_of_that_name(hub, download, arguments):
    error = download(hub.url, *arguments)["error"]
    assert error.startswith(f"{arguments[0]} (revision ")
    assert "not found on the hub" in error


def test_an_interrupted_transfer_is_resumed(hub, download):
    hub.files = {"model.pt": os.urandom(12 << 20)}
    hub.breaks_after = 11 << 20  # the client writes 10 MiB at a time
    found = download(hub.url)
    assert Path(found["path"]).read_bytes() == hub.files["model.pt"]
    assert hub.ranges == [0, 10 << 20]


def test_changed_content_of_the_same_size_is_refused_and_not_kept(hub, download, tmp_path):
    hub.served = {"model.pt": CONTENT[:-1] + b"!"}
    error = download(hub.url)["error"]
    assert "is not what the hub announced" in error
    assert cached_files(tmp_path) == []
    hub.served = {}
    assert Path(download(hub.url)["path"]).read_bytes() == CONTENT


def test_content_of_another_size_is_refused(hub, download, tmp_path):
    assert download(hub.url, HF_HUB_DOWNLOAD_TIMEOUT="5")
    path = cached_files(tmp_path)[0]
    path.resolve().write_bytes(CONTENT + b"more")
    assert "is not what the hub announced" in download(hub.url)["error"]


@pytest.mark.parametrize("offline", [{"HF_HUB_OFFLINE": "1"}, {}], ids=["offline", "unreachable"])
def test_without_a_network_the_cache_serves(hub, download, tmp_path, offline):
    first = download(hub.url)
    nowhere = "http://127.0.0.1:9"
    assert download(nowhere, **offline) == first
    assert download(nowhere, REPO, COMMIT, **offline) == first
    assert "does not hold it" in download(nowhere, REPO, "v1", **offline)["error"]
    cached_files(tmp_path)[0].resolve().write_bytes(b"changed")
    assert "is not what the hub announced" in download(nowhere, **offline)["error"]


def test_without_a_network_or_a_cache(download):
    error = download("http://127.0.0.1:9", HF_HUB_OFFLINE="1")["error"]
    assert f"{REPO} (revision main): the hub cannot be reached" in error
    assert "give the path of a checkpoint" in error
