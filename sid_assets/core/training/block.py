"""A block of input rows, with access to its columns in the forms that the data sets need."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow import json_text
from sid_assets.core.arrow.columns import as_bool, is_valid, list_bounds, spans
from sid_assets.core.inputs.ids import convert_pids, stored_as
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.training.counts import PidCount, RowCounts
from sid_assets.core.training.identity import RowIds
from sid_assets.core.training.inputs import IdSpace
from sid_assets.core.training.sid_lists import SidLists, sids_where

Conditions = dict[str, np.ndarray]
"""Arrays of bool, shape (n,), by reason: rows where the value is False are dropped for it."""


@dataclass(frozen=True)
class Samples:
    """Rows of a data set, complete except for their uuid.

    Attributes:
        ids: Ids of the rows, shape (n,).
        body: `segments` or `messages`, shape (n,).
        metadata: Shape (n,).
    """

    ids: RowIds
    body: pa.StringArray
    metadata: pa.StringArray


@dataclass
class Block:
    """Some rows of interactions or captions.

    Attributes:
        rows: The columns that a data set reads.
        source: The input that the rows come from.
        counts: What became of the rows processed so far.
    """

    rows: pa.RecordBatch
    source: ParquetInput
    counts: RowCounts = field(init=False)

    def __post_init__(self) -> None:
        """Count the rows."""
        self.counts = RowCounts(rows=len(self))

    def __len__(self) -> int:
        """The number of rows."""
        return self.rows.num_rows

    def has(self, column: str) -> bool:
        """Whether the block has a column."""
        return column in self.rows.schema.names

    def text(self, column: str) -> pa.StringArray:
        """A column of text."""
        return self.rows[column].cast(pa.string())

    def id_json(self, column: str) -> pa.StringArray:
        """A column of ids as JSON values; null where the value is not an id (null, NaN, 1.5)."""
        ids = self.rows[column]
        stored = stored_as(ids.type, source=self.source.path, column=column)
        return json_text.of_ids(convert_pids(ids, "string" if stored == "text" else "int"))

    def id_json_or_null(self, column: str) -> pa.StringArray:
        """A column of ids as JSON values; the text `null` if there is no id or no column."""
        if not self.has(column):
            return pa.repeat("null", len(self))
        return self.id_json(column).fill_null("null")

    def lists(self, column: str) -> pa.ListArray:
        """A column of lists."""
        lists = self.rows[column]
        if pa.types.is_null(lists.type):
            return pa.nulls(len(lists), pa.list_(pa.null()))
        return lists.cast(pa.list_(lists.type.value_type))

    def sids(
        self, column: str, items: IdSpace, *, first: int | None = None, last: int | None = None
    ) -> SidLists:
        """The SIDs of lists of pids: lists are cut first, then pids without a SID are dropped.

        Args:
            column: The column of lists; if it is missing, all lists are empty.
            items: The catalog of the ids.
            first: Keep this many pids from the start of each list.
            last: Keep this many pids from the end of each list.
        """
        if not self.has(column):
            return SidLists.empty(len(self))
        return self.sids_of(self.lists(column), column, items, first=first, last=last)

    def sids_of(
        self,
        lists: pa.ListArray,
        column: str,
        items: IdSpace,
        *,
        first: int | None = None,
        last: int | None = None,
    ) -> SidLists:
        """The same for lists that are not a column themselves but were made from one."""
        starts, ends = list_bounds(lists)
        if first is not None:
            ends = np.minimum(ends, starts + first)
        if last is not None:
            starts = np.maximum(starts, ends - last)
        positions, bounds = spans(starts, ends)
        return self.sids_at(lists.values, positions, bounds, column, items)

    def sids_at(
        self,
        pids: pa.Array,
        positions: np.ndarray,
        bounds: np.ndarray,
        column: str,
        items: IdSpace,
    ) -> SidLists:
        """The SIDs of the pids of a column at the given positions.

        Args:
            pids: All pids of the column.
            positions: int64, shape (m,).
            bounds: Shape (n + 1,): the bounds of n rows in the positions.
            column: The name of the column.
            items: The catalog of the ids.
        """
        found = items.find(pids.take(pa.array(positions)), self.source, column)
        self.counts += RowCounts(pids={column: PidCount.of(found.found, found.removed)})
        return sids_where(found.found, found.fragments, bounds)

    def filled(self, column: str, sids: SidLists) -> Conditions:
        """The conditions of a required list of pids."""
        return {
            f"{column} is null": is_valid(self.rows[column]),
            f"no pid of {column} has a SID": sids.filled(),
        }

    def not_null(self, column: str) -> Conditions:
        """The condition of a required value."""
        return {f"{column} is null": is_valid(self.rows[column])}

    def has_id(self, column: str) -> Conditions:
        """The condition of a required id; NaN and 1.5 are not ids."""
        return {f"{column} is null or no id": is_valid(self.id_json(column))}

    def not_empty(self, column: str) -> Conditions:
        """The conditions of a required text that must not be empty."""
        filled = pc.greater(pc.binary_length(self.text(column)), 0).fill_null(False)
        return self.not_null(column) | {f"{column} is empty": as_bool(filled)}

    def not_blank(self, column: str) -> Conditions:
        """The conditions of a required text that must contain more than whitespace."""
        blank = {f"{column} is empty or blank": as_bool(not_blank(self.text(column)))}
        return self.not_null(column) | blank

    def keep_rows(self, conditions: Conditions) -> np.ndarray:
        """Choose the rows that have candidates, if a row can have any number of candidates.

        Returns:
            bool, shape (n,).
        """
        kept, dropped = sifted(conditions)
        self.counts += RowCounts(dropped_rows=dropped)
        return kept

    def keep_candidates(self, conditions: Conditions) -> np.ndarray:
        """Choose the candidates that become rows of the data set.

        The candidates are the rows of the block, or come from the rows that `keep_rows` kept.

        Returns:
            bool, shape (n,).
        """
        kept, dropped = sifted(conditions)
        self.counts += RowCounts(candidates=len(kept), dropped=dropped)
        return kept


def sifted(conditions: Conditions) -> tuple[np.ndarray, Counter[str]]:
    """Which rows meet all conditions; the others are counted by the first condition they fail."""
    kept = np.ones_like(next(iter(conditions.values())))
    dropped: Counter[str] = Counter()
    for reason, met in conditions.items():
        if fails := int((kept & ~met).sum()):
            dropped[reason] += fails
        kept = kept & met
    return kept, dropped


def not_blank(texts: pa.StringArray) -> pa.BooleanArray:
    """Which texts contain more than whitespace; False for null."""
    return pc.greater(pc.binary_length(pc.utf8_trim_whitespace(texts)), 0).fill_null(False)
