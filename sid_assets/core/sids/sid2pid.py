"""The reverse index from a SID to its items: the table sid2pid, and the JSON that OneRec reads.

SIDs collide, so a SID has a list of items. The item with most interactions comes first: it is the
one to recommend when a model generates the SID.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow import json_text
from sid_assets.core.arrow.columns import codes_array, codes_column
from sid_assets.core.arrow.duck import spilling_database
from sid_assets.core.inputs.ids import PidTypeSetting, convert_pids
from sid_assets.core.inputs.parquet import ParquetInput, flat
from sid_assets.core.schema import PID_TYPES, PidType, pid_type_of, sid2pid
from sid_assets.core.sids.spelling import pack, sid_text, unpack

BATCH_ROWS = 65_536


def occurrences(
    interactions: ParquetInput,
    columns: Iterable[str],
    pid_type: PidType,
    setting: PidTypeSetting = "auto",
) -> Iterator[pa.Array]:
    """The pids in all rows of some columns, regardless of the split; missing columns have none."""
    wanted = [name for name in columns if name in interactions.columns]
    for batch in interactions.batches(wanted):
        for column in batch.columns:
            yield convert_pids(flat(column), pid_type, forced=setting != "auto").drop_null()


def reverse(
    pid2sid: pa.RecordBatchReader, interacted: Iterable[pa.Array] = ()
) -> pa.RecordBatchReader:
    """Make the table sid2pid. Beyond its memory limit, DuckDB sorts and joins on disk.

    Args:
        pid2sid: The table pid2sid.
        interacted: Pids of the interactions, in any order, as `occurrences` yields them.
    """
    pid_type = pid_type_of(pid2sid.schema)
    batches = _sid_rows(_sorted_rows(pid2sid, interacted, PID_TYPES[pid_type]), sid2pid(pid_type))
    return pa.RecordBatchReader.from_batches(sid2pid(pid_type), batches)


def _sorted_rows(
    pid2sid: pa.RecordBatchReader, interacted: Iterable[pa.Array], pid: pa.DataType
) -> Iterator[pa.RecordBatch]:
    """All items as `packed`, `pid` and `uses`, grouped by SID, the most used first."""
    used = pa.schema([pa.field("pid", pid)])
    batches = (pa.record_batch([pids], schema=used) for pids in interacted)
    with spilling_database() as connection:
        connection.register("items", _packed(pid2sid))
        connection.register("used", pa.RecordBatchReader.from_batches(used, batches))
        connection.execute(
            "CREATE TABLE uses AS SELECT pid, count(*) AS uses FROM used GROUP BY pid"
        )
        rows = connection.sql(
            "SELECT packed, pid, coalesce(uses, 0) AS uses FROM items LEFT JOIN uses USING (pid) "
            "ORDER BY packed, uses DESC, pid"
        )
        yield from rows.to_arrow_reader(BATCH_ROWS)


def _packed(pid2sid: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The table pid2sid as `pid` and `packed` (the SID as one integer)."""
    schema = pa.schema([pid2sid.schema.field("pid"), pa.field("packed", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in pid2sid:
            codes = codes_array(batch["sid"])
            yield pa.record_batch([batch["pid"], pa.array(pack(codes))], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _sid_rows(rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """One row for each SID; the last SID of a batch may continue in the next batch."""
    held: list[pa.RecordBatch] = []
    for batch in rows:
        table = pa.Table.from_batches([*held, batch])
        packed = table["packed"].to_numpy()
        going_on = int(np.searchsorted(packed, packed[-1]))
        yield _grouped(table.slice(0, going_on), schema)
        held = table.slice(going_on).to_batches()
    if held:
        yield _grouped(pa.Table.from_batches(held), schema)


def _grouped(rows: pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    packed, starts = np.unique(rows["packed"].to_numpy(), return_index=True)
    bounds = pa.array(np.append(starts, len(rows)), pa.int32())
    pids, uses = (rows[name].combine_chunks() for name in ("pid", "uses"))
    codes = unpack(packed)
    columns = [
        sid_text(codes),
        codes_column(codes),
        pa.ListArray.from_arrays(bounds, pids),
        pa.ListArray.from_arrays(bounds, uses),
    ]
    return pa.record_batch(columns, schema=schema)


def json_chunks(rows: Iterable[pa.RecordBatch], id_name: str = "pid") -> Iterator[bytes]:
    """The table sid2pid as the JSON object that OneRec's evaluation reads, in pieces.

    Each key is a packed SID (`spelling.pack`), each value a list of `{"pid": .., "count": ..,
    "count_after_downsample": ..}`. Nothing is downsampled, so both counts are equal.

    Args:
        rows: The table sid2pid.
        id_name: The key of a pid: OneRec's `sid2iid.json` uses `iid` for goods.
    """
    separator = b""
    yield b"{"
    for batch in rows:
        if not batch.num_rows:
            continue
        counts = batch["counts"].flatten().cast(pa.string())
        entries = json_text.concatenated(
            *(f'{{"{id_name}": ', json_text.of_ids(batch["pids"].flatten())),
            *(', "count": ', counts, ', "count_after_downsample": ', counts, "}"),
        )
        lengths = pc.list_value_length(batch["pids"]).to_numpy()
        bounds = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
        lists = pc.binary_join(pa.ListArray.from_arrays(bounds, entries), ", ")
        codes = codes_array(batch["codes"])
        items = json_text.concatenated(
            '"', pa.array(pack(codes)).cast(pa.string()), '": [', lists, "]"
        )
        one_list = pa.ListArray.from_arrays(pa.array([0, len(items)], pa.int32()), items)
        yield separator + pc.binary_join(one_list, ", ")[0].as_buffer().to_pybytes()
        separator = b", "
    yield b"}"
