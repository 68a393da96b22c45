"""What a file really holds, judged by its first bytes, where its name says something else."""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.files import ENDINGS, TableFiles

FIRST_BYTES = 64

_CONTROL = rb"[\x00-\x08\x0e-\x1f]"
"""A byte that text does not have: some signatures alone could be the header of a CSV file."""

FILES_AT_ONCE = 16
"""Files looked at in parallel; on an object store, each is a round trip."""


class Content(NamedTuple):
    """A kind of content: how it begins, its name, and what to do with a file that holds it."""

    begins: bytes
    name: str
    remedy: str


_GZIP = Content(rb"\x1f\x8b", "gzip", "Rename it to {name}.gz.")
_DECOMPRESS = "Decompress it, or compress it with gzip."
_CONVERT = "Write its rows as parquet, CSV or JSON lines."

_CONTENTS = (
    Content(rb"PAR1.*" + _CONTROL, "parquet", "Rename it to {stem}.parquet."),
    Content(rb"PARE.*" + _CONTROL, "encrypted parquet", "Decrypt it."),
    _GZIP,
    Content(rb"\x28\xb5\x2f\xfd", "zstd", _DECOMPRESS),
    Content(rb"BZh[1-9]1AY&SY", "bzip2", _DECOMPRESS),
    Content(rb"\xfd7zXZ\x00", "xz", _DECOMPRESS),
    Content(rb"\x04\x22\x4d\x18", "lz4", _DECOMPRESS),
    Content(rb"\xff\x06\x00\x00sNaPpY", "snappy", _DECOMPRESS),
    Content(rb"PK\x03\x04", "a zip archive or an Excel workbook", f"Extract it. {_CONVERT}"),
    Content(rb"\xd0\xcf\x11\xe0", "an Excel workbook", _CONVERT),
    Content(rb"ARROW1\x00", "an Arrow or Feather file", _CONVERT),
    Content(rb"ORC.*" + _CONTROL, "ORC", _CONVERT),
    Content(rb"Obj\x01", "Avro", _CONVERT),
    Content(rb"SQLite format 3\x00", "an SQLite database", _CONVERT),
    Content(rb"version https://git-lfs", "a Git LFS pointer to the data", "Run `git lfs pull`."),
    Content(rb"\s*<(?i:!doctype|html)", "an HTML page", "Download the file itself."),
)

_COMPRESSED = [
    content for content in _CONTENTS if content is _GZIP or content.remedy == _DECOMPRESS
]


def require_named_format(files: TableFiles) -> None:
    """Raise InputError if a CSV or JSON file begins as a file of another kind does.

    So does a file whose name ends with `.gz` and that is not gzip. Parquet files are judged when
    their footers are read.
    """
    if files.format == "parquet":
        return
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        begins = pool.map(partial(first_bytes, files), range(len(files.names)))
        for name, first in zip(files.names, begins, strict=True):
            content, is_gz = content_of(first), name.lower().endswith(".gz")
            if is_gz and content is None and first:
                remedy = f"Rename it to {name.rpartition('/')[2][:-3]}."
                if re.search(_CONTROL, first):
                    remedy = "It is damaged: copy or write it again."
                raise InputError(f"{name}: is not gzip, but begins with {_shown(first)}. {remedy}")
            if content and not (is_gz and content is _GZIP):
                raise InputError(f"{name}: holds {content.name}. {_remedy(content, name)}")


def first_bytes(files: TableFiles, position: int) -> bytes:
    """The bytes by which a file is judged.

    Raises:
        InputError: It cannot be read.
    """
    filesystem: Any = files.filesystem
    try:
        return filesystem.cat_file(files.paths[position], 0, FIRST_BYTES)
    except OSError as error:
        raise InputError(f"{files.names[position]}: cannot be read ({error}).") from error


def why_no_parquet(first: bytes) -> str | None:
    """Why a file that begins with these bytes is not parquet, and what to do; None if unknown."""
    content = content_of(first)
    if content and content.name != "parquet":
        remedy = "Decompress it." if content in _COMPRESSED else content.remedy
        return f"it holds {content.name}. {remedy}"
    if first and not re.search(_CONTROL, first) and not first.startswith(b"PAR1"):
        return (
            f"it is text that begins with {_shown(first)}. Rename it after its format, such as "
            ".csv or .jsonl."
        )
    return None


def content_of(first: bytes) -> Content | None:
    """What a file holds that begins with these bytes; None for text and anything unknown."""
    return next((c for c in _CONTENTS if re.match(c.begins, first, re.DOTALL)), None)


def _remedy(content: Content, name: str) -> str:
    base = name.rpartition("/")[2]
    ending = max((end for end in ENDINGS if base.lower().endswith(end)), key=len, default="")
    return content.remedy.format(name=base, stem=base.removesuffix(base[len(base) - len(ending) :]))


def _shown(first: bytes) -> str:
    return repr(first.decode(errors="replace").splitlines()[0][:30])
