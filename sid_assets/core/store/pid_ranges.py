"""Ranges of pids, read from the parts of a sorted table; damaged rows are reported and skipped."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.schema import Pid
from sid_assets.core.store.parts import Part, open_part, read_footer, readable
from sid_assets.core.store.places import UnreachableError, require_reachable
from sid_assets.core.store.versions import Version


class DamageError(StoreError):
    """A part, or one of its row groups, that cannot be read.

    Attributes:
        folder: The folder of the version or draft that has the part.
        rows: Number of rows lost.
        pids: Smallest and largest pid that may be among them.
    """

    def __init__(self, folder: UPath, rows: int, pids: tuple[Pid, Pid], message: str) -> None:
        super().__init__(message)
        self.folder = folder
        self.rows = rows
        self.pids = pids


OnDamage = Callable[[DamageError], None]
"""Called with each part or row group that cannot be read and is skipped."""


class SortedParts:
    """Part files of a table sorted by pid, from which ranges of pids are read.

    The footer of the part read last is kept: consecutive chunks are often in the same part.
    """

    def __init__(self, folder: UPath, parts: Sequence[Part]) -> None:
        """Nothing is read yet.

        Args:
            folder: The folder of the parts.
            parts: Their summaries, in pid order; the ranges of two parts do not overlap.
        """
        self._folder = folder
        self._parts = [part for part in parts if part.rows]
        self._last_pids = [part.last_pid for part in self._parts]
        self._footer: _Footer | None = None

    @classmethod
    def of(cls, version: Version) -> "SortedParts":
        """The parts of a committed version."""
        return cls(version.folder, version.parts)

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self._parts)

    def all_rows(self, columns: Sequence[str], on_damage: OnDamage) -> Iterator[pa.RecordBatch]:
        """All rows that can be read, one row group at a time."""
        if self._parts:
            yield from self.between(
                self._parts[0].first_pid, self._last_pids[-1], columns, on_damage
            )

    def spread_pids(self, count: int, on_damage: OnDamage) -> list[Pid]:
        """The pids of at most `count` rows, spread evenly over the table."""
        first_rows = np.cumsum([0, *(part.rows for part in self._parts)])
        pids = []
        for row in np.unique(np.linspace(0, max(first_rows[-1] - 1, 0), count, dtype=np.int64)):
            number = int(np.searchsorted(first_rows, row, side="right")) - 1
            for part in self._parts[number : number + 1]:
                rows = self.between(part.first_pid, part.last_pid, ["pid"], on_damage)
                known = [pid for batch in rows for pid in batch["pid"].to_pylist()]
                pids += known[row - first_rows[number] :][:1]
        return pids

    def between(
        self, first_pid: Pid, last_pid: Pid, columns: Sequence[str], on_damage: OnDamage
    ) -> Iterator[pa.RecordBatch]:
        """The rows from one pid to another, both included, one row group at a time.

        Args:
            first_pid: Smallest pid wanted.
            last_pid: Largest pid wanted.
            columns: Columns wanted, including `pid`.
            on_damage: Called with what cannot be read, before the rows that follow it.

        Raises:
            UnreachableError: An object store does not show a part now.
        """
        for number in range(bisect_left(self._last_pids, first_pid), len(self._parts)):
            part = self._parts[number]
            if part.first_pid > last_pid:
                return
            try:
                yield from self._rows_between(part, first_pid, last_pid, columns, on_damage)
            except UnreachableError:
                raise
            except StoreError as error:
                pids = (part.first_pid, part.last_pid)
                on_damage(DamageError(self._folder, part.rows, pids, str(error)))

    def _rows_between(
        self,
        part: Part,
        first_pid: Pid,
        last_pid: Pid,
        columns: Sequence[str],
        on_damage: OnDamage,
    ) -> Iterator[pa.RecordBatch]:
        path = part.path(self._folder)
        footer = self._footer_of(path, part)
        with readable(path):
            file = open_part(path, footer.metadata)
        with file:
            for group, pids in enumerate(footer.pids):
                if pids and (pids[1] < first_pid or pids[0] > last_pid):
                    continue
                try:
                    rows = file.read_row_group(group, list(columns), use_threads=False)
                except (pa.ArrowException, OSError) as error:
                    require_reachable(path, error)
                    lost = footer.metadata.row_group(group).num_rows
                    message = f"{path}: row group {group} is damaged ({error})."
                    within = pids or (part.first_pid, part.last_pid)
                    on_damage(DamageError(self._folder, lost, within, message))
                    continue
                start, stop = _count_below(rows, first_pid), _count_up_to(rows, last_pid)
                yield from rows.slice(start, stop - start).to_batches()

    def _footer_of(self, path: UPath, part: Part) -> "_Footer":
        if self._footer is None or self._footer.path != path:
            self._footer = _Footer.read(path, part)
        return self._footer


@dataclass(frozen=True)
class _Footer:
    """The footer of a part file.

    Attributes:
        path: The file.
        metadata: The footer as pyarrow reads it.
        pids: Smallest and largest pid of each row group; None if the footer lacks them.
    """

    path: UPath
    metadata: pq.FileMetaData
    pids: list[tuple[Pid, Pid] | None]

    @classmethod
    def read(cls, path: UPath, part: Part) -> "_Footer":
        metadata = read_footer(path, part)
        pid = metadata.schema.to_arrow_schema().get_field_index("pid")
        groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
        return cls(path, metadata, [_bounds(group.column(pid).statistics) for group in groups])


def _count_below(rows: pa.Table, pid: Pid) -> int:
    return pc.sum(pc.less(rows.column("pid"), pid)).as_py() or 0


def _count_up_to(rows: pa.Table, pid: Pid) -> int:
    return pc.sum(pc.less_equal(rows.column("pid"), pid)).as_py() or 0


def _bounds(statistics: pq.Statistics | None) -> tuple[Pid, Pid] | None:
    if statistics is None or not statistics.has_min_max:
        return None
    return statistics.min, statistics.max
