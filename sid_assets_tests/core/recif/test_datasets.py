import uuid
from collections.abc import Callable
from pathlib import Path
from random import Random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.recif.datasets import DATA_SETS, training_rows
from sid_assets.core.recif.inputs import ParquetInput, TrainingInputs
from sid_assets.core.recif.prompts import Prompts, load_prompts
from sid_assets_tests.core.recif import generated, reference
from sid_assets_tests.core.recif.generated import wording

KINDS = ("int", "string")
SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recif")


@pytest.fixture(scope="module")
def one_wording(folder: Path) -> Prompts:
    """Prompts without a choice."""
    (folder / "prompts.yaml").write_text(generated.one_wording(), "utf-8")
    return load_prompts(folder / "prompts.yaml")


def caption_text(sid: str, caption: str) -> str:
    return wording("item_understand.text").format(sid=sid, caption=caption)


REFERENCES: dict[str, Callable[..., list[reference.Row]]] = {
    "video_rec": lambda rows, items, goods: reference.video_rec(rows, items),
    "user_profile": lambda rows, items, goods: reference.user_profile(rows),
    "item_understand": lambda rows, items, goods: reference.item_understand(
        rows, items, caption_text
    ),
    "sft_video_rec": lambda rows, items, goods: reference.sft_video_rec(rows, items, wording),
    "sft_interactive_rec": lambda rows, items, goods: reference.sft_interactive_rec(
        rows, items, wording
    ),
    "sft_label_pred": lambda rows, items, goods: reference.sft_label_pred(rows, items, wording),
    "sft_ad_rec": lambda rows, items, goods: reference.sft_ad_rec(rows, items, wording),
    "sft_product_rec": lambda rows, items, goods: reference.sft_product_rec(
        rows, items, goods, wording
    ),
    "sft_item_understand": lambda rows, items, goods: reference.sft_item_understand(
        rows, items, wording
    ),
    "sft_rec_reason": lambda rows, items, goods: reference.sft_rec_reason(rows, wording),
}


def content(rows: pa.Table) -> list[reference.Row]:
    """The rows without their uuids."""
    columns = [rows.column(i).to_pylist() for i in (0, 2, 3)]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFERENCES)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_the_rows_are_the_references(
    name: str, kind: str, folder: Path, one_wording: Prompts, seed: int
) -> None:
    rng = Random(seed)  # noqa: S311 - test data, no secret
    data_set = DATA_SETS[name]
    table = getattr(generated, data_set.made_of)(kind, data_set.reads(), rng)
    items, item_sids = generated.catalog(kind, rng)
    goods, goods_sids = generated.catalog(kind, rng)
    path = folder / f"{name}.parquet"
    pq.write_table(table, path, row_group_size=5)

    source = ParquetInput(str(path))
    made = training_rows(name, TrainingInputs(items, source, source, goods, prompts=one_wording))
    rows = made.reader.read_all()

    assert content(rows) == REFERENCES[name](pd.read_parquet(path), item_sids, goods_sids)
    assert made.counts.adds_up()
    ids = rows["uuid"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert all(str(uuid.UUID(i)) == i and uuid.UUID(i).version == 5 for i in ids)
