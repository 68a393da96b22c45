"""Popularity: how many users have interacted with each item, for the order in which SIDs are given.

Only interactions of split 0 count, each user and item once: test interactions must not decide who
gets which SID.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.duck import spilling_database
from sid_assets.core.inputs.ids import PidTypeSetting, convert_pids
from sid_assets.core.inputs.interactions import check_types
from sid_assets.core.inputs.parquet import SPLIT, ParquetInput
from sid_assets.core.quality.use import splits_of
from sid_assets.core.schema import PID_TYPES, PidType

USER = "uid"
BATCH_ROWS = 65_536


@contextmanager
def users_of_items(
    interactions: ParquetInput,
    lists: Sequence[str],
    pid_type: PidType,
    setting: PidTypeSetting = "auto",
) -> Iterator[pa.RecordBatchReader]:
    """Rows of `item_counts`; DuckDB counts, and spills to disk beyond its memory limit.

    Without a column `uid`, every row is a user; a row whose `uid` is null has none, and counts for
    nobody. Without `split`, all rows count.

    Args:
        interactions: Rows with lists of pids, `uid` and `split`.
        lists: The lists of ids of the catalog, as `id_lists` of `quality.use` gives them.
        pid_type: The type of the catalog's ids.
        setting: SID_PID_TYPE.

    Raises:
        InputError: The column `split` does not hold numbers, or a file is damaged.
    """
    check_types(interactions, [SPLIT])
    with spilling_database() as connection:
        connection.execute("SET preserve_insertion_order = false")
        met = _met(interactions, lists, pid_type, forced=setting != "auto")
        connection.register("met", met)
        rows = connection.sql(
            "SELECT pid, count(*) AS users FROM (SELECT DISTINCT pid, user FROM met) "
            "WHERE pid IS NOT NULL GROUP BY pid ORDER BY pid"
        )
        columns = schema.item_counts(pid_type)
        batches = (batch.cast(columns) for batch in rows.to_arrow_reader(BATCH_ROWS))
        yield pa.RecordBatchReader.from_batches(columns, batches)


def no_users(pid_type: PidType) -> pa.RecordBatchReader:
    """`item_counts` where there are no interactions."""
    return schema.item_counts(pid_type).empty_table().to_reader()


def _met(
    interactions: ParquetInput, lists: Sequence[str], pid_type: PidType, *, forced: bool
) -> pa.RecordBatchReader:
    """A row for each id in the lists of split 0: `pid`, null if it cannot be an id; and `user`."""
    columns = pa.schema([("pid", PID_TYPES[pid_type]), ("user", pa.string())])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in interactions.batches([*lists, SPLIT, USER]):
            users = _users(batch, start)
            start += batch.num_rows
            counts = pc.and_(pc.equal(splits_of(batch), 0), users.is_valid())
            batch, users = batch.filter(counts), users.filter(counts)
            for name in lists:
                if pa.types.is_null(batch[name].type):
                    continue
                pids = pc.list_flatten(batch[name])
                given = pc.invert(pids.is_null(nan_is_null=True))
                of_row = pc.list_parent_indices(batch[name])
                yield pa.record_batch(
                    [
                        convert_pids(pids.filter(given), pid_type, forced=forced),
                        users.take(of_row).filter(given),
                    ],
                    schema=columns,
                )

    return pa.RecordBatchReader.from_batches(columns, batches())


def _users(batch: pa.RecordBatch, start: int) -> pa.Array:
    """The user of each row, as text: its `uid`, or the number of the row without such a column.

    Null, or NaN where a gap made numbers of them, is no user.
    """
    if USER not in batch.schema.names:
        return pa.array(range(start, start + batch.num_rows)).cast(pa.string())
    uids = batch[USER]
    missing = uids.is_null(nan_is_null=True)
    return pc.if_else(missing, pa.scalar(None, pa.string()), uids.cast(pa.string()))
