"""Catalogs that are read into memory or refused, and the rules of their texts in plain Python."""

import string
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from sid_assets.core.catalog.item_texts import CatalogSource, read_item_texts
from sid_assets.core.errors import InputError


class Read:
    """A catalog that was read, with all of it in memory."""

    def __init__(self, catalog: str | Path, template: str = "{title}", **source: Any) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            read = read_item_texts(
                CatalogSource(str(catalog), template, **source), scratch_dir=scratch
            )
            self.table = read.reader.read_all()
            self.rejected = read.rejected.read_all() if read.rejected else None
        self.read = read
        self.pids = self.table["pid"].to_pylist()
        self.texts = self.table["text"].to_pylist()
        self.text_of = dict(zip(self.pids, self.texts, strict=True))


Write = Callable[..., str]


def refused(catalog: str | Path, template: str = "{title}", **source: Any) -> str:
    """The error message for a refused catalog."""
    with pytest.raises(InputError) as raised:
        Read(catalog, template, **source)
    return str(raised.value)


def expected_text(template: str, row: Mapping[str, str | None]) -> str | None:
    """The rules of templates in plain Python; None where a row has no text."""
    lines, said = [], False
    for line in template.split("\n"):
        names = [name for _, name, _, _ in string.Formatter().parse(line) if name is not None]
        values = [row[name] for name in names]
        if all(value is not None and value.strip() for value in values):
            lines.append(line.format(**row))
            said |= bool(names)
    return "\n".join(lines) if said else None


TRICKY = [
    "{title}",
    "{{brand}}",
    "'; DROP TABLE rows; --",
    "$1 ? %s :x",
    "<|endoftext|><b>&amp;</b>",
    "a\nb\r\nc\td",
    "\u3000\u00a0 ",
    "\x1c\x85\v",
    "\u200b",
    '"quoted", \\n \\',
    "日本語 😀 e\u0301",
    " leading and trailing ",
    "None",
    "nul\x00byte",
]
values = st.none() | st.sampled_from(TRICKY) | st.text(max_size=8)
