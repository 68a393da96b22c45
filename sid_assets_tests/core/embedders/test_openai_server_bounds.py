"""A faulty or hostile server has no hold on time, memory or the key."""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sid_assets.core.embedders import openai_server
from sid_assets.core.embedders.openai_server import KEY_VARIABLE, OpenAIServerEmbedder
from sid_assets.core.errors import InputError

KEY = "sk-hush-0123456789"
GOOD = json.dumps({"data": [{"index": 0, "embedding": [1.0] + [0.0] * 4095}]}).encode()
CHUNK = b" " * 2**16
CUT = (BrokenPipeError, ConnectionResetError)


class Handler(BaseHTTPRequestHandler):
    """A request, answered by the test's function."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answer: Callable[["Handler"], None]
    requests: list[dict[str, str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append({name.lower(): value for name, value in self.headers.items()})
        try:
            type(self).answer(self)
        except CUT:
            self.close_connection = True

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer."""
        self.start(status, length=len(body), **headers)
        self.wfile.write(body)

    def start(self, status: int, length: int, **headers: str) -> None:
        """The head of an answer with a body of this length."""
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def server(answer: Callable[[Handler], None]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server on loopback; gives its URL and the headers of the requests that it received."""
    requests: list[dict[str, str]] = []
    handler = type("_", (Handler,), {"answer": staticmethod(answer), "requests": requests})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}/v1", requests
        listening.shutdown()


def sends(body: bytes) -> Callable[[Handler], None]:
    """Answers every request with this body."""
    return lambda request: request.send(200, body, content_type="application/json")


def embedder(url: str, **settings: Any) -> OpenAIServerEmbedder:
    """An embedder that sends one text a request, so that no tokenizer is needed."""
    settings = {"batch_texts": 1, "timeout": 5.0, "patience": 0.0} | settings
    return OpenAIServerEmbedder(url, "small", tokenizer="", **settings)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.chdir(tmp_path)  # not the developer's .env


@pytest.mark.parametrize("header", ["retry-after", "retry-after-ms"])
@pytest.mark.parametrize(
    ("value", "most"),
    [
        ("nan", 1),
        ("inf", 1),
        ("-inf", 1),
        ("-5", 1),
        ("0", 1),
        ("1e300", 1),
        ("soon", 1),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 1),
        ("Wed, 21 Oct 2015 07:28:00 -9999", 1),
        ("1e-12", 8),
    ],
)
def test_a_wait_that_makes_no_sense_does_not_make_it_ask_for_ever(header, value, most):
    """The usual first wait, of about half a second, is longer than this embedder's patience."""
    with server(lambda request: request.send(429, b"{}", **{header: value})) as (url, requests):
        started = time.monotonic()
        with pytest.raises(InputError, match="429"):
            embedder(url, patience=0.3).embed(["pen"])
        assert time.monotonic() - started < 10
    assert 1 <= len(requests) <= most


def test_it_waits_until_the_date_that_the_server_names():
    date = datetime.now(UTC) + timedelta(seconds=2)

    def answer(request: Handler) -> None:
        if datetime.now(UTC) < date.replace(microsecond=0):
            request.send(503, b"{}", retry_after=format_datetime(date, usegmt=True))
        else:
            request.send(200, GOOD, content_type="application/json")

    with server(answer) as (url, requests):
        embedder(url, patience=10.0).embed(["pen"])
    assert len(requests) == 2


def drip_body(request: Handler) -> None:
    request.start(200, length=10**6, content_type="application/json")
    drip(request)


def drip_error(request: Handler) -> None:
    request.start(500, length=10**6)
    drip(request)


def drip_head(request: Handler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    drip(request)


def drip(request: Handler) -> None:
    for _ in range(100):
        request.wfile.write(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("answer", [drip_body, drip_error, drip_head])
def test_the_whole_answer_must_be_there_in_time(answer):
    """Each byte arrives well within the timeout; all of them take five seconds."""
    with server(answer) as (url, _):
        started = time.monotonic()
        with pytest.raises(InputError, match=r"timed out.*Check that the server is running"):
            embedder(url, timeout=0.4).embed(["pen"])
        assert time.monotonic() - started < 3


def test_a_request_that_took_too_long_is_sent_again():
    slow = iter([True, False])

    def answer(request: Handler) -> None:
        if next(slow):
            drip_body(request)
        else:
            request.send(200, GOOD, content_type="application/json")

    with server(answer) as (url, requests):
        embedder(url, timeout=0.4, patience=5.0).embed(["pen"])
    assert len(requests) == 2


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("announced", [True, False])
def test_an_endless_answer_is_not_read_to_its_end_and_not_asked_for_again(status, announced):
    sent = 0

    def answer(request: Handler) -> None:
        nonlocal sent
        if announced:
            request.start(status, length=6 * 10**9, content_type="application/json")
        else:
            request.send_response(status)
            request.end_headers()
            request.close_connection = True
        while True:
            request.wfile.write(CHUNK)
            sent += len(CHUNK)

    with server(answer) as (url, requests):
        with pytest.raises(InputError, match=r"longer than 1,310,720 bytes, more than 1 vectors"):
            embedder(url, patience=30.0).embed(["pen"])
        assert len(requests) == 1
    assert sent < 100 * 2**20


def test_an_answer_may_be_as_long_as_indented_numbers_are():
    text = json.dumps({"data": [{"index": 0, "embedding": [-0.0123456789012345678] * 4096}]})
    body = text.replace(", ", ",\n" + 12 * " ").encode()
    with server(sends(body)) as (url, _):
        assert len(embedder(url).embed(["pen"]).vectors) == 1


def test_a_compressed_answer_is_refused_because_its_length_is_unknown():
    body = gzip.compress(b" " * 10**7)
    headers = {"content_type": "application/json", "content_encoding": "gzip"}
    refused = pytest.raises(InputError, match=r"has the encoding 'gzip', which was not asked for")
    with server(lambda request: request.send(200, body, **headers)) as (url, requests), refused:
        embedder(url, patience=30.0).embed(["pen"])
    assert [request["accept-encoding"] for request in requests] == ["identity"]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10**5 + b"]" * 10**5,
        b'{"data": [{"index": 0, "embedding": [' + b"9" * 5000 + b"]}]}",
        b'{"data": [{"index": 0, "embedding": [1' + b"0" * 400 + b"]}]}",
        b'{"data": [{"index": 0, "embedding": "not base64"}]}',
    ],
    ids=["nested", "too many digits", "too large", "not base64"],
)
def test_json_that_cannot_be_vectors_is_an_error(body):
    refused = pytest.raises(InputError, match=r"contains no vectors|4096|not finite")
    with server(sends(body)) as (url, _), refused:
        embedder(url).embed(["pen"])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_key_does_not_follow_a_redirect_to_another_host(status):
    """Another port is another server, too."""
    with server(sends(GOOD)) as (elsewhere, received):
        location = f"{elsewhere}/embeddings"
        redirecting = server(lambda request: request.send(status, location=location))
        with redirecting as (url, requests), suppress(InputError):
            embedder(url).embed(["pen"])
        assert requests[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(received)
    assert received or status < 307  # others become a GET, which this server does not know


@pytest.mark.parametrize("status", [401, 429])
def test_a_server_that_repeats_the_key_does_not_bring_it_into_an_error_or_the_log(
    status, caplog, monkeypatch
):
    monkeypatch.setattr(openai_server, "FIRST_WAIT", 0.01)

    def answer(request: Handler) -> None:
        said = f"Incorrect API key provided: {request.headers['Authorization']}"
        request.send(status, json.dumps({"error": {"message": said}}).encode())

    refused = pytest.raises(InputError, match=r"Incorrect API key provided: Bearer \[the key\]")
    with server(answer) as (url, _), refused:
        embedder(url, patience=0.5).embed(["pen"])
    assert ("Retrying for" in caplog.text) == (status == 429)
    assert KEY not in caplog.text
