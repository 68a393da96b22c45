"""The fine-tuning data sets: labels that are drawn, and reasons without captions."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import training_data_reference as reference
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.training import sft
from sid_assets.core.training.identity import draw
from sid_assets.core.training.inputs import TrainingInputs
from sid_assets.core.training.prompts import Prompts
from sid_assets.core.training.rows import training_rows
from sid_assets.core.training_sets import DATA_SETS
from sid_assets_tests.core.training import generated
from sid_assets_tests.core.training.generated import wording
from sid_assets_tests.core.training.one_file import content, inputs_of

SEEDS = st.integers(0, 2**32)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_label_cond_rec_with_several_labels(folder: Path, one_wording: Prompts, seed: int) -> None:
    """The reference is told which of the labels of each row was drawn."""
    rng = Random(seed)  # noqa: S311 - test data, no secret
    table = generated.interactions("int", DATA_SETS["sft_label_cond_rec"].reads(), rng)
    items, item_sids = generated.catalog("int", rng)
    path = folder / "label_cond_rec.parquet"
    pq.write_table(table, path)
    drawn: list[int] = []

    def recorded(keys: np.ndarray, what: str, choices: np.ndarray) -> np.ndarray:
        drawn.extend(found := draw(keys, what, choices))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sft, "draw", recorded)
        inputs = TrainingInputs(items, ParquetInput(str(path)), prompts=one_wording)
        made = training_rows("sft_label_cond_rec", inputs)
        rows = content(made.reader.read_all())

    frame = pd.read_parquet(path)
    frame = frame[frame["split"] == 0]
    expected: list[reference.Row] = []
    for row, number in zip(range(len(frame)), drawn, strict=True):
        expected += reference.sft_label_cond_rec(
            frame[row : row + 1], item_sids, wording, lambda labels, number=number: labels[number]
        )
    assert rows == expected
    assert made.counts.adds_up()


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_label_cond_rec_with_one_label_to_draw_is_the_reference(
    folder: Path, one_wording: Prompts, seed: int
) -> None:
    rng = Random(seed)  # noqa: S311 - test data, no secret
    table = generated.interactions("int", DATA_SETS["sft_label_cond_rec"].reads(), rng)
    only = [rng.choice(reference.LABELS) for _ in range(generated.ROWS)]
    for label in reference.LABELS:
        name = next(n for n in table.column_names if n.startswith("target_") and n.endswith(label))
        masks = table[name].to_pylist()
        for row, mask in enumerate(masks):
            if mask is not None and only[row] != label:
                masks[row] = [type(value)(0) if value is not None else None for value in mask]
        column = pa.array(masks, table.schema.field(name).type)
        table = table.set_column(table.column_names.index(name), name, column)
    items, item_sids = generated.catalog("int", rng)
    path = folder / "one_label.parquet"
    pq.write_table(table, path)
    inputs = TrainingInputs(items, ParquetInput(str(path)), prompts=one_wording)
    made = training_rows("sft_label_cond_rec", inputs)
    expected = reference.sft_label_cond_rec(
        pd.read_parquet(path), item_sids, wording, lambda labels: labels[0]
    )
    assert content(made.reader.read_all()) == expected
    assert made.counts.adds_up()


def test_without_captions_of_watched_videos_their_section_is_omitted(folder: Path) -> None:
    table = pa.table(
        {
            "inter_user_profile_with_sid": ["a profile"] * 4,
            "reco_gsu_caption": [None, " ", "watched", None],
            "reco_target_caption": ["next"] * 4,
            "reco_cot": ["because", "because", "because", "\u3000"],
            "target_pid": pa.array([5, None, 6, 7]),
        }
    )
    inputs, _ = inputs_of(folder, table, [5])
    made = training_rows("sft_rec_reason", inputs)
    rows = made.reader.read_all()
    users = [json.loads(row)[0]["content"][0]["text"] for row in rows["messages"].to_pylist()]
    assert ["watched" in text for text in users] == [False, False, True]
    assert not any("None" in text or "nan" in text or "{" in text for text in users)
    assert rows["metadata"].to_pylist() == [
        '{"uid": null, "target_pid": 5}',
        '{"uid": null, "target_pid": null}',
        '{"uid": null, "target_pid": 6}',
    ]
    assert made.counts.dropped == {"reco_cot is empty or blank": 1}
