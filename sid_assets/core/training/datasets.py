"""The data sets by name: what each needs, and how its rows are made, a stretch at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import pyarrow as pa

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.interactions import check_types
from sid_assets.core.schema import PRETRAIN_ROWS, SFT_ROWS
from sid_assets.core.training import pretrain, sft
from sid_assets.core.training.block import Draft, Stretch
from sid_assets.core.training.inputs import (
    ROWS_AT_A_TIME,
    InputName,
    ParquetInput,
    TrainingInputs,
)
from sid_assets.core.training.prompts import LABELS
from sid_assets.core.training.rows import Counts, Identifier

Stage = Literal["pretrain", "sft"]
Columns = tuple[str, ...]

WORKERS = 2
"""Threads that make rows while the rows before are written; numpy and Arrow let go of the GIL."""

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class DataSet:
    """A training data set of RecIF.

    Attributes:
        name: Its name here: the asset is `<name>_dataset`.
        stage: Which training reads it.
        source: What its column `source` says.
        columns: Columns it cannot do without.
        draft: Makes the rows of a stretch.
        made_of: Which input its rows come from.
        one_of: Groups of columns of each of which it needs at least one.
        optional: Columns it can do without.
        roles: Its texts: who speaks, or `text` of a segment.
        free_texts: Those of them that hold text of the input as it is (profiles, captions), which
            may spell anything.
        metadata: The names in its metadata.
        items: Its columns of ids of the catalog, as far as they are there.
        goods: Its columns of ids of goods.
        rows_at_a_time: Rows of the input that are worked on together, at most; fewer where a row
            becomes any number of rows, whose texts have to fit into memory.
    """

    name: str
    stage: Stage
    source: str
    columns: Columns
    draft: Callable[[Stretch, TrainingInputs, Identifier], Draft]
    made_of: InputName = "interactions"
    one_of: tuple[Columns, ...] = ()
    optional: Columns = ()
    roles: Columns = ("system", "user", "assistant")
    free_texts: Columns = ()
    metadata: Columns = ("uid",)
    items: Columns = ()
    goods: Columns = ()
    rows_at_a_time: int = ROWS_AT_A_TIME

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""
        return PRETRAIN_ROWS if self.stage == "pretrain" else SFT_ROWS

    def reads(self) -> list[str]:
        """All columns it can use."""
        groups = (name for group in self.one_of for name in group)
        return list(dict.fromkeys([*self.columns, *groups, *self.optional]))


VIDEO_LISTS = ("hist_video_pid", "target_video_pid")
HISTORY_MASKS = tuple(f"hist_video_{label}" for label in LABELS)
TARGET_MASKS = tuple(f"target_video_{label}" for label in LABELS)
PROFILE = "inter_user_profile_with_sid"

_INTERACTIONS = (
    DataSet(
        name="video_rec",
        stage="pretrain",
        source="RecIF_VideoRec_Pretrain",
        columns=("uid", "split", *VIDEO_LISTS),
        items=VIDEO_LISTS,
        roles=("text",),
        draft=pretrain.video_rec,
    ),
    DataSet(
        name="user_profile",
        stage="pretrain",
        source="RecIF_UserProfile_Pretrain",
        columns=("uid", "split", PROFILE),
        roles=("text",),
        free_texts=("text",),
        draft=pretrain.user_profile,
    ),
    DataSet(
        name="sft_video_rec",
        stage="sft",
        source="RecIF_VideoRec",
        columns=("uid", "split", *VIDEO_LISTS),
        items=VIDEO_LISTS,
        draft=sft.video_rec,
    ),
    DataSet(
        name="sft_interactive_rec",
        stage="sft",
        source="RecIF_InteractiveRec",
        columns=("uid", "split", PROFILE, "inter_keyword_to_items"),
        free_texts=("user",),
        metadata=("uid", "keyword"),
        rows_at_a_time=ROWS_AT_A_TIME // 8,
        draft=sft.interactive_rec,
    ),
    DataSet(
        name="sft_label_cond_rec",
        stage="sft",
        source="RecIF_LabelCondRec",
        columns=("uid", "split", *VIDEO_LISTS),
        one_of=(HISTORY_MASKS, TARGET_MASKS),
        items=VIDEO_LISTS,
        metadata=("uid", "target_interaction"),
        draft=sft.label_cond_rec,
    ),
    DataSet(
        name="sft_label_pred",
        stage="sft",
        source="RecIF_LabelPred",
        columns=("uid", "split", *VIDEO_LISTS, "target_video_longview"),
        one_of=(HISTORY_MASKS,),
        items=VIDEO_LISTS,
        metadata=("uid", "label"),
        draft=sft.label_pred,
    ),
    DataSet(
        name="sft_ad_rec",
        stage="sft",
        source="RecIF_AdRec",
        columns=("uid", "split", "target_ad_pid"),
        one_of=(("hist_longview_video_list", "hist_ad_pid"),),
        items=("hist_longview_video_list", "hist_ad_pid", "target_ad_pid"),
        draft=sft.ad_rec,
    ),
    DataSet(
        name="sft_product_rec",
        stage="sft",
        source="RecIF_ProductRec",
        columns=("uid", "split", "target_goods_pid"),
        one_of=(("hist_longview_video_list", "hist_goods_pid"),),
        items=("hist_longview_video_list",),
        goods=("hist_goods_pid", "target_goods_pid"),
        draft=sft.product_rec,
    ),
    DataSet(
        name="sft_rec_reason",
        stage="sft",
        source="RecIF_RecoReason",
        columns=(PROFILE, "reco_target_caption", "reco_cot"),
        optional=("uid", "split", "target_pid", "reco_gsu_caption"),
        roles=("user", "assistant"),
        free_texts=("user", "assistant"),
        metadata=("uid", "target_pid"),
        draft=sft.rec_reason,
    ),
)
_CAPTIONS = (
    DataSet(
        name="item_understand",
        stage="pretrain",
        source="RecIF_ItemUnderstand_Pretrain",
        made_of="captions",
        columns=("pid", "dense_caption"),
        items=("pid",),
        roles=("text",),
        free_texts=("text",),
        metadata=("pid", "sid"),
        draft=pretrain.item_understand,
    ),
    DataSet(
        name="sft_item_understand",
        stage="sft",
        source="RecIF_ItemUnderstand",
        made_of="captions",
        columns=("pid", "dense_caption"),
        items=("pid",),
        free_texts=("assistant",),
        metadata=("pid", "sid"),
        draft=sft.item_understand,
    ),
)
DATA_SETS: dict[str, DataSet] = {made.name: made for made in (*_INTERACTIONS, *_CAPTIONS)}


def lacking(data_set: DataSet, inputs: TrainingInputs) -> list[str]:
    """What a data set needs and the user does not have, in words; empty if nothing."""
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


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a training data set, to be read once.

    Attributes:
        reader: The rows, of the data set's schema, in the order of the input.
        counts: What became of the rows of the input; complete once the reader is used up.
    """

    reader: pa.RecordBatchReader
    counts: Counts


def training_rows(name: str, inputs: TrainingInputs) -> TrainingRows:
    """Make a data set.

    Args:
        name: One of `DATA_SETS`.
        inputs: What it is made of. Memory holds the SIDs of the catalog, 12 bytes a row for
            uuids, and a few stretches of rows.

    Raises:
        InputError: Something is `lacking`, a column holds what it must not, or ids are not stored
            as the catalog stores them. While the rows are read: a file is damaged, or an id
            cannot be what SID_PID_TYPE says.
    """
    data_set = DATA_SETS[name]
    source = inputs.of(data_set.made_of)
    lacks = lacking(data_set, inputs)
    if source is None or lacks:
        raise InputError(f"{name} cannot be made: {'; '.join(lacks)}.")
    check_types(source, data_set.reads())
    inputs.items.check(source, data_set.items)
    if inputs.goods:
        inputs.goods.check(source, data_set.goods)
    counts = Counts()
    batches = _batches(data_set, inputs, source, counts)
    return TrainingRows(pa.RecordBatchReader.from_batches(data_set.schema, batches), counts)


def _batches(
    data_set: DataSet, inputs: TrainingInputs, source: ParquetInput, counts: Counts
) -> Iterator[pa.RecordBatch]:
    identifier = Identifier(data_set.name, inputs.seed)

    def draft(batch: pa.RecordBatch) -> tuple[Draft, Counts]:
        rows = Stretch(batch, source)
        return data_set.draft(rows, inputs, identifier), rows.counts

    # Captions have no split: all of them are trained on.
    read = source.train_batches if data_set.made_of == "interactions" else source.batches
    stretches = _stretches(read(data_set.reads()), data_set.rows_at_a_time)
    for made, made_counts in in_order(draft, stretches):
        written = len(made.ids.keys)
        counts.add(made_counts)
        counts.written += written
        if written:
            name = pa.repeat(data_set.source, written)
            columns = [name, identifier.distinct_uuids(made.ids), made.body, made.metadata]
            yield pa.record_batch(columns, schema=data_set.schema)


def _stretches(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Batches cut into stretches of so many rows at most."""
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def in_order(work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    """The result of each task, in their order; threads work on the next ones meanwhile."""
    with ThreadPoolExecutor(WORKERS) as pool:
        pending: deque[Future[Result]] = deque()
        for task in tasks:
            pending.append(pool.submit(work, task))
            if len(pending) > WORKERS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
