"""A refresh of the registry: who has which SID from now on, as a stream of rows."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from sid_assets.core.arrow.windows import windows
from sid_assets.core.registry.apply import apply
from sid_assets.core.registry.counting import Counting
from sid_assets.core.registry.decide import Decision, decide
from sid_assets.core.registry.new_sids import Given
from sid_assets.core.schema import TIME


@dataclass(frozen=True)
class RegistryRefresh:
    """The rows of one generation, before and after a refresh.

    Attributes:
        items: Gives the items of today: `pid`, `codes`, `text_hash`, and `users` where collisions
            are resolved; sorted by pid.
        rows: Gives the rows of the generation so far, in the order of the registry.
        generation: Id of the generation.
        at: The time of the refresh, later than all times in the registry.
        keep: Whether an item keeps its SID when its text changes.
    """

    items: Callable[[], pa.RecordBatchReader]
    rows: Callable[[], pa.RecordBatchReader]
    generation: str
    at: dt.datetime
    keep: bool = False

    def decisions(self) -> Iterator[Decision]:
        """All windows, each decided; the same ones each time."""
        for items, rows in windows(self.items(), self.rows()):
            yield decide(items, rows, keep=self.keep)

    def refreshed(self, given: Given, counting: Counting) -> Iterator[pa.RecordBatch]:
        """The rows of the generation after the refresh.

        Args:
            given: The new SIDs.
            counting: Counts what the refresh does.
        """
        at = pa.scalar(self.at, TIME)
        for decision in self.decisions():
            applied = apply(decision, given.next(decision), self.generation, at)
            counting.add(decision, applied)
            yield from applied.rows.combine_chunks().to_batches()
