"""Pairs of an item and the next one in a history, where both are in the sample.

DuckDB removes the repetitions and spills to disk beyond its memory limit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.duck import spilling_database
from sid_assets.core.inputs.ids import PidTypeSetting, convert_pids
from sid_assets.core.inputs.interactions import check_types
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.quality.use import splits_of
from sid_assets.core.schema import PidType
from sid_assets.core.training_sets import HISTORY_PREFIX

_ROWS = pa.schema([("user", pa.string()), ("item", pa.int32()), ("next", pa.int32())])


@dataclass(frozen=True, eq=False)
class NextItems:
    """Pairs of items that follow each other in histories.

    Attributes:
        items: int64 (p,): positions of the items in the sample.
        nexts: int64 (p,): positions of the next items; never those of the items themselves.
        users: int64 (p,): users with this pair.
    """

    items: np.ndarray
    nexts: np.ndarray
    users: np.ndarray


def next_items(
    interactions: ParquetInput,
    lists: Sequence[str],
    pids: pa.Array,
    pid_type: PidType,
    setting: PidTypeSetting = "auto",
) -> NextItems:
    """Find the pairs of neighbouring items in the histories of split 0.

    Each user and pair counts once, however often it occurs. Rows without a user each have one of
    their own; all rows are of split 0 if there is no column `split`.

    Args:
        interactions: Rows with histories, `uid` and `split`.
        lists: The lists of ids of the catalog, as `use.id_lists` gives them; those that are no
            histories are left out.
        pids: The ids of the sample.
        pid_type: The type of the catalog's ids.
        setting: SID_PID_TYPE.

    Raises:
        InputError: A column does not hold what it must, or a file is damaged.
    """
    histories = [name for name in lists if name.startswith(HISTORY_PREFIX)]
    check_types(interactions, ["split", "uid"])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in interactions.batches([*histories, "split", "uid"]):
            users = _users(batch, start)
            start += batch.num_rows
            of_split_0 = pc.equal(splits_of(batch), 0)
            for name in histories:
                if pa.types.is_null(batch[name].type):
                    continue
                history = batch[name].filter(of_split_0)
                yield _pairs(history, users.filter(of_split_0), pids, pid_type, setting != "auto")

    with spilling_database() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.register("met", pa.RecordBatchReader.from_batches(_ROWS, batches()))
        found = connection.execute(
            "SELECT item, next, count(*) AS users "
            'FROM (SELECT DISTINCT "user", item, next FROM met) '
            "GROUP BY item, next ORDER BY item, next"
        ).fetchnumpy()
    return NextItems(*(np.asarray(found[name], np.int64) for name in ("item", "next", "users")))


def _users(batch: pa.RecordBatch, start: int) -> pa.Array:
    """The user of each row, as text; a row without one has a user of its own."""
    users = pa.nulls(batch.num_rows, pa.string())
    if "uid" in batch.schema.names and not pa.types.is_null(batch["uid"].type):
        users = pc.binary_join_element_wise("user ", convert_pids(batch["uid"], "string"), "")
    if not users.null_count:
        return users
    return pc.coalesce(users, pa.array(f"row {start + row}" for row in range(batch.num_rows)))


def _pairs(
    histories: pa.Array, users: pa.Array, pids: pa.Array, pid_type: PidType, forced: bool
) -> pa.RecordBatch:
    """The pairs of neighbours in lists of ids; ids outside of the sample separate, too."""
    given = convert_pids(pc.list_flatten(histories), pid_type, forced=forced)
    rows = pc.list_parent_indices(histories).to_numpy()
    places = pc.fill_null(pc.index_in(given, value_set=pids), -1).to_numpy()
    items, following = places[:-1], places[1:]
    kept = (rows[:-1] == rows[1:]) & (items >= 0) & (following >= 0) & (items != following)
    columns = [
        users.take(pa.array(rows[:-1][kept])),
        pa.array(items[kept], pa.int32()),
        pa.array(following[kept], pa.int32()),
    ]
    return pa.record_batch(columns, schema=_ROWS)
