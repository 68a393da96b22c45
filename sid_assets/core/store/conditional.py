"""Objects that are replaced only if nobody else has replaced them since they were read.

Object stores have no locks and no renames. Instead, a write may carry a condition: that there is
no such object yet (`If-None-Match`), or that it is still the one that was read (`If-Match`). Of
several writers, one wins, and the others learn that they lost.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

from upath import UPath

from sid_assets.core.store.places import is_local, write_pieces

TRIES = 6
"""How often a write is tried that the store refuses because another one is in progress."""

PAUSE = 0.1
"""Seconds before the second try; they double with each."""

_LOST = 412
_IN_PROGRESS = 409


class ConflictError(Exception):
    """Another process has written the object since it was read."""


@dataclass(frozen=True)
class Seen:
    """An object as it was read.

    Attributes:
        content: Its bytes; None if there is no such object.
        tag: What the store calls this state of it; "" if there is no such object.
    """

    content: bytes | None
    tag: str


ABSENT = Seen(None, "")


def is_conditional(path: UPath) -> bool:
    """Whether the store of a path takes conditions with its writes; see `honours_conditions`."""
    return path.protocol in ("s3", "s3a")


def read_object(path: UPath) -> Seen:
    """An object and its tag; a listing is never used.

    Raises:
        OSError: The store cannot be reached.
    """
    tag = None
    try:
        while True:
            content = _content(path)
            tag, before = _tag(path, content), tag
            # Another process may have written in between. Most stores have the MD5 of the content
            # as its tag, but not where they encrypt it: then it is read between two equal tags.
            if not is_conditional(path) or tag in (before, f'"{_md5(content)}"'):
                return Seen(content, tag)
    except FileNotFoundError:
        return ABSENT


def replace_object(path: UPath, content: bytes, seen: Seen) -> Seen:
    """Write an object if it is still as it was seen.

    Elsewhere than on stores with conditional writes, this only looks before it writes.

    Args:
        path: The object.
        content: Its new content, which no other process writes.
        seen: What was read, or written, last.

    Returns:
        The object as it was written.

    Raises:
        ConflictError: Another process has written or removed it.
        OSError: The store cannot be reached.
    """
    for tried in range(TRIES):
        try:
            return _put(path, content, seen)
        except OSError as error:
            status = _status(error, seen)
            if status not in (_LOST, _IN_PROGRESS):
                raise
        now = read_object(path)
        if now.content == content:  # it was written, but the answer was lost and the client retried
            return now
        if status == _LOST:
            break
        time.sleep(PAUSE * 2**tried)
    raise ConflictError(str(path))


def honours_conditions(path: UPath, stale: Seen) -> bool:
    """Whether the store refuses a write whose condition does not hold. Some ignore conditions.

    The object is written again with its own content, on a condition that does not hold.

    Args:
        path: An object that this process has just written.
        stale: The object as it was before.
    """
    if not is_conditional(path):
        return False
    content = _content(path)
    try:
        _put(path, content, stale)
    except OSError as error:
        if _status(error, stale) == _LOST:
            return True
        raise
    return False


def _put(path: UPath, content: bytes, seen: Seen) -> Seen:
    """Write an object on the condition that it is as it was seen."""
    if not is_conditional(path):
        if read_object(path) != seen:
            raise FileExistsError(str(path))
        if is_local(path):
            write_pieces(path, [content])
        else:
            path.fs.pipe_file(path.path, content)
        return Seen(content, _tag(path, content))
    condition = {"IfMatch": seen.tag} if seen.tag else {"mode": "create"}
    answer: Any = path.fs.pipe_file(path.path, content, **condition)
    return Seen(content, answer["ETag"])


def _content(path: UPath) -> bytes:
    # If s3fs reads with one request at a time, it need not ask for the size first.
    options = {"max_concurrency": 1} if is_conditional(path) else {}
    content: Any = path.fs.cat_file(path.path, **options)
    return content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _tag(path: UPath, content: bytes = b"") -> str:
    if is_conditional(path):
        return path.fs.info(path.path, refresh=True)["ETag"]
    return hashlib.sha256(content).hexdigest()


def _status(error: OSError, seen: Seen) -> int | None:
    """The HTTP status of a refused write; s3fs turns refusals into errors of different types."""
    is_gone = isinstance(error, FileNotFoundError) and seen.tag  # else there is no such bucket
    if isinstance(error, FileExistsError) or is_gone:
        return _LOST
    response = getattr(error.__cause__, "response", None) or {}
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
