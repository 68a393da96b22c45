"""The training data sets of RecIF: what each data set is, what it is made from and what it needs.

Each data set is described here once. Its table, asset, checks, lists of wordings and line in the
documentation derive from this description; `training/` makes its rows. Like `schema`, which imports
this module, it imports only Arrow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

Phase = Literal["pretrain", "sft"]
"""The training phase that uses a data set."""

TRAINING: dict[Phase, str] = {"pretrain": "pretraining", "sft": "fine-tuning"}
"""The name of each phase, for readers."""

InputName = Literal["interactions", "captions"]
Columns = tuple[str, ...]

HISTORY_PREFIX = "hist_"
"""How the names of columns with histories begin."""

LABELS = ("longview", "like", "follow", "forward", "not_interested")
"""Kinds of interaction. Each can have a mask of 0 and 1 beside a list of videos."""

PRETRAIN_ROWS = pa.schema(
    [(name, pa.string()) for name in ("source", "uuid", "segments", "metadata")]
)
"""The columns of a pretraining data set: all are strings, two of them JSON."""

SFT_ROWS = pa.schema([(name, pa.string()) for name in ("source", "uuid", "messages", "metadata")])
"""The columns of a fine-tuning data set: as in pretraining, but `messages` replaces `segments`."""

ROWS: dict[Phase, pa.Schema] = {"pretrain": PRETRAIN_ROWS, "sft": SFT_ROWS}
"""The columns of the data sets of each phase."""


@dataclass(frozen=True)
class DataSet:
    """A training data set of RecIF.

    Attributes:
        name: Name; the table and the asset are called `<name>_dataset`.
        phase: The training phase that uses it.
        source: The value of its column `source`.
        holds: The content of its rows, in a sentence.
        needs: The required input, in words.
        columns: Required columns.
        made_of: The input that its rows come from.
        one_of: Groups of columns; at least one column of each group is required.
        optional: Optional columns.
        items: Columns with ids of the catalog; some may be missing.
        goods: Columns with ids of goods.
        roles: The roles of its texts: who speaks, or `text` for a segment.
        free_texts: The roles whose texts contain input text unchanged (profiles, captions), which
            may spell anything.
        metadata: The names in its metadata.
        wordings: Its lists of wordings, and the slots of each list.
        several_a_row: Whether a row of the input can become several rows: one for each keyword, or
            for each target.
        required: Whether it is an error if the interactions lack its columns, or give it no row.
        rows_at_a_time: The most rows of the input that are processed together; fewer if a row can
            become any number of rows, because their texts must fit into memory.
    """

    name: str
    phase: Phase
    source: str
    holds: str
    needs: str
    columns: Columns
    made_of: InputName = "interactions"
    one_of: tuple[Columns, ...] = ()
    optional: Columns = ()
    items: Columns = ()
    goods: Columns = ()
    roles: Columns = ("system", "user", "assistant")
    free_texts: Columns = ()
    metadata: Columns = ("uid",)
    wordings: Mapping[str, Columns] = field(default_factory=dict)
    several_a_row: bool = False
    required: bool = False
    rows_at_a_time: int = 1024

    @property
    def table(self) -> str:
        """The name of the table and the asset: `sft_ad_rec` -> `sft_ad_rec_dataset`."""
        return f"{self.name}_dataset"

    @property
    def has_histories(self) -> bool:
        """Whether its texts spell histories of items, which may be gone."""
        columns = (*self.items, *self.goods)
        return any(column.startswith(HISTORY_PREFIX) for column in columns)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table."""
        return ROWS[self.phase]

    @property
    def description(self) -> str:
        """The content, the training phase and the required input, in words."""
        return f"{self.holds} Used in {TRAINING[self.phase]}; needs {self.needs}."

    def reads(self) -> list[str]:
        """All columns of the input that the data set can use."""
        groups = (name for group in self.one_of for name in group)
        return list(dict.fromkeys([*self.columns, *groups, *self.optional]))


VIDEO_LISTS = ("hist_video_pid", "target_video_pid")
HISTORY_MASKS = tuple(f"hist_video_{label}" for label in LABELS)
TARGET_MASKS = tuple(f"target_video_{label}" for label in LABELS)
PROFILE = "inter_user_profile_with_sid"

_PRETRAIN = (
    DataSet(
        name="video_rec",
        phase="pretrain",
        source="RecIF_VideoRec_Pretrain",
        holds="Histories of watched items, followed by the items watched next, as SIDs.",
        needs="histories and targets",
        columns=("uid", "split", *VIDEO_LISTS),
        items=VIDEO_LISTS,
        roles=("text",),
        required=True,
    ),
    DataSet(
        name="user_profile",
        phase="pretrain",
        source="RecIF_UserProfile_Pretrain",
        holds="User profiles, unchanged.",
        needs="profiles",
        columns=("uid", "split", PROFILE),
        roles=("text",),
        free_texts=("text",),
    ),
    DataSet(
        name="item_understand",
        phase="pretrain",
        source="RecIF_ItemUnderstand_Pretrain",
        holds="SIDs with the captions of their items.",
        needs="captions",
        made_of="captions",
        columns=("pid", "dense_caption"),
        items=("pid",),
        roles=("text",),
        free_texts=("text",),
        metadata=("pid", "sid"),
        wordings={"text": ("sid", "caption")},
    ),
)
_SFT = (
    DataSet(
        name="sft_video_rec",
        phase="sft",
        source="RecIF_VideoRec",
        holds="The next items, given a history.",
        needs="histories and targets",
        columns=("uid", "split", *VIDEO_LISTS),
        items=VIDEO_LISTS,
        wordings={"system": (), "user": ("history",)},
    ),
    DataSet(
        name="sft_interactive_rec",
        phase="sft",
        source="RecIF_InteractiveRec",
        holds="Items that suit a user and a keyword.",
        needs="profiles and keywords",
        columns=("uid", "split", PROFILE, "inter_keyword_to_items"),
        free_texts=("user",),
        metadata=("uid", "keyword"),
        wordings={"system": (), "user": ("profile", "keyword")},
        several_a_row=True,
        rows_at_a_time=128,
    ),
    DataSet(
        name="sft_label_cond_rec",
        phase="sft",
        source="RecIF_LabelCondRec",
        holds="The next items that a user will like, share and so on.",
        needs="histories, targets and their label masks",
        columns=("uid", "split", *VIDEO_LISTS),
        one_of=(HISTORY_MASKS, TARGET_MASKS),
        items=VIDEO_LISTS,
        metadata=("uid", "target_interaction"),
        wordings={"system": (), **{f"task_{label}": () for label in LABELS}},
    ),
    DataSet(
        name="sft_label_pred",
        phase="sft",
        source="RecIF_LabelPred",
        holds="Whether a user will watch an item for a long time: yes or no.",
        needs="histories, targets and their label masks",
        columns=("uid", "split", *VIDEO_LISTS, "target_video_longview"),
        one_of=(HISTORY_MASKS,),
        items=VIDEO_LISTS,
        metadata=("uid", "label"),
        wordings={"system": (), "question": ("sid",), "yes": (), "no": ()},
        several_a_row=True,
    ),
    DataSet(
        name="sft_ad_rec",
        phase="sft",
        source="RecIF_AdRec",
        holds="The next ads, given histories of videos and ads.",
        needs="ads",
        columns=("uid", "split", "target_ad_pid"),
        one_of=(("hist_longview_video_list", "hist_ad_pid"),),
        items=("hist_longview_video_list", "hist_ad_pid", "target_ad_pid"),
        wordings={"system": (), "task": ()},
    ),
    DataSet(
        name="sft_product_rec",
        phase="sft",
        source="RecIF_ProductRec",
        holds="The next goods, given histories of videos and goods.",
        needs="goods and their catalog",
        columns=("uid", "split", "target_goods_pid"),
        one_of=(("hist_longview_video_list", "hist_goods_pid"),),
        items=("hist_longview_video_list",),
        goods=("hist_goods_pid", "target_goods_pid"),
        wordings={"system": (), "task": ()},
    ),
    DataSet(
        name="sft_rec_reason",
        phase="sft",
        source="RecIF_RecoReason",
        holds="Why an item suits a user, step by step.",
        needs="profiles, captions of targets and reasoning; captions of the history are optional",
        columns=(PROFILE, "reco_target_caption", "reco_cot"),
        optional=("uid", "split", "target_pid", "reco_gsu_caption"),
        roles=("user", "assistant"),
        free_texts=("user", "assistant"),
        metadata=("uid", "target_pid"),
        wordings={
            "user": ("profile", "history", "target"),
            "user_without_history": ("profile", "target"),
        },
    ),
    DataSet(
        name="sft_item_understand",
        phase="sft",
        source="RecIF_ItemUnderstand",
        holds="The caption of an item, given its SID.",
        needs="captions",
        made_of="captions",
        columns=("pid", "dense_caption"),
        items=("pid",),
        free_texts=("assistant",),
        metadata=("pid", "sid"),
        wordings={"system": (), "user": ("sid",)},
    ),
)
DATA_SETS: dict[str, DataSet] = {made.name: made for made in (*_PRETRAIN, *_SFT)}
"""The data sets by name, in the order in which they are made and their files are listed."""
