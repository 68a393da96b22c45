"""Two streams that are sorted by pid, side by side: tables of the same pids, one after another."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def windows(
    left: pa.RecordBatchReader, right: pa.RecordBatchReader
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Cut two streams into pairs of tables of the same pids; no pid is in two pairs.

    A table of a pair may be empty. Memory does not grow with the streams.

    Args:
        left: Rows with a column `pid`, sorted by it; pids may repeat.
        right: The same.
    """
    streams = _Stream(left), _Stream(right)
    while True:
        for stream in streams:
            if not stream.rows:
                stream.read()
        ends = [stream.last for stream in streams if not stream.ended]
        end = min(ends, default=None)
        yield streams[0].below(end), streams[1].below(end)
        if end is None:
            return
        for stream in streams:
            if not stream.ended and stream.last == end:
                stream.read()


class _Stream:
    """Batches of a stream, as far as they are read and not yet given out."""

    def __init__(self, batches: pa.RecordBatchReader) -> None:
        self._batches = iter(batches)
        self._held = batches.schema.empty_table()
        self.ended = False

    @property
    def rows(self) -> int:
        return self._held.num_rows

    @property
    def last(self) -> Any:
        """The last pid that was read. More rows of it may follow."""
        return self._held["pid"][-1].as_py()

    def read(self) -> None:
        """Read the next batch that has rows, if the stream has one."""
        while (batch := next(self._batches, None)) is not None:
            self._held = pa.concat_tables([self._held, pa.Table.from_batches([batch])])
            if batch.num_rows:
                return
        self.ended = True

    def below(self, end: Any) -> pa.Table:
        """Give out the rows with a pid below `end`, or all if it is None."""
        held = self._held
        count = held.num_rows
        if end is not None and count:
            count = pc.sum(pc.less(held["pid"], pa.scalar(end, held["pid"].type))).as_py() or 0
        self._held = held.slice(count)
        return held.slice(0, count)
