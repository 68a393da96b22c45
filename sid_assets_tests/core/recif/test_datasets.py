import uuid
from collections.abc import Callable
from pathlib import Path

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

KINDS = ("int", "string")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recif")


@pytest.fixture(scope="module")
def one_wording(folder: Path) -> Prompts:
    """Prompts without a choice."""
    (folder / "prompts.yaml").write_text(generated.one_wording(), "utf-8")
    return load_prompts(folder / "prompts.yaml")


def say(name: str) -> str:
    """The one wording of each list."""
    slots = sorted(generated.SLOTS[name])
    return f'"{name}"\\: ' + "\n".join(f"<{{{slot}}}>" for slot in slots)


def nested(sid: str, caption: str) -> str:
    return say("item_understand.text").format(sid=sid, caption=caption)


REFERENCES: dict[str, Callable[..., list[reference.Row]]] = {
    "video_rec": lambda rows, items, goods: reference.video_rec(rows, items),
    "user_profile": lambda rows, items, goods: reference.user_profile(rows),
    "item_understand": lambda rows, items, goods: reference.item_understand(rows, items, nested),
    "sft_video_rec": lambda rows, items, goods: reference.sft_video_rec(rows, items, say),
    "sft_interactive_rec": lambda rows, items, goods: reference.sft_interactive_rec(
        rows, items, say
    ),
    "sft_label_pred": lambda rows, items, goods: reference.sft_label_pred(rows, items, say),
    "sft_ad_rec": lambda rows, items, goods: reference.sft_ad_rec(rows, items, say),
    "sft_product_rec": lambda rows, items, goods: reference.sft_product_rec(
        rows, items, goods, say
    ),
    "sft_item_understand": lambda rows, items, goods: reference.sft_item_understand(
        rows, items, say
    ),
    "sft_rec_reason": lambda rows, items, goods: reference.sft_rec_reason(rows, say),
}


def content(rows: pa.Table) -> list[tuple[str, ...]]:
    """The rows without their uuids."""
    columns = [rows.column(i).to_pylist() for i in (0, 2, 3)]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFERENCES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_rows_are_the_references(
    name: str, kind: str, folder: Path, one_wording: Prompts, data: st.DataObject
) -> None:
    data_set = DATA_SETS[name]
    table = data.draw(getattr(generated, data_set.made_of)(kind, data_set.reads()))
    known = data.draw(st.lists(st.integers(0, generated.UNIVERSE - 1), unique=True))
    items, item_sids = generated.catalog(kind, known, 1)
    goods, goods_sids = generated.catalog(kind, known[::2], 2)
    path = folder / f"{name}.parquet"
    pq.write_table(table, path, row_group_size=3)

    source = ParquetInput(str(path))
    inputs = TrainingInputs(items, source, source, goods, prompts=one_wording)
    made = training_rows(name, inputs)
    rows = made.reader.read_all()

    assert content(rows) == REFERENCES[name](pd.read_parquet(path), item_sids, goods_sids)
    assert made.counts.adds_up()
    ids = rows["uuid"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert all(str(uuid.UUID(i)) == i and uuid.UUID(i).version == 5 for i in ids)
