"""Where the items are cut into chunks: unchanged parts stay, the rest is cut by its work.

A refresh shares each part of the previous version whose rows are all reused, so a change rewrites
only the part that it is in. Few rows to write are joined with the part beside them: otherwise
every refresh would leave another small part.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import methodcaller

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.schema import Pid
from sid_assets.core.store.chunks import Chunk
from sid_assets.core.store.parts import Part
from sid_assets.core.store.versions import Version

CHUNK_ROWS = 8192
"""The most rows of a chunk, however few are embedded: 128 MB of vectors. The embedder gets all
texts of a chunk at once, to sort them by length."""

CHUNK_CHARACTERS = 50_000_000
"""The most characters of a chunk, whose texts are in memory at once."""

FEW = 1 / 3
"""Rows to write and a part beside them are written as one chunk, if they fit into it and one of the
two has less than this share of `CHUNK_ROWS`."""

READ_ROWS = 16_384
"""Texts that are read at once."""


@dataclass(frozen=True)
class Stretch:
    """Consecutive items.

    Attributes:
        start: Number of the first item, in pid order.
        rows: Number of items.
        part: The part of the previous version that has exactly these items with their texts; None
            if their rows are to be written.
    """

    start: int
    rows: int
    part: Part | None = None


class UnchangedParts:
    """Finds the parts of the previous version whose rows are all reused, with none between them."""

    def __init__(self, parts: Sequence[Part]) -> None:
        """Start before the first item.

        Args:
            parts: The parts of the previous version, in pid order.
        """
        self._parts = [part for part in parts if part.rows]
        self._next = 0
        self._start = self._inside = self._reused = 0
        self._rows = 0
        self._found: list[Stretch] = []

    def add(self, pids: pa.Array, reused: np.ndarray) -> None:
        """Look at the next items.

        Args:
            pids: Their pids, sorted; shape (n,).
            reused: Whether the vector of the previous version is reused: bool, shape (n,).
        """
        while self._next < len(self._parts):
            part = self._parts[self._next]
            start = bisect_left(pids, part.first_pid, key=methodcaller("as_py"))
            stop = bisect_right(pids, part.last_pid, key=methodcaller("as_py"))
            if not self._inside:
                self._start = self._rows + start
            self._inside += stop - start
            self._reused += int(np.count_nonzero(reused[start:stop]))
            if stop == len(pids):  # the part may go on in the next batch
                break
            self._end_part()
        self._rows += len(pids)

    def found(self) -> tuple[Stretch, ...]:
        """The parts found, after all items were added."""
        if self._inside:
            self._end_part()
        return tuple(self._found)

    def _end_part(self) -> None:
        part = self._parts[self._next]
        if self._inside == self._reused == part.rows:
            self._found.append(Stretch(self._start, part.rows, part))
        self._next += 1
        self._inside = self._reused = 0


def stretches(rows: int, unchanged: Sequence[Stretch]) -> list[Stretch]:
    """All items in order: the parts that stay, and what is to be written.

    Args:
        rows: Number of items.
        unchanged: The unchanged parts, in order.
    """
    found: list[Stretch] = []
    end = 0
    for stretch in (*unchanged, Stretch(rows, 0)):
        for more in (Stretch(end, stretch.start - end), stretch):
            if more.rows:
                found.append(more)
            while len(found) > 1 and _belong_together(*found[-2:]):
                left, right = found[-2:]
                found[-2:] = [Stretch(left.start, left.rows + right.rows)]
        end = stretch.start + stretch.rows
    return found


def _belong_together(left: Stretch, right: Stretch) -> bool:
    """Whether two adjacent stretches are written together."""
    to_write = [stretch.rows for stretch in (left, right) if stretch.part is None]
    if len(to_write) != 1:
        return len(to_write) == 2
    is_small = min(left.rows, right.rows) < FEW * CHUNK_ROWS
    return is_small and left.rows + right.rows <= CHUNK_ROWS


def rows_to_write(rows: int, unchanged: Sequence[Stretch]) -> int:
    """How many of all items are in no part that stays; see `stretches`."""
    return sum(one.rows for one in stretches(rows, unchanged) if one.part is None)


def cut_chunks(
    texts: Version,
    counts: np.ndarray,
    characters_per_chunk: float,
    unchanged: Sequence[Stretch] = (),
) -> list[Chunk]:
    """Cut the texts into ranges of pids: unchanged parts, and ranges of about equal work.

    Args:
        texts: The version of `item_texts`.
        counts: Whether each text counts as work: bool, shape (rows of the version,).
        characters_per_chunk: The most characters of such texts in a chunk.
        unchanged: The unchanged parts of the previous version.
    """
    chunks: list[Chunk] = []
    all_rows = stretches(texts.rows, unchanged)
    items = _items_to_write(texts, counts, all_rows)
    for stretch in all_rows:
        if stretch.part:
            part = stretch.part
            chunks.append(Chunk(len(chunks), part.rows, part.first_pid, part.last_pid))
            continue
        pieces = math.ceil(stretch.rows / CHUNK_ROWS)
        most = math.ceil(stretch.rows / pieces)  # no small rest, which would stay small
        rows = characters = work = 0
        first_pid = last_pid = None
        for pid, length, new in islice(items, stretch.rows):
            if rows and (
                rows == most
                or work + new > characters_per_chunk
                or characters + length > CHUNK_CHARACTERS
            ):
                chunks.append(Chunk(len(chunks), rows, first_pid, last_pid))
                rows = characters = work = 0
            first_pid = pid if rows == 0 else first_pid
            last_pid, rows = pid, rows + 1
            characters, work = characters + length, work + new
        chunks.append(Chunk(len(chunks), rows, first_pid, last_pid))
    return chunks


def _items_to_write(
    texts: Version, counts: np.ndarray, all_rows: Sequence[Stretch]
) -> Iterator[tuple[Pid, int, int]]:
    """Pid, characters and characters of work of each item outside the parts that stay."""
    written = np.ones(texts.rows, bool)
    for stretch in all_rows:
        if stretch.part:
            written[stretch.start : stretch.start + stretch.rows] = False
    start = 0
    for batch in texts.stream(["pid", "text"], READ_ROWS):
        here = slice(start, start + batch.num_rows)
        start = here.stop
        chosen = batch.filter(pa.array(written[here]))
        lengths = pc.utf8_length(chosen["text"]).to_numpy()
        work = np.where(counts[here][written[here]], lengths, 0)
        yield from zip(chosen["pid"].to_pylist(), lengths.tolist(), work.tolist(), strict=True)
