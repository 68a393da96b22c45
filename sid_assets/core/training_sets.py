"""The training data sets of RecIF: what each of them is, what it is made of and what it needs.

Each is described here once. Its table, its asset, its checks, its lists of wordings and its line in
the documentation follow from that; how its rows are made is in `training/`. As in `schema`, which
reads this, nothing but Arrow is imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

Phase = Literal["pretrain", "sft"]
"""When a data set is read in training."""

TRAINING: dict[Phase, str] = {"pretrain": "pretraining", "sft": "fine-tuning"}
"""The training of each phase, in words."""

InputName = Literal["interactions", "captions"]
Columns = tuple[str, ...]

LABELS = ("longview", "like", "follow", "forward", "not_interested")
"""Kinds of interaction. For each there may be a mask of 0 and 1 beside a list of videos."""

PRETRAIN_ROWS = pa.schema(
    [(name, pa.string()) for name in ("source", "uuid", "segments", "metadata")]
)
"""A data set of pretraining: all columns are strings, two of them JSON."""

SFT_ROWS = pa.schema([(name, pa.string()) for name in ("source", "uuid", "messages", "metadata")])
"""A data set of fine-tuning: as those of pretraining, with `messages` for `segments`."""

ROWS: dict[Phase, pa.Schema] = {"pretrain": PRETRAIN_ROWS, "sft": SFT_ROWS}
"""The columns of the data sets of each phase."""


@dataclass(frozen=True)
class DataSet:
    """A training data set of RecIF.

    Attributes:
        name: Its name; the table and the asset are `<name>_dataset`.
        phase: Which training reads it.
        source: What its column `source` says.
        holds: What its rows are, in a sentence.
        needs: What it needs, in words.
        columns: Columns it cannot do without.
        made_of: Which input its rows come from.
        one_of: Groups of columns; it needs at least one column of each.
        optional: Columns it can do without.
        items: Its columns of ids of the catalog, as far as they are there.
        goods: Its columns of ids of goods.
        roles: Its texts: who speaks, or `text` of a segment.
        free_texts: Those of them that hold text of the input as it is (profiles, captions), which
            may spell anything.
        metadata: The names in its metadata.
        wordings: Its lists of wordings, and the slots of each.
        several_a_row: Whether a row of the input can become several rows: one for each keyword, or
            for each target.
        required: Whether interactions without its columns, or of which it has no row, are an error.
        rows_at_a_time: Rows of the input that are worked on together, at most; fewer where a row
            becomes any number of rows, whose texts have to fit into memory.
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
        """Its table, and its asset: `sft_ad_rec` -> `sft_ad_rec_dataset`."""
        return f"{self.name}_dataset"

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""
        return ROWS[self.phase]

    @property
    def description(self) -> str:
        """What it is, who reads it and what it needs, in words."""
        return f"{self.holds} Read in {TRAINING[self.phase]}; needs {self.needs}."

    def reads(self) -> list[str]:
        """All columns of the input that it can use."""
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
        holds="Histories of watched items followed by what was watched next, as SIDs.",
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
        holds="Profiles of users as they are.",
        needs="profiles",
        columns=("uid", "split", PROFILE),
        roles=("text",),
        free_texts=("text",),
    ),
    DataSet(
        name="item_understand",
        phase="pretrain",
        source="RecIF_ItemUnderstand_Pretrain",
        holds="SIDs beside captions of their items.",
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
        holds="Which items come next, given a history.",
        needs="histories and targets",
        columns=("uid", "split", *VIDEO_LISTS),
        items=VIDEO_LISTS,
        wordings={"system": (), "user": ("history",)},
    ),
    DataSet(
        name="sft_interactive_rec",
        phase="sft",
        source="RecIF_InteractiveRec",
        holds="Which items suit a user and a keyword.",
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
        holds="Which items a user will like, share, ... next.",
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
        holds="Whether a user will watch an item for long: yes or no.",
        needs="histories, targets and their label masks",
        columns=("uid", "split", *VIDEO_LISTS, "target_video_longview"),
        one_of=(HISTORY_MASKS,),
        items=VIDEO_LISTS,
        metadata=("uid", "label"),
        wordings={"system": (), "question": ("sid",)},
        several_a_row=True,
    ),
    DataSet(
        name="sft_ad_rec",
        phase="sft",
        source="RecIF_AdRec",
        holds="Which ads come next, given videos and ads.",
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
        holds="Which goods come next, given videos and goods.",
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
        needs="profiles, captions of targets, and reasoning; captions of the history help",
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
        holds="A caption, given a SID.",
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
"""By name, in the order in which they are made and their files listed."""
