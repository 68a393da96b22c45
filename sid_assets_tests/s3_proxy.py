"""A proxy on loopback before a server of S3's protocol, with the faults of busy stores."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

BUSY = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>ServiceUnavailable</Code><Message>Please try again.</Message></Error>"""


@dataclass
class Faults:
    """What the proxy does with the next requests.

    Attributes:
        url: Of the proxy.
        busy: How many requests are answered with 503 before the others are passed on.
        cut_answers: How many writes are passed on, and their answers are not.
        refused: How many requests were answered with 503.
    """

    url: str = ""
    busy: int = 0
    cut_answers: int = 0
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str) -> bool:
        """Whether a fault is due; it then counts as done."""
        with self.lock:
            left = getattr(self, name)
            setattr(self, name, max(left - 1, 0))
            return left > 0


@contextmanager
def faulty_s3(server: str) -> Iterator[Faults]:
    """A proxy before a server, given its URL."""
    faults, target = Faults(), urlsplit(server).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if faults.take("busy"):
                faults.refused += 1
                self._answer(503, {"Content-Type": "application/xml"}, BUSY)
                return
            connection = http.client.HTTPConnection(target)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if self.command in ("PUT", "POST") and faults.take("cut_answers"):
                self.close_connection = True
                self.connection.close()
                return
            headers = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() not in ("connection", "transfer-encoding", "server", "date")
            }
            self._answer(answer.status, headers, content)

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if self.command == "HEAD" or name.lower() != "content-length":
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            elif status == 503:
                self.send_header("Content-Length", "0")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

        def log_message(self, format: str, *args: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    faults.url = f"http://127.0.0.1:{proxy.server_address[1]}"
    try:
        yield faults
    finally:
        proxy.shutdown()
        proxy.server_close()
