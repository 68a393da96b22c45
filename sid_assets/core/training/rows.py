"""Makes the rows of the data sets of `training_sets` from the user's input, block by block."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar, get_args

import pyarrow as pa

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.interactions import check_types
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.training import pretrain, sft
from sid_assets.core.training.block import Block, Samples
from sid_assets.core.training.counts import RowCounts
from sid_assets.core.training.identity import Identifier
from sid_assets.core.training.inputs import TrainingInputs
from sid_assets.core.training_sets import DATA_SETS, TRAINING, DataSet, InputName

WORKERS = 2
"""Threads that make rows while earlier rows are written; numpy and Arrow release the GIL."""

Task = TypeVar("Task")
Result = TypeVar("Result")

MAKERS: dict[str, Callable[[Block, TrainingInputs, Identifier], Samples]] = {
    "video_rec": pretrain.video_rec,
    "user_profile": pretrain.user_profile,
    "item_understand": pretrain.item_understand,
    "sft_video_rec": sft.video_rec,
    "sft_interactive_rec": sft.interactive_rec,
    "sft_label_cond_rec": sft.label_cond_rec,
    "sft_label_pred": sft.label_pred,
    "sft_ad_rec": sft.ad_rec,
    "sft_product_rec": sft.product_rec,
    "sft_rec_reason": sft.rec_reason,
    "sft_item_understand": sft.item_understand,
}
"""The function that makes samples from a block of rows, by data set."""


def lacking(data_set: DataSet, inputs: TrainingInputs) -> list[str]:
    """The missing inputs of a data set, in words; empty if nothing is missing."""
    source = inputs.of(data_set.made_of)
    if source is None:
        return [f"SID_{data_set.made_of.upper()} is not set"]
    lacks = [f"{source.path} has no column {name!r}" for name in source.missing(data_set.columns)]
    for group in data_set.one_of:
        if len(source.missing(group)) == len(group):
            lacks.append(f"{source.path} has none of the columns {', '.join(map(repr, group))}")
    if data_set.goods and inputs.goods is None:
        lacks.append("SID_GOODS_CATALOG is not set")
    return lacks


def column_warnings(data_sets: Iterable[DataSet], inputs: TrainingInputs) -> Iterator[str]:
    """A warning for each column of these data sets that only some files of an input have."""
    chosen = list(data_sets)
    for name in get_args(InputName):
        reads = [column for made in chosen if made.made_of == name for column in made.reads()]
        if source := inputs.of(name):
            yield from source.warnings(dict.fromkeys(reads))


@dataclass
class _Tally:
    """Counts that are updated while rows are read."""

    counts: RowCounts = field(default_factory=RowCounts)


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a training data set, which can be read once.

    Attributes:
        reader: The rows, with the schema of the data set, in the order of the input.
    """

    reader: pa.RecordBatchReader
    _tally: _Tally

    @property
    def counts(self) -> RowCounts:
        """What became of the rows of the input; complete once the reader is exhausted."""
        return self._tally.counts


def training_rows(name: str, inputs: TrainingInputs) -> TrainingRows:
    """Make a data set.

    Args:
        name: One of `DATA_SETS`.
        inputs: The input. Memory holds the SIDs of the catalog, 12 bytes per row for uuids, and a
            few blocks of rows.

    Raises:
        InputError: Input is missing (see `lacking`), a file lacks a column that all must have, a
            column has a wrong type, or ids are not stored as in the catalog. While the rows are
            read: a file is damaged, or an id is not of the type that SID_PID_TYPE sets.
    """
    data_set = DATA_SETS[name]
    source = checked_source(data_set, inputs)
    tally = _Tally()
    batches = _batches(data_set, inputs, source, tally)
    return TrainingRows(pa.RecordBatchReader.from_batches(data_set.schema, batches), tally)


def checked_source(data_set: DataSet, inputs: TrainingInputs) -> ParquetInput:
    """The input that the rows of a data set come from, after a look at its columns and its ids.

    Raises:
        InputError: As `training_rows`, before the rows are read.
    """
    source = inputs.of(data_set.made_of)
    lacks = lacking(data_set, inputs)
    if source is None or lacks:
        raise InputError(f"{data_set.name} cannot be made: {'; '.join(lacks)}.")
    if data_set.required or data_set.made_of == "captions":
        source.require_in_all(data_set.columns)
    check_types(source, data_set.reads())
    source.require_one_kind({*data_set.reads()} - {*data_set.items, *data_set.goods})
    inputs.items.check(source, data_set.items)
    if inputs.goods:
        inputs.goods.check(source, data_set.goods)
    return source


def _batches(
    data_set: DataSet, inputs: TrainingInputs, source: ParquetInput, tally: _Tally
) -> Iterator[pa.RecordBatch]:
    identifier = Identifier(data_set.name, inputs.seed)

    def make(batch: pa.RecordBatch) -> tuple[Samples, RowCounts]:
        block = Block(batch, source)
        return MAKERS[data_set.name](block, inputs, identifier), block.counts

    # Captions have no split: all of them are used for training.
    read = source.train_batches if data_set.made_of == "interactions" else source.batches
    blocks = _blocks(read(data_set.reads()), data_set.rows_at_a_time)
    for samples, counts in in_order(make, blocks):
        written = len(samples.ids.keys)
        tally.counts += counts + RowCounts(written=written)
        if written:
            name = pa.repeat(data_set.source, written)
            columns = [
                name,
                identifier.distinct_uuids(samples.ids),
                samples.body,
                samples.metadata,
            ]
            yield pa.record_batch(columns, schema=data_set.schema)


def _blocks(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The batches, cut into blocks of at most this many rows."""
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def in_order(work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    """The results of the tasks, in order; threads work on the next tasks meanwhile."""
    with ThreadPoolExecutor(WORKERS) as pool:
        pending: deque[Future[Result]] = deque()
        for task in tasks:
            pending.append(pool.submit(work, task))
            if len(pending) > WORKERS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def training_data_table() -> str:
    """The data sets as a markdown table, one line each: training phase, content, required input.

    The required columns are listed without `uid` and `split`.
    """
    lines = ["| asset | used in | what its rows are | needs |", "|---|---|---|---|"]
    for data_set in DATA_SETS.values():
        training, needed = TRAINING[data_set.phase], _needed(data_set)
        lines.append(f"| `{data_set.table}` | {training} | {data_set.holds} | {needed} |")
    return "\n".join(lines) + "\n"


def _needed(data_set: DataSet) -> str:
    columns, optional = _names(data_set.columns), _names(data_set.optional)
    return "; ".join(
        [
            f"captions: {columns}" if data_set.made_of == "captions" else columns,
            *(f"one of {_names(group)}" for group in data_set.one_of),
            *(["`SID_GOODS_CATALOG`"] if data_set.goods else []),
            *([f"optional: {optional}"] if optional else []),
        ]
    )


def _names(columns: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in columns if name not in ("uid", "split"))
