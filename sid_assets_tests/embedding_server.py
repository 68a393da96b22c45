"""A real HTTP server on loopback with `/v1/embeddings` and typical faults."""

import base64
import json
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from sid_assets.core.embedders.last_token_model import LastTokenModel
from sid_assets.core.embedders.qwen3 import Qwen3Embedder
from sid_assets.core.embedders.text_tokenizer import DocumentTokenizer

Fault = Literal["413", "429", "500", "cut", "cut in the body", "stall"]

KEY = "a secret"
STALL_SECONDS = 1.5


def served(model: Qwen3Embedder) -> Callable[[Sequence[Any]], np.ndarray]:
    """What a server does with a model on the CPU: it embeds texts, or token ids as they are."""
    pad = DocumentTokenizer(Path(model.model, "tokenizer.json"), model.max_length).endoftext
    network = LastTokenModel.load(model.model, None, "cpu", "float32", pad)

    def embed(inputs: Sequence[Any]) -> np.ndarray:
        if isinstance(inputs[0], str):
            return model.embed(inputs).vectors
        vectors = network.embed(inputs)
        assert vectors is not None
        return vectors

    return embed


class EmbeddingServer:
    """Serves vectors while its `with` block runs.

    Attributes:
        embed: Turns the `input` of a request into vectors, float32 (n, d).
        faults: What goes wrong with the next requests, one each.
        change: Changes an answer before it is sent.
        base64: Whether it supports base64 vectors; otherwise it always sends numbers.
        requests: The requests it received, as JSON.
        most_at_once: The highest number of in-flight requests.
    """

    def __init__(
        self,
        embed: Callable[[list[Any]], np.ndarray],
        *,
        faults: Iterable[Fault] = (),
        change: Callable[[dict[str, Any]], Any] = lambda answer: answer,
        base64: bool = True,
    ) -> None:
        self.embed = embed
        self.faults = deque(faults)
        self.change = change
        self.base64 = base64
        self.requests: list[dict[str, Any]] = []
        self.most_at_once = 0
        self.now = 0
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an error, unless a client has gone, as a killed one does."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, embedding_server: EmbeddingServer, *arguments: Any) -> None:
        self.embedding_server = embedding_server
        super().__init__(*arguments)  # handles the connection, and returns once it is closed

    def do_POST(self) -> None:
        server = self.embedding_server
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append(request)
            fault = server.faults.popleft() if server.faults else None
            server.now += 1
            server.most_at_once = max(server.most_at_once, server.now)
        try:
            self._answer(server, request, fault)
        finally:
            with server.lock:
                server.now -= 1

    def _answer(
        self, server: EmbeddingServer, request: dict[str, Any], fault: Fault | None
    ) -> None:
        if self.path != "/v1/embeddings":
            self._send(404, {"error": {"message": f"no route {self.path}"}})
        elif self.headers["Authorization"] not in (f"Bearer {KEY}", "Bearer none"):
            self._send(401, {"error": {"message": "who are you?"}})
        elif fault == "413":
            self._send(413, {"error": {"message": "too large"}})
        elif fault == "429":
            self._send(429, {"error": {"message": "slow down"}}, {"retry-after-ms": "10"})
        elif fault == "500":
            self._send(500, {"error": {"message": "worker died"}}, {"retry-after-ms": "10"})
        elif fault == "cut":
            self._cut()
        else:
            if fault == "stall":
                time.sleep(STALL_SECONDS)
            with server.lock:
                vectors = server.embed(request["input"])
            coded = server.base64 and request.get("encoding_format") == "base64"
            answer = {"object": "list", "model": request["model"], "data": _data(vectors, coded)}
            self._send(200, server.change(answer), cut=fault == "cut in the body")

    def _send(
        self, status: int, body: Any, headers: dict[str, str] | None = None, cut: bool = False
    ) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if cut:
            self.wfile.write(content[: len(content) // 2])
            self._cut()
        else:
            self.wfile.write(content)

    def _cut(self) -> None:
        """Reset the connection, as when a process is killed or a cable pulled."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def _data(vectors: np.ndarray, coded: bool) -> list[dict[str, Any]]:
    """The rows of an answer, in reverse: clients must not rely on their order."""
    rows = [
        {
            "object": "embedding",
            "index": i,
            "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode()
            if coded
            else row.tolist(),
        }
        for i, row in enumerate(vectors)
    ]
    return rows[::-1]
