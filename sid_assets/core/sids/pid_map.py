"""Stable integers for string ids: OneRec's own scripts force `int()` on every id."""

import pyarrow as pa

from sid_assets.core import schema
from sid_assets.core.arrow.duck import spilling_database
from sid_assets.core.store.versions import Version

BATCH_ROWS = 65_536
MEMORY_MB = 2000


def number_pids(pids: pa.RecordBatchReader, earlier: Version | None) -> pa.RecordBatchReader:
    """The rows of `pid_map`, sorted by pid: a number from 1 up for every id.

    An id keeps its number for good, also while its item is gone; new ids take the next numbers in
    their order. 0 is left out, since OneRec's evaluation takes it for "not found".

    Args:
        pids: The column `pid` of a table with string ids.
        earlier: The version of `pid_map` before.
    """
    known = earlier.stream(batch_rows=BATCH_ROWS) if earlier else schema.PID_MAP.empty_table()

    def batches():
        with spilling_database(MEMORY_MB) as connection:
            connection.register("now", pids)
            connection.register("known", known)
            connection.execute("create table kept as select * from known")
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
