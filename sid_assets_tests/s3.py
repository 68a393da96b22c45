"""A server that speaks S3's protocol, on loopback, with conditional writes."""

import itertools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

NUMBERS = itertools.count()

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key-of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class Handler(WSGIRequestHandler):
    """Sends headers and body at once: else the body may wait 40 ms for an acknowledgement."""

    disable_nagle_algorithm = True


@contextmanager
def started_s3() -> Iterator[str]:
    """A server in a thread of this process; its URL. Other processes may use it as well."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto, one_at_a_time = create_backend_app("s3"), threading.Lock()

    def application(environment: Any, start_response: Any) -> Any:
        with one_at_a_time:  # moto looks at a condition and writes in two steps
            return moto(environment, start_response)

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def environment(url: str) -> dict[str, str]:
    """The variables that lead any program to a server."""
    return {**CREDENTIALS, "AWS_ENDPOINT_URL": url}


def new_bucket() -> str:
    """The URL of a new bucket on the server that the environment leads to."""
    import s3fs

    name = f"bucket-{next(NUMBERS)}"
    s3fs.S3FileSystem(use_listings_cache=False).mkdir(name)
    return f"s3://{name}"
