"""The pretraining data sets: segments of plain text."""

import pyarrow as pa

from sid_assets.core.arrow.columns import only
from sid_assets.core.arrow.json_text import concatenated, escaped, json_object
from sid_assets.core.training.block import Block, Samples
from sid_assets.core.training.captions import Captions
from sid_assets.core.training.identity import Identifier
from sid_assets.core.training.inputs import TrainingInputs

HISTORY_LENGTH = 512
TARGET_LENGTH = 10


def video_rec(rows: Block, inputs: TrainingInputs, identifier: Identifier) -> Samples:
    """The SIDs of a history, directly followed by the SIDs of its targets."""
    history = rows.sids("hist_video_pid", inputs.items.histories, last=HISTORY_LENGTH)
    targets = rows.sids("target_video_pid", inputs.items, first=TARGET_LENGTH)
    kept = rows.keep_candidates(
        rows.has_id("uid")
        | rows.filled("hist_video_pid", history)
        | rows.filled("target_video_pid", targets)
    )
    uid, *content = only(kept, rows.id_json("uid"), history.content(), targets.content())
    texts = only(kept, history.text(), targets.text())
    return Samples(identifier.identify(uid, *content), segments(*texts), json_object(uid=uid))


def user_profile(rows: Block, inputs: TrainingInputs, identifier: Identifier) -> Samples:
    """The profile of a user, unchanged."""
    profile = rows.text("inter_user_profile_with_sid")
    kept = rows.keep_candidates(rows.has_id("uid") | rows.not_empty("inter_user_profile_with_sid"))
    uid, profile = only(kept, rows.id_json("uid"), profile)
    return Samples(
        identifier.identify(uid, profile), segments(escaped(profile)), json_object(uid=uid)
    )


def item_understand(rows: Block, inputs: TrainingInputs, identifier: Identifier) -> Samples:
    """A SID with the caption of its item."""
    captions = Captions.of(rows, inputs)
    ids = identifier.identify(captions.pid, captions.sid, captions.caption)
    text = inputs.prompts["item_understand.text"].fill(
        ids.keys, sid=captions.sid, caption=escaped(captions.caption)
    )
    return Samples(ids, segments(text), captions.metadata())


def segments(*texts: pa.StringArray) -> pa.StringArray:
    """The JSON of one segment of joined texts, which must already be escaped."""
    return concatenated('[{"type": "text", "text": "', *texts, '"}]')
