"""Captions become rows if their item has a SID and they are not empty."""

import pyarrow as pa
import pyarrow.parquet as pq

from sid_assets.core.training.block import Block
from sid_assets.core.training.captions import Captions
from sid_assets_tests.core.training.one_file import inputs_of, sid


def test_captions_without_a_sid_or_a_text_are_counted(tmp_path):
    table = pa.table(
        {"pid": [1, 9, None, 0, 0, 1], "dense_caption": ["a", "b", "c", "", None, " "]}
    )
    inputs, path = inputs_of(tmp_path, table, [0, 1])
    assert inputs.captions
    (rows,) = pq.read_table(path).to_batches()
    block = Block(rows, inputs.captions)
    captions = Captions.of(block, inputs)
    assert captions.caption.to_pylist() == ["a", " "]
    assert captions.sid.to_pylist() == [sid(1), sid(1)]
    assert captions.metadata().to_pylist() == [f'{{"pid": 1, "sid": "{sid(1)}"}}'] * 2
    assert block.counts.candidates == 6
    assert block.counts.dropped == {
        "pid has no SID": 1,
        "pid is null": 1,
        "dense_caption is empty": 1,
        "dense_caption is null": 1,
    }
