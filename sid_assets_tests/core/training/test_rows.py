"""All training data sets: their rows are those of a plain program, row by row."""

import dataclasses
import json
import os
from collections.abc import Callable
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
from sid_assets import sample
from sid_assets.core.contracts.training_rows import check_rows
from sid_assets.core.errors import InputError
from sid_assets.core.events.log import EventLog
from sid_assets.core.events.make import make_interactions
from sid_assets.core.events.profiles import CHINESE, Profiles, with_profiles
from sid_assets.core.events.rules import Rules
from sid_assets.core.inputs.ids import PidColumn
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.sids.spelling import pack
from sid_assets.core.training.counts import RowCounts
from sid_assets.core.training.inputs import IdSpace, TrainingInputs
from sid_assets.core.training.prompts import Prompts
from sid_assets.core.training.rows import MAKERS, lacking, training_data_table, training_rows
from sid_assets.core.training_sets import DATA_SETS
from sid_assets_tests.core.training import generated
from sid_assets_tests.core.training.generated import wording
from sid_assets_tests.core.training.one_file import content, inputs_of, video_rows

PAGE = Path(__file__).parents[3] / "docs" / "training_data.md"
KINDS = ("int", "string")
SEEDS = st.integers(0, 2**32)


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
    "sft_label_cond_rec": lambda rows, items, goods: reference.sft_label_cond_rec(
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFERENCES)
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_the_rows_equal_those_of_the_reference(
    name: str, kind: str, folder: Path, one_wording: Prompts, seed: int
) -> None:
    rng = Random(seed)  # noqa: S311 - test data, no secret
    data_set = DATA_SETS[name]
    table = getattr(generated, data_set.made_of)(kind, data_set.reads(), rng)
    if name == "sft_label_cond_rec":  # The label is drawn: leave only one.
        table = generated.one_target_label(table, rng)
    items, item_sids = generated.catalog(kind, rng)
    goods, goods_sids = generated.catalog(kind, rng)
    path = folder / f"{name}.parquet"
    pq.write_table(table, path, row_group_size=5)

    source = ParquetInput(str(path))
    made = training_rows(name, TrainingInputs(items, source, source, goods, prompts=one_wording))
    expected = REFERENCES[name](pd.read_parquet(path), item_sids, goods_sids)
    rows = made.reader.read_all()

    assert content(rows) == expected
    assert made.counts.written == rows.num_rows
    assert made.counts.adds_up()
    both = (np.array([*sids.values()]).reshape(-1, 3) for sids in (item_sids, goods_sids))
    found = check_rows(rows.to_reader(7), data_set, *(np.unique(pack(codes)) for codes in both))
    assert not found.broken
    assert found.rows == rows.num_rows


def test_a_new_user_changes_no_other_row(folder: Path) -> None:
    """Identical rows have different uuids, and do not change when they move."""
    rows = video_rows([[0], [1], [0], [0]], [[1]] * 4, [7, 8, 7, 7])
    new = video_rows([[1, 1]], [[0]], [9])
    for name in ("video_rec", "sft_video_rec"):
        alone = training_rows(name, inputs_of(folder, rows, [0, 1])[0]).reader.read_all()
        more = pa.concat_tables([new, rows.slice(1), new, rows.slice(0, 1)])
        together = training_rows(name, inputs_of(folder, more, [0, 1])[0]).reader.read_all()
        assert len(set(together["uuid"].to_pylist())) == 6
        kept = [row for row in together.to_pylist() if '"uid": 9' not in row["metadata"]]
        assert sorted(kept, key=str) == sorted(alone.to_pylist(), key=str)


def test_the_seed_and_the_data_set_decide_what_is_drawn(folder: Path) -> None:
    rows = video_rows([[0]] * 60, [[1]] * 60)

    def made(name: str, seed: int) -> pa.Table:
        inputs, _ = inputs_of(folder, rows, [0, 1], seed=seed)
        return training_rows(name, inputs).reader.read_all()

    first, again, other = (made("sft_video_rec", seed) for seed in (0, 0, 1))
    assert first.equals(again)
    assert first["messages"] != other["messages"]
    assert not set(first["uuid"].to_pylist()) & set(other["uuid"].to_pylist())
    assert not set(first["uuid"].to_pylist()) & set(made("video_rec", 0)["uuid"].to_pylist())
    # All wordings are drawn; those of the system and of the user are independent.
    said = {
        tuple(m["content"][0]["text"] for m in json.loads(row)[:2])
        for row in first["messages"].to_pylist()
    }
    assert len(said) > 10
    assert len({system for system, _ in said}) == 4


def test_every_described_data_set_can_be_made() -> None:
    assert MAKERS.keys() == DATA_SETS.keys()


def test_the_table_of_the_documentation_has_a_line_for_each() -> None:
    _, _, *lines = training_data_table().splitlines()
    assert [line.split("`")[1] for line in lines] == [made.table for made in DATA_SETS.values()]
    assert "| captions: `pid`, `dense_caption` |" in training_data_table()
    assert "one of `hist_longview_video_list`, `hist_goods_pid`; `SID_GOODS_CATALOG` |" in (
        training_data_table()
    )


@pytest.mark.skipif(not PAGE.exists(), reason="outside the repository there is no documentation")
def test_the_documentation_shows_that_table() -> None:
    assert training_data_table() in PAGE.read_text("utf-8")


def test_missing_input_is_reported(folder: Path) -> None:
    inputs, path = inputs_of(folder, video_rows([[0]], [[0]]), [0])
    inputs = dataclasses.replace(inputs, goods=None, captions=None)
    lacks = {name: lacking(data_set, inputs) for name, data_set in DATA_SETS.items()}
    assert lacks["video_rec"] == lacks["sft_video_rec"] == []
    assert lacks["item_understand"] == ["SID_CAPTIONS is not set"]
    assert lacks["user_profile"] == [f"{path} has no column 'inter_user_profile_with_sid'"]
    assert "SID_GOODS_CATALOG is not set" in lacks["sft_product_rec"]
    assert len(lacks["sft_label_cond_rec"]) == 2
    assert "has none of the columns 'hist_longview_video_list', 'hist_ad_pid'" in str(
        lacks["sft_ad_rec"]
    )
    with pytest.raises(
        InputError, match=r"sft_ad_rec cannot be made: .* no column 'target_ad_pid'"
    ):
        training_rows("sft_ad_rec", inputs)


@pytest.mark.parametrize("name", ["video_rec", "sft_video_rec", "sft_label_pred", "sft_ad_rec"])
def test_histories_spell_removed_items_and_targets_never_do(folder: Path, name: str) -> None:
    rows = {
        **{"uid": [1, 2], "split": [0, 0]},
        **{"hist_video_pid": [[1, 9], [9]], "target_video_pid": [[2, 9], [2]]},
        **{"hist_video_like": [[1, 1], [1]], "target_video_longview": [[1, 1], [0]]},
        **{"hist_longview_video_list": [[9], [1]], "hist_ad_pid": [[9, 2], [9]]},
        "target_ad_pid": [[9, 1], [2]],
    }
    path = folder / "interactions.parquet"
    pq.write_table(pa.table(rows), path)
    ids = PidColumn("catalog", "pid", "int", 2)
    live = SidIndex(pa.array([1, 2]), np.array([[1, 1, 1], [2, 2, 2]]))
    gone = SidIndex(pa.array([9]), np.array([[9, 9, 9]]))

    def made(removed: SidIndex | None) -> tuple[pa.Table, RowCounts]:
        space = IdSpace(live, ids, removed=removed)
        made = training_rows(name, TrainingInputs(space, ParquetInput(str(path))))
        return made.reader.read_all(), made.counts

    table, counts = made(gone)
    spelled, answers = "", ""
    for body in map(json.loads, table.column(2).to_pylist()):
        texts = [part["content"][0]["text"] if "role" in part else part["text"] for part in body]
        spelled += "".join(texts)
        answers += texts[-1] if len(texts) > 1 else texts[0][texts[0].index("<s_a_2>") :][:60]
    assert "<s_a_9>" in spelled
    assert "<s_a_9>" not in answers
    histories = [count for column, count in counts.pids.items() if column.startswith("hist_")]
    assert sum(count.removed for count in histories) >= 2
    targets = [count for column, count in counts.pids.items() if column.startswith("target_")]
    assert sum(count.removed for count in targets) == 0
    without, _ = made(None)
    assert "<s_a_9>" not in "".join(without.column(2).to_pylist())
    everything = np.array([pack(np.array([[code] * 3]))[0] for code in (1, 2)])
    removed = pack(np.array([[9, 9, 9]]))
    data_set = DATA_SETS[name]
    assert not check_rows(table.to_reader(), data_set, everything, None, removed).broken
    assert check_rows(table.to_reader(), data_set, everything).broken


def test_the_real_catalog(folder: Path) -> None:
    data = os.environ.get("SID_TEST_DATA")
    if not data:
        pytest.skip("needs SID_TEST_DATA, the folder of the real catalogs")
    office = Path(data) / "amazon_office"
    pid2sid = pq.read_table(office / "known_sids.parquet")
    space = IdSpace(
        SidIndex.from_table(pid2sid), PidColumn("catalog", "pid", "int", pid2sid.num_rows)
    )
    interactions = str(office / "interactions.parquet")
    made = training_rows("video_rec", TrainingInputs(space, ParquetInput(interactions)))
    sids = dict(zip(pid2sid["pid"].to_pylist(), pid2sid["sid"].to_pylist(), strict=True))
    rows = made.reader.read_all()
    assert rows.num_rows == 4866
    assert content(rows) == reference.video_rec(pd.read_parquet(interactions), sids)


def sample_interactions(path: Path, index: SidIndex) -> ParquetInput:
    """The interactions that the graph makes of the sample's log."""
    path.mkdir()
    made = make_interactions(
        EventLog(str(sample.EVENTS)),
        Rules(),
        sample.EVENT_LABELS,
        pid_type="int",
        scratch_dir=path,
        known=pa.table({"pid": index.pids}).to_reader(),
    )
    keywords = pq.read_table(sample.CATALOG, columns=["pid", sample.EVENT_KEYWORDS]).drop_null()
    keywords = keywords.rename_columns(["pid", "keyword"])
    coded = keywords.set_column(1, "keyword", keywords["keyword"].dictionary_encode())
    rows = with_profiles(made.reader, Profiles(index, CHINESE, keywords=coded))
    pq.write_table(rows.read_all(), path / "interactions.parquet")
    return ParquetInput(str(path / "interactions.parquet"))


def test_the_sample_makes_eight_of_the_eleven(tmp_path: Path) -> None:
    pids = pq.read_table(sample.CATALOG, columns=["pid"])["pid"].combine_chunks()
    codes = np.random.default_rng(0).integers(0, 256, (len(pids), 3))
    index = SidIndex(pids, codes)
    inputs = TrainingInputs(
        IdSpace(index, PidColumn("catalog", "pid", "int", len(pids))),
        sample_interactions(tmp_path / "made", index),
        ParquetInput(str(sample.CAPTIONS)),
    )
    possible = {name for name, data_set in DATA_SETS.items() if not lacking(data_set, inputs)}
    assert possible == DATA_SETS.keys() - {"sft_product_rec", "sft_ad_rec", "sft_rec_reason"}
    for name in possible:
        made = training_rows(name, inputs)
        found = check_rows(made.reader, DATA_SETS[name], np.unique(pack(codes)))
        assert not found.broken
        assert found.rows == made.counts.written > 0
        assert made.counts.adds_up()
