"""JSON files with a digest of their content, so that damage is noticed."""

import hashlib
import json
from typing import Any

from upath import UPath

from sid_assets.core.store.places import write_text

DIGEST = "digest"


def write_sealed(path: UPath, fields: dict[str, Any]) -> None:
    """Write an object with its digest, whole or not at all.

    Raises:
        StoreError: The file cannot be written, e.g. because the disk is full.
    """
    write_text(path, sealed(fields).decode())


def sealed(fields: dict[str, Any]) -> bytes:
    """The content of such a file."""
    return json.dumps({**fields, DIGEST: _digest(fields)}).encode()


def read_sealed(path: UPath) -> dict[str, Any]:
    """The object that `write_sealed` wrote. Files of version 0.1 have no digest.

    Raises:
        OSError: There is no such file.
        ValueError: The file is damaged.
    """
    return unsealed(path.read_text(encoding="utf-8"))


def unsealed(text: str) -> dict[str, Any]:
    """The object in the text of such a file.

    Raises:
        ValueError: It is no JSON object, or does not match its digest.
    """
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("it is not a JSON object")
    if DIGEST in fields and fields.pop(DIGEST) != _digest(fields):
        raise ValueError("its content does not match its digest")
    return fields


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()
