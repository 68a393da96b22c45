"""A server that speaks S3's protocol, on loopback, with conditional writes."""

import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

NUMBERS = itertools.count()

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key-of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def started_s3() -> Iterator[str]:
    """A server in a thread of this process; its URL. Other processes may use it as well."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def environment(url: str) -> dict[str, str]:
    """The variables that lead any program to a server."""
    return {**CREDENTIALS, "AWS_ENDPOINT_URL": url}


def new_bucket() -> str:
    """The URL of a new bucket on the server that the environment leads to."""
    import s3fs

    name = f"bucket-{next(NUMBERS)}"
    s3fs.S3FileSystem(use_listings_cache=False).mkdir(name)
    return f"s3://{name}"
