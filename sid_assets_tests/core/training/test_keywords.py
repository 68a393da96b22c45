"""Keywords and their items, as a map, a struct or JSON."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sid_assets.core.errors import InputError
from sid_assets.core.training.rows import training_rows
from sid_assets_tests.core.training.one_file import inputs_of, keyword_rows, sid

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
