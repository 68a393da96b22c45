"""Captions of the items that have a SID."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sid_assets.core.arrow import json_text
from sid_assets.core.arrow.columns import only
from sid_assets.core.arrow.json_text import json_object, quoted
from sid_assets.core.training.block import Block
from sid_assets.core.training.inputs import TrainingInputs


@dataclass(frozen=True)
class Captions:
    """The captions that become rows.

    Attributes:
        pid: The pid as JSON, shape (n,).
        sid: The SID as text, shape (n,).
        caption: Shape (n,); not empty, but possibly blank.
    """

    pid: pa.StringArray
    sid: pa.StringArray
    caption: pa.StringArray

    @classmethod
    def of(cls, rows: Block, inputs: TrainingInputs) -> "Captions":
        """The captions of a block; the others are counted as dropped."""
        pids = inputs.items.converted(rows.rows["pid"], rows.source, "pid")
        one_each = np.arange(len(rows) + 1)
        sids = rows.sids_at(pids, one_each[:-1], one_each, "pid", inputs.items)
        kept = rows.keep_candidates(
            rows.not_null("pid")
            | {"pid has no SID": sids.filled()}
            | rows.not_empty("dense_caption")
        )
        columns = (json_text.of_ids(pids), sids.text(), rows.text("dense_caption"))
        return cls(*only(kept, *columns))

    def metadata(self) -> pa.StringArray:
        """The metadata of each row."""
        return json_object(pid=self.pid, sid=quoted(self.sid))
