"""Stable integers for string ids, because OneRec's own scripts call `int()` on every id."""

from collections.abc import Iterator

import pyarrow as pa

from sid_assets.core import schema
from sid_assets.core.arrow.duck import spilling_database
from sid_assets.core.errors import StoreError
from sid_assets.core.store.pid_ranges import DamageError, SortedParts
from sid_assets.core.store.versions import Version

BATCH_ROWS = 65_536
MEMORY_MB = 2000


def number_pids(pids: pa.RecordBatchReader, earlier: Version | None) -> pa.RecordBatchReader:
    """The rows of `pid_map`, sorted by pid: a number for every id, starting at 1.

    An id keeps its number permanently, even while its item is gone. New ids get the next numbers in
    the order of the ids. 0 is not used, because OneRec's evaluation reads it as "not found".

    Args:
        pids: The column `pid` of a table with string ids.
        earlier: The current version of `pid_map`. What is damaged in it is taken from the version
            before.

    Raises:
        StoreError: While reading: numbers are lost, because both versions are damaged or the
            earlier one does not have them.
    """

    def batches():
        with spilling_database(MEMORY_MB) as connection:
            connection.register("now", pids)
            known = pa.RecordBatchReader.from_batches(schema.PID_MAP, _known(earlier))
            connection.register("known", known)
            connection.execute("create table kept as select distinct * from known")
            [(count,)] = connection.execute("select count(*) from kept").fetchall()
            if earlier and count != earlier.rows:
                raise StoreError(
                    f"{earlier.paths[0]}: is damaged, and {earlier.rows - count:,} of its numbers "
                    "are lost. Restore it from a backup: they may be in use elsewhere."
                )
            rows = connection.sql(
                """
                with largest as (select coalesce(max(number), 0) as number from kept),
                fresh as (
                    select pid, row_number() over (order by pid) as place
                    from now where pid not in (select pid from kept)
                )
                select pid, number from kept
                union all
                select pid, largest.number + place from fresh, largest
                order by pid
                """
            )
            for batch in rows.to_arrow_reader(BATCH_ROWS):
                yield batch.cast(schema.PID_MAP)

    return pa.RecordBatchReader.from_batches(schema.PID_MAP, batches())


def _known(earlier: Version | None) -> Iterator[pa.RecordBatch]:
    """The numbers of a version; if it is damaged, followed by those of the version before."""
    damage: list[DamageError] = []
    columns = schema.PID_MAP.names
    if earlier:
        yield from SortedParts.of(earlier).all_rows(columns, damage.append)
    if earlier and damage and (before := earlier.previous()):
        yield from SortedParts.of(before).all_rows(columns, damage.append)
