"""How often each item is used: in the interactions of split 0, and as a target to evaluate.

DuckDB counts the ids and spills to disk beyond its memory limit; the counts are read from it sorted
by pid.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.duck import spilling_database
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import PidColumn, PidTypeSetting, agree, convert_pids
from sid_assets.core.inputs.interactions import TARGET_PREFIX, check_types
from sid_assets.core.inputs.parquet import SPLIT, ParquetInput
from sid_assets.core.schema import PID_TYPES, PidType

BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Use:
    """How often items are used.

    Attributes:
        split: The split whose targets are counted: 1, or 0 if split 1 has none.
        all_targets: Its targets, including those that are no items of the catalog (count).
        batches: Rows of `pid`, `trained` (occurrences in histories and targets of split 0) and
            `targets` (occurrences as a target of `split`), sorted by pid; int64 counts. Read it
            once.
    """

    split: int
    all_targets: int
    batches: Iterable[pa.RecordBatch]

    @property
    def warning(self) -> str:
        """What to know of the targets; "" if split 1 has some, or there are none at all."""
        if self.split == 1 or not self.all_targets:
            return ""
        return (
            "no targets in split 1, so the recall ceiling is measured on those of split 0, which "
            "are counted as popularity too."
        )


def id_lists(
    interactions: ParquetInput,
    columns: Sequence[str],
    catalog: PidColumn,
    setting: PidTypeSetting,
) -> list[str]:
    """The columns that are there, all of them lists of ids that can match the catalog's.

    Args:
        interactions: Rows with lists of pids.
        columns: The lists that hold pids of this catalog.
        catalog: How the catalog stores its ids.
        setting: SID_PID_TYPE.

    Raises:
        InputError: None of the columns exists, a column does not hold lists of ids, or one side
            stores its ids as text and the other as integers while the setting is `auto`.
    """
    lists = [name for name in columns if name in interactions.columns]
    if not lists:
        raise InputError(
            f"{interactions.path}: there is no column {' or '.join(map(repr, columns))}. The "
            f"columns are {', '.join(interactions.columns)}. Give the lists of pids one of the "
            "expected names."
        )
    check_types(interactions, lists)
    for name in lists:
        for other in interactions.pid_columns(name):
            agree(catalog, other, setting)
    return lists


@contextmanager
def counted_use(
    interactions: ParquetInput,
    lists: Sequence[str],
    pid_type: PidType,
    setting: PidTypeSetting = "auto",
) -> Iterator[Use]:
    """Count how often each item is used. All rows are of split 0 if there is no column `split`.

    Args:
        interactions: Rows with lists of pids, and `split`.
        lists: The lists of ids of the catalog, as `id_lists` gives them.
        pid_type: The type of the catalog's ids.
        setting: SID_PID_TYPE.

    Raises:
        InputError: The column `split` does not hold numbers, or only some files have it; or a file
            is damaged.
    """
    check_types(interactions, [SPLIT])
    if SPLIT in interactions.columns:
        interactions.require_in_all([SPLIT])
    with spilling_database() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.register("met", _met(interactions, lists, pid_type, setting != "auto"))
        connection.execute(
            "CREATE TABLE used AS SELECT pid, "
            "count(*) FILTER (split = 0) AS trained, "
            "count(*) FILTER (split = 0 AND target) AS of_0, "
            "count(*) FILTER (split = 1 AND target) AS of_1 "
            "FROM met GROUP BY pid"
        )
        [totals] = connection.execute("SELECT sum(of_0), sum(of_1) FROM used").fetchall()
        split = 1 if totals[1] else 0
        rows = connection.sql(
            "SELECT pid, trained, CASE WHEN $split = 1 THEN of_1 ELSE of_0 END AS targets "
            "FROM used WHERE pid IS NOT NULL AND trained + of_0 + of_1 > 0 ORDER BY pid",
            params={"split": split},
        )
        yield Use(split, int(totals[split] or 0), rows.to_arrow_reader(BATCH_ROWS))


def _met(
    interactions: ParquetInput, lists: Sequence[str], pid_type: PidType, forced: bool
) -> pa.RecordBatchReader:
    """A row for each id in the lists: `pid`, null if it cannot be an id of the catalog; `split`;
    and `target`, whether the list holds targets.
    """
    schema = pa.schema([("pid", PID_TYPES[pid_type]), ("split", pa.int8()), ("target", pa.bool_())])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in interactions.batches([*lists, SPLIT]):
            split = splits_of(batch)
            for name in lists:
                if pa.types.is_null(batch[name].type):
                    continue
                pids = pc.list_flatten(batch[name])
                given = pc.invert(pids.is_null(nan_is_null=True))
                columns = [
                    convert_pids(pids.filter(given), pid_type, forced=forced),
                    split.take(pc.list_parent_indices(batch[name])).filter(given),
                ]
                target = pa.repeat(name.startswith(TARGET_PREFIX), len(columns[0]))
                yield pa.record_batch([*columns, target], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def splits_of(batch: pa.RecordBatch) -> pa.Array:
    """The split of each row, int8; -1 for any other than 0 and 1."""
    if SPLIT not in batch.schema.names:
        return pa.array(np.zeros(batch.num_rows, np.int8))
    split = batch[SPLIT]
    if pa.types.is_boolean(split.type):
        split = split.cast(pa.int8())
    numbers = convert_pids(split, "int")
    known = pc.is_in(numbers, value_set=pa.array([0, 1]))
    return pc.if_else(known, numbers, -1).cast(pa.int8())
