"""The codes of all items as they are published: where a SID is not its item's codes, the SID."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import codes_array
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.schema import CODES, RESIDUAL_NORMS
from sid_assets.core.store.versions import Version

COMPARED_ROWS = 65_536
QUANTISED = "quantised"
"""The column with the codes before resolving, which `PublishedSids.stream` can add."""

_SIDS = pa.schema([("sid", CODES)])
_MOVES = pa.schema([("extra_error", pa.float32())])


@dataclass(frozen=True)
class PublishedSids:
    """The table `codes` with published SIDs in place of codes.

    Attributes:
        codes: The table `codes`.
        pid2sid: The published SIDs; None if all of them are the codes, or none are published.
        moves: The table `sid_moves` of these SIDs; None if no item was moved.
        differing: Items whose SID is not their codes (count).
    """

    codes: Version
    pid2sid: Version | None = None
    moves: Version | None = None
    differing: int = 0

    @classmethod
    def of(cls, codes: Version, pid2sid: Version | None, moves: Version | None) -> Self:
        """Find out, in one pass, whether any SID is not its item's codes.

        Args:
            codes: The table `codes`.
            pid2sid: The SIDs that were published from these codes, if any were.
            moves: The table `sid_moves` of these SIDs, if there is one.

        Raises:
            StoreError: A part of a table is missing or damaged.
        """
        if pid2sid is None:
            return cls(codes)
        both = cls(codes, pid2sid).stream(["pid", "codes"], COMPARED_ROWS, quantised=True)
        differing = sum(
            int((codes_array(batch["codes"]) != codes_array(batch[QUANTISED])).any(axis=1).sum())
            for batch in both
        )
        return cls(codes, pid2sid, moves, differing) if differing else cls(codes)

    def stream(
        self,
        columns: Sequence[str] | None = None,
        batch_rows: int = COMPARED_ROWS,
        *,
        quantised: bool = False,
    ) -> pa.RecordBatchReader:
        """Batches of the table `codes`, whose `codes` are the published SIDs.

        The last residual norm of a moved item is that of its SID. An item without a SID keeps its
        codes.

        Args:
            columns: The columns; by default all. `codes` must be one of them.
            batch_rows: Rows of a batch.
            quantised: Whether to append the column `quantised`, the codes before resolving.

        Raises:
            StoreError: While reading: a part is missing or damaged.
        """
        reader = self.codes.stream(columns, batch_rows)
        schema = reader.schema.append(pa.field(QUANTISED, CODES)) if quantised else reader.schema
        batches: Iterator[pa.RecordBatch] = iter(reader)
        if self.pid2sid:
            batches = joined(batches, self.pid2sid.stream(["pid", "sid"], batch_rows), _SIDS)
        if self.moves:
            moved = self.moves.stream(["pid", "extra_error"], batch_rows)
            batches = joined(batches, moved, _MOVES)
        rows = (
            pa.record_batch(_published(batch, quantised).columns, schema=schema)
            for batch in batches
        )
        return pa.RecordBatchReader.from_batches(schema, rows)


def _published(batch: pa.RecordBatch, quantised: bool) -> pa.RecordBatch:
    """The batch with SIDs for codes, without the joined columns."""
    codes = batch["codes"]
    if "sid" in batch.schema.names:
        sids = batch["sid"]
        sids = pc.if_else(sids.is_valid(), sids, codes) if sids.null_count else sids
        place = batch.schema.get_field_index("codes")
        batch = batch.set_column(place, batch.schema.field("codes"), sids).drop_columns("sid")
    if "extra_error" in batch.schema.names:
        if "residual_norms" in batch.schema.names:
            batch = _with_extra_errors(batch)
        batch = batch.drop_columns("extra_error")
    return batch.append_column(QUANTISED, codes) if quantised else batch


def _with_extra_errors(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with the last residual norm of each moved item raised by its extra error."""
    extra = batch["extra_error"].fill_null(0).to_numpy()
    norms = np.array(vectors_of(batch["residual_norms"]))
    norms[:, -1] += extra * norms[:, 0]
    place = batch.schema.get_field_index("residual_norms")
    flat = pa.array(norms.reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, norms.shape[1]).cast(RESIDUAL_NORMS)
    return batch.set_column(place, batch.schema.field("residual_norms"), column)
