import dataclasses
import json
import os
import resource
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import training_data_reference as reference
from sid_assets.core.contracts.training_rows import check_rows
from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import PidColumn
from sid_assets.core.inputs.parquet import ParquetInput
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.sids.spelling import pack
from sid_assets.core.training import sft
from sid_assets.core.training.identity import draw
from sid_assets.core.training.inputs import IdSpace, TrainingInputs
from sid_assets.core.training.prompts import Prompts, load_prompts
from sid_assets.core.training.rows import MAKERS, lacking, training_data_table, training_rows
from sid_assets.core.training_sets import DATA_SETS
from sid_assets_tests.core.training import generated
from sid_assets_tests.core.training.generated import wording

PAGE = Path(__file__).parents[3] / "docs" / "training_data.md"
KINDS = ("int", "string")
SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recif")


@pytest.fixture(scope="module")
def one_wording(folder: Path) -> Prompts:
    """Prompts with one wording in each list."""
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


def content(rows: pa.Table) -> list[reference.Row]:
    """The rows without their uuids."""
    columns = [rows.column(i).to_pylist() for i in (0, 2, 3)]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFERENCES)
@settings(max_examples=25, deadline=None)
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


def inputs_of(
    folder: Path, table: pa.Table, pids: list[Any], **options: Any
) -> tuple[TrainingInputs, Path]:
    """Inputs of one file, and a catalog in which the pid i has the codes (i, 0, 0)."""
    path = folder / "rows.parquet"
    pq.write_table(table, path)
    codes = np.array([[i, 0, 0] for i in range(len(pids))]).reshape(-1, 3)
    column = pa.array(pids)
    stored = "int" if column.type == pa.int64() else "text"
    catalog = PidColumn("catalog.parquet", "pid", stored, len(pids), tuple(pids[:5]))
    source = ParquetInput(str(path))
    space = IdSpace(SidIndex(column, codes), catalog, options.pop("setting", "auto"))
    return TrainingInputs(space, source, source, space, **options), path


def sid(code: int) -> str:
    return f"<|sid_begin|><s_a_{code}><s_b_0><s_c_0><|sid_end|>"


def video_rows(history: list[Any], targets: list[Any], uid: list[Any] | None = None) -> pa.Table:
    rows = len(history)
    return pa.table(
        {
            "uid": pa.array(uid or list(range(rows))),
            "split": [0] * rows,
            "hist_video_pid": history,
            "target_video_pid": targets,
        }
    )


def test_lists_are_cut_before_pids_without_a_sid_are_dropped(folder: Path) -> None:
    table = video_rows([[1] + [9] * 512, [1] * 600], [[1], [9] * 10 + [0]])
    table = pa.concat_tables([table, video_rows([[9] * 99 + [1] * 511 + [0]], [[0] * 10 + [1]])])
    inputs, _ = inputs_of(folder, table, [0, 1])
    made = training_rows("video_rec", inputs)
    rows = made.reader.read_all()
    text = json.loads(rows["segments"][0].as_py())[0]["text"]
    assert text == sid(1) * 511 + sid(0) + sid(0) * 10
    assert made.counts.dropped == {
        "no pid of hist_video_pid has a SID": 1,
        "no pid of target_video_pid has a SID": 1,
    }
    assert made.counts.pids["target_video_pid"].share == 11 / 21


def test_why_rows_are_dropped(folder: Path) -> None:
    table = video_rows([[0], None, [0], [], [0]], [[0], [0], None, [0], []], [None, 1, 2, 3, 4])
    inputs, _ = inputs_of(folder, table, [0])
    made = training_rows("video_rec", inputs)
    rows = made.reader.read_all()
    assert rows.schema.equals(DATA_SETS["video_rec"].schema)
    assert rows.num_rows == 0
    assert made.counts.rows == made.counts.candidates == 5
    assert made.counts.dropped == {
        "uid is null or no id": 1,
        "hist_video_pid is null": 1,
        "target_video_pid is null": 1,
        "no pid of hist_video_pid has a SID": 1,
        "no pid of target_video_pid has a SID": 1,
    }


@pytest.mark.parametrize("name", ["video_rec", "sft_video_rec"])
def test_uids_that_are_not_ids(name: str, folder: Path) -> None:
    table = video_rows([[0]] * 5, [[0]] * 5, [1.0, float("nan"), 1.5, None, 2.0])
    inputs, _ = inputs_of(folder, table, [0])
    made = training_rows(name, inputs)
    assert made.reader.read_all()["metadata"].to_pylist() == ['{"uid": 1}', '{"uid": 2}']
    assert made.counts.dropped == {"uid is null or no id": 3}


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


KEYWORD_LISTS = [
    [("猫", [1, None, 2]), ("", [1]), ("none", None)],
    None,
    [("dog", [3]), ("9", [9])],
    [],
]


@pytest.mark.parametrize(
    ("column", "lost"),
    [
        (pa.array(KEYWORD_LISTS, pa.map_(pa.string(), pa.list_(pa.int64()))), 3),
        (
            pa.array(
                [None if row is None else dict(row) for row in KEYWORD_LISTS],
                pa.struct([(name, pa.list_(pa.int64())) for name in ("猫", "", "dog", "9")]),
            ),
            2,
        ),
        (pa.array([None if row is None else json.dumps(dict(row)) for row in KEYWORD_LISTS]), 3),
    ],
    ids=["map", "struct", "json"],
)
def test_keywords_as_map_struct_or_json(folder: Path, column: pa.Array, lost: int) -> None:
    table = pa.table(
        {
            "uid": [1, 2, 3, 4],
            "split": [0] * 4,
            "inter_user_profile_with_sid": ["p"] * 4,
            "inter_keyword_to_items": column,
        }
    )
    inputs, _ = inputs_of(folder, table, [0, 1, 2, 3])
    made = training_rows("sft_interactive_rec", inputs)
    rows = made.reader.read_all().to_pylist()
    answers = [json.loads(row["messages"])[2]["content"][0]["text"] for row in rows]
    assert [
        (json.loads(row["metadata"]), answer) for row, answer in zip(rows, answers, strict=True)
    ] == [
        ({"uid": 1, "keyword": "猫"}, sid(1) + sid(2)),
        ({"uid": 3, "keyword": "dog"}, sid(3)),
    ]
    assert made.counts.dropped.total() == lost
    assert made.counts.dropped_rows.total() == 2


def test_keywords_with_values_that_are_not_ids(folder: Path) -> None:
    objects = [{"a": [[1], True, 2.0, 10**30, {"b": 1}, 1.5, 3]}, {"\ud800": [1]}]
    table = pa.table(
        {
            "uid": [1, 2],
            "split": [0, 0],
            "inter_user_profile_with_sid": ["p", "p"],
            "inter_keyword_to_items": [json.dumps(o) for o in objects],
        }
    )
    inputs, _ = inputs_of(folder, table, [0, 1, 2, 3])
    made = training_rows("sft_interactive_rec", inputs)
    (row,) = made.reader.read_all().to_pylist()
    assert json.loads(row["messages"])[2]["content"][0]["text"] == sid(2) + sid(3)
    assert made.counts.dropped == {"a keyword is empty or no text": 1}


def keyword_rows(*objects: Any) -> pa.Table:
    return pa.table(
        {
            "uid": list(range(len(objects))),
            "split": [0] * len(objects),
            "inter_user_profile_with_sid": ["p"] * len(objects),
            "inter_keyword_to_items": [json.dumps(one) for one in objects],
        }
    )


@pytest.mark.parametrize("setting", ["auto", "int"])
def test_a_single_id_written_as_text_has_no_sid(folder: Path, setting: str) -> None:
    table = keyword_rows({"a": ["x", 3]}, {"b": [1, 2]}, {"c": ["y"]})
    inputs, _ = inputs_of(folder, table, [0, 1, 2, 3], setting=setting)
    made = training_rows("sft_interactive_rec", inputs)
    rows = made.reader.read_all()["messages"].to_pylist()
    answers = [json.loads(row)[2]["content"][0]["text"] for row in rows]
    assert answers == [sid(3), sid(1) + sid(2)]
    assert made.counts.dropped == {"no item of a keyword has a SID": 1}
    count = made.counts.pids["inter_keyword_to_items"]
    assert (count.pids, count.with_sid) == (5, 3)


@pytest.mark.parametrize(("catalog", "other"), [([1, 2], "1"), (["1", "2"], 1)])
def test_ids_of_the_other_type_have_no_sid_in_any_block(
    folder: Path, catalog: list[Any], other: int | str
) -> None:
    rows = [{"a": [other]}] * 300 + [{"b": catalog}]
    made = training_rows("sft_interactive_rec", inputs_of(folder, keyword_rows(*rows), catalog)[0])
    assert made.reader.read_all()["metadata"].to_pylist() == ['{"uid": 300, "keyword": "b"}']
    assert made.counts.dropped == {"no item of a keyword has a SID": 300}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("auto", "stores text (3 ids; the first: 'x', 'y', 'z')"),
        ("int", "SID_PID_TYPE=int cannot read (3 rows). First ids: 'x', 'y', 'z'"),
    ],
)
def test_keywords_whose_ids_all_have_the_other_type(folder: Path, setting: str, said: str) -> None:
    table = keyword_rows({"a": ["x", "y"]}, {"b": ["z", None]})
    inputs, path = inputs_of(folder, table, [0, 1], setting=setting)
    with pytest.raises(InputError) as refused:
        training_rows("sft_interactive_rec", inputs).reader.read_all()
    assert said in str(refused.value)
    assert f"{path}: column 'inter_keyword_to_items'" in str(refused.value)


def test_users_with_many_keywords_are_processed_a_few_at_a_time(folder: Path) -> None:
    """Each of their rows holds the profile; together the rows would not fit into one array."""
    keywords = json.dumps({f"keyword {number}": [0] for number in range(20)})
    columns = {"inter_user_profile_with_sid": "p" * 3000, "inter_keyword_to_items": keywords}
    table = pa.table(
        {"uid": range(1000), "split": [0] * 1000} | {k: [v] * 1000 for k, v in columns.items()}
    )
    made = training_rows("sft_interactive_rec", inputs_of(folder, table, [0])[0])
    batches = list(made.reader)
    assert sum(batch.num_rows for batch in batches) == made.counts.written == 20_000
    assert max(batch.nbytes for batch in batches) < 16 << 20


def test_masks_of_another_length_are_counted(folder: Path) -> None:
    table = video_rows([[0, 1], [0, 1]], [[0, 1], [1]])
    for name, masks in {
        "hist_video_longview": [[1, 1], [1]],
        "hist_video_like": [[0, 1, 1], [0, 1]],
        "target_video_longview": [[1, 0], [1, 1]],
        "target_video_like": [[0, 1], [1]],
    }.items():
        table = table.append_column(name, pa.array(masks))
    inputs, _ = inputs_of(folder, table, [0, 1])
    made = training_rows("sft_label_cond_rec", inputs)
    users = [
        json.loads(row)[1]["content"][0]["text"]
        for row in made.reader.read_all()["messages"].to_pylist()
    ]
    assert [text.count("\n") for text in users] == [1, 1]
    assert made.counts.mask_lines == {
        "hist_video_longview": 1,
        "hist_video_like": 1,
        "target_video_longview": 1,
    }
    pred = training_rows("sft_label_pred", inputs)
    assert pred.reader.read_all()["metadata"].to_pylist() == [
        '{"uid": 0, "label": 1}',
        '{"uid": 0, "label": 0}',
    ]
    assert pred.counts.dropped_rows == {
        "target_video_longview is not as long as target_video_pid": 1
    }


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


@pytest.mark.parametrize(
    ("pids", "listed"), [([0, 1], ["0", "1"]), (["0", "1"], [0, 1]), (["0", "x"], [0, 1])]
)
def test_ids_stored_as_int_and_as_text(folder: Path, pids: list[Any], listed: list[Any]) -> None:
    inputs, path = inputs_of(folder, video_rows([listed], [listed]), pids)
    with pytest.raises(InputError) as refused:
        training_rows("video_rec", inputs)
    for said in (str(path), "hist_video_pid", "(1 ", repr(listed[0]), "SID_PID_TYPE"):
        assert said in str(refused.value)
    inputs, _ = inputs_of(folder, video_rows([listed], [listed]), pids, setting="string")
    assert training_rows("video_rec", inputs).reader.read_all().num_rows == 1


def test_text_ids_of_a_catalog_of_integers(folder: Path) -> None:
    """Both files store text; pids are integers if every id of the catalog is one."""
    table = video_rows([["0", "01", "x", None]], [["1"]])
    inputs, _ = inputs_of(folder, table, [0, 1])
    catalog = dataclasses.replace(inputs.items.catalog, stored="text")
    inputs = dataclasses.replace(inputs, items=dataclasses.replace(inputs.items, catalog=catalog))
    made = training_rows("video_rec", inputs)
    assert json.loads(made.reader.read_all()["segments"][0].as_py())[0]["text"] == sid(0) + sid(1)
    assert made.counts.pids["hist_video_pid"].share == 0.25


def test_ids_that_the_setting_cannot_read(folder: Path) -> None:
    table = video_rows([["0", "x1"], ["y"], ["1"]], [["0"]] * 3)
    inputs, path = inputs_of(folder, table, [0, 1], setting="int")
    made = training_rows("video_rec", inputs)
    with pytest.raises(InputError) as refused:
        made.reader.read_all()
    for said in (str(path), "hist_video_pid", "2 rows", "'x1', 'y'"):
        assert said in str(refused.value)


def test_several_files_with_several_types(folder: Path) -> None:
    """Lists as pyarrow and pandas write them: large, of floats because of nulls, all null."""
    parts = folder / "parts"
    (parts / "deeper").mkdir(parents=True)
    lists = [
        pa.array([[0, 1]], pa.large_list(pa.int32())),
        pa.array([[0.0, float("nan"), 1.0]], pa.list_(pa.float64())),
        pa.array([None], pa.null()),
        pa.array([[1, 0]], pa.list_(pa.uint64(), 2)),
    ]
    for number, column in enumerate(lists):
        rows = {"uid": [float(number)], "split": [0.0], "hist_video_pid": column}
        rows["target_video_pid"] = pa.array([[1]])
        file = parts / f"{number}.parquet" if number < 3 else parts / "deeper" / "3.parquet"
        pq.write_table(pa.table(rows), file)
    inputs, _ = inputs_of(folder, video_rows([[0]], [[0]]), [0, 1])
    inputs = dataclasses.replace(inputs, interactions=ParquetInput(str(parts)))
    rows = training_rows("video_rec", inputs).reader.read_all()
    assert [json.loads(row)["uid"] for row in rows["metadata"].to_pylist()] == [0, 1, 3]
    texts = [json.loads(row)[0]["text"] for row in rows["segments"].to_pylist()]
    assert texts == [sid(0) + sid(1) * 2, sid(0) + sid(1) * 2, sid(1) + sid(0) + sid(1)]
    globbed = dataclasses.replace(inputs, interactions=ParquetInput(str(parts / "[01].parquet")))
    assert training_rows("video_rec", globbed).reader.read_all().num_rows == 2


def test_other_files_in_the_folder_are_not_read(tmp_path: Path) -> None:
    for name in ("a", "_b", ".c", "_temporary/d", "deeper/e"):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"uid": [name]}), path)
    read = [uid for batch in ParquetInput(str(tmp_path)).batches(["uid"]) for uid in batch["uid"]]
    assert [uid.as_py() for uid in read] == ["a", "deeper/e"]


def test_more_files_than_can_be_open_at_once(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(int(path.name) for path in Path("/dev/fd").iterdir()) + 40
    for number in range(limit):
        pq.write_table(pa.table({"uid": [number]}), tmp_path / f"{number:05d}.parquet")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
    try:
        source = ParquetInput(str(tmp_path))
        assert len(list(source.pid_columns("uid"))) == limit
        assert [b["uid"][0].as_py() for b in source.batches(["uid"])] == list(range(limit))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("hist_video_pid", "[0, 1]"),
        ("hist_video_pid", [[0]]),
        ("hist_video_pid", 0),
        ("hist_video_like", ["1"]),
        ("uid", [1]),
        ("split", "0"),
        ("inter_user_profile_with_sid", 5),
        ("inter_keyword_to_items", {"a": "b"}),
        ("inter_keyword_to_items", [1]),
    ],
)
def test_columns_of_a_wrong_type(folder: Path, column: str, value: Any) -> None:
    table = pa.table(
        {
            "uid": [1],
            "split": [0],
            "hist_video_pid": [[0]],
            "target_video_pid": [[0]],
            "target_video_like": [[0]],
            "hist_video_like": [[1]],
            "inter_user_profile_with_sid": ["p"],
            "inter_keyword_to_items": ["{}"],
        }
    )
    table = table.drop_columns([column]).append_column(column, pa.array([value]))
    inputs, path = inputs_of(folder, table, [0, 1])
    data_sets = ("video_rec", "sft_label_cond_rec", "sft_interactive_rec")
    name = next(name for name in data_sets if column in DATA_SETS[name].reads())
    with pytest.raises(InputError) as refused:
        training_rows(name, inputs)
    assert str(path) in str(refused.value)
    assert f"column {column!r} holds" in str(refused.value)


def test_files_that_cannot_be_read(folder: Path) -> None:
    whole = folder / "whole.parquet"
    pq.write_table(video_rows([[0]] * 5000, [[0]] * 5000), whole)
    with pytest.raises(InputError, match="no such file"):
        ParquetInput(str(folder / "nowhere.parquet"))
    (folder / "text.parquet").write_text("uid,split")
    with pytest.raises(InputError, match=r"text.parquet: not a readable parquet file"):
        ParquetInput(str(folder / "text.parquet"))
    (folder / "rows.csv").write_text("uid,split")
    with pytest.raises(InputError, match=r"rows.csv: is csv.* must be parquet"):
        ParquetInput(str(folder / "rows.csv"))
    damaged = bytearray(whole.read_bytes())
    damaged[20:2000] = bytes(1980)
    (folder / "damaged.parquet").write_bytes(damaged)
    inputs, _ = inputs_of(folder, video_rows([[0]], [[0]]), [0])
    broken = dataclasses.replace(inputs, interactions=ParquetInput(str(folder / "damaged.parquet")))
    with pytest.raises(InputError, match="the file is damaged"):
        training_rows("video_rec", broken).reader.read_all()


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


def test_the_sample_makes_ten_of_the_eleven() -> None:
    sample = resources.files("sid_assets") / "sample"
    pids = pq.read_table(str(sample / "catalog.parquet"), columns=["pid"])["pid"].combine_chunks()
    codes = np.random.default_rng(0).integers(0, 256, (len(pids), 3))
    space = IdSpace(SidIndex(pids, codes), PidColumn("catalog", "pid", "int", len(pids)))
    inputs = TrainingInputs(
        space,
        ParquetInput(str(sample / "interactions.parquet")),
        ParquetInput(str(sample / "captions.parquet")),
    )
    possible = {name for name, data_set in DATA_SETS.items() if not lacking(data_set, inputs)}
    assert possible == DATA_SETS.keys() - {"sft_product_rec"}
    for name in possible:
        made = training_rows(name, inputs)
        found = check_rows(made.reader, DATA_SETS[name], np.unique(pack(codes)))
        assert not found.broken
        assert found.rows == made.counts.written > 0
        assert made.counts.adds_up()
