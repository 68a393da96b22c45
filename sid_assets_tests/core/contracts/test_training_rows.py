import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.contracts.training_rows import CheckedRows, check_rows
from sid_assets.core.sids.spelling import pack
from sid_assets.core.training_sets import DATA_SETS

KNOWN = "<|sid_begin|><s_a_1><s_b_2><s_c_3><|sid_end|>"
UNKNOWN = "<|sid_begin|><s_a_1><s_b_2><s_c_4><|sid_end|>"
GOODS = "<|sid_begin|><s_a_7><s_b_7><s_c_7><|sid_end|>"
UUIDS = (
    "a6af8bd4-2331-5c76-9796-12e44f5a033f",
    "0133560e-c679-5943-934b-f127c561346d",
)
ROLES = ("system", "user", "assistant")


def segments(text: str) -> str:
    return json.dumps([{"type": "text", "text": text}], ensure_ascii=False)


def messages(*texts: str, roles: tuple[str, ...] = ROLES) -> str:
    return json.dumps(
        [
            {"role": role, "content": [{"type": "text", "text": text}]}
            for role, text in zip(roles, texts, strict=True)
        ],
        ensure_ascii=False,
    )


def check(
    name: str, body: str, metadata: str | None = '{"uid": 1}', **other: str | None
) -> CheckedRows:
    """Check two rows: a good one of pretrain or SFT video_rec, and this one."""
    data_set = DATA_SETS[name]
    row = dict(zip(data_set.schema.names, (data_set.source, UUIDS[0], body, metadata), strict=True))
    rows = pa.table({key: [other.get(key, value)] for key, value in row.items()}, data_set.schema)
    items = pack(np.array([[1, 2, 3], [5, 5, 5]]))
    return check_rows(rows.to_reader(), data_set, items, pack(np.array([[7, 7, 7]])))


@pytest.mark.parametrize(
    ("name", "body", "metadata"),
    [
        ("video_rec", segments(KNOWN * 3), '{"uid": 1}'),
        ("video_rec", f" \n{segments(KNOWN)}\t\r\n", ' {"uid": 1} '),
        ("user_profile", segments("likes cats"), '{"uid": "u"}'),
        ("item_understand", segments(f"{KNOWN}: a cat"), f'{{"pid": 1, "sid": "{KNOWN}"}}'),
        ("sft_video_rec", messages("s", KNOWN, KNOWN), '{"uid": 1}'),
        ("sft_product_rec", messages("s", KNOWN + GOODS, GOODS), '{"uid": 1}'),
        (
            "sft_rec_reason",
            messages("u", "a", roles=("user", "assistant")),
            '{"uid": null, "target_pid": 3}',
        ),
    ],
)
def test_rows_as_they_should_be(name: str, body: str, metadata: str) -> None:
    findings = check(name, body, metadata)
    assert findings.rows == 1
    assert not findings.broken
    assert not findings.doubtful


@pytest.mark.parametrize(
    ("name", "body", "found"),
    [
        ("video_rec", "[", "segments are not JSON with text"),
        ("video_rec", "{}", "segments are not JSON with text"),
        ("video_rec", '[{"type": "text"}]', "segments are not JSON with text"),
        ("video_rec", '[{"type": "text", "text": 5}]', "segments are not JSON with text"),
        ("video_rec", segments(KNOWN + UNKNOWN), "a SID that no item has"),
        ("video_rec", segments(KNOWN.replace("1", "9999")), "a SID that no item has"),
        ("video_rec", segments(KNOWN + KNOWN[:-3]), "an incomplete SID"),
        ("sft_video_rec", messages("u", "a", roles=ROLES[1:]), "messages are not JSON with"),
        ("sft_video_rec", messages(*"sau", roles=("system", "assistant", "user")), "messages are"),
        ("sft_video_rec", messages("s", KNOWN, UNKNOWN), "a SID that no item has"),
        ("sft_product_rec", messages("s", KNOWN, KNOWN), "a SID that no item has"),
        ("sft_video_rec", messages("s", GOODS, KNOWN), "a SID that no item has"),
        ("sft_rec_reason", messages("s", "u", "a"), "messages are not JSON with user, assistant"),
        ("video_rec", segments(KNOWN) + segments(KNOWN), "segments are not JSON with text"),
        ("video_rec", segments(KNOWN) + " x", "segments are not JSON with text"),
        ("video_rec", "[" * 200_000, "segments are not JSON with text"),
    ],
)
def test_broken_bodies(name: str, body: str, found: str) -> None:
    findings = check(
        name, body, '{"uid": 1, "target_pid": 3}' if "reason" in name else '{"uid": 1}'
    )
    assert [count for what, count in findings.broken.items() if what.startswith(found)] == [1]


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("metadata", "{", "metadata is not JSON with uid"),
        ("metadata", "[]", "metadata is not JSON with uid"),
        ("metadata", '{"pid": 1}', "metadata is not JSON with uid"),
        ("metadata", None, "metadata is null"),
        ("uuid", "a6af8bd4-2331-4c76-9796-12e44f5a033f", "uuid is not version 5"),
        ("uuid", "A6AF8BD4-2331-5C76-9796-12E44F5A033F", "uuid is not version 5"),
        ("uuid", "7", "uuid is not version 5"),
        ("uuid", None, "uuid is null"),
        ("source", "RecIF_VideoRec", "source is not RecIF_VideoRec_Pretrain"),
    ],
)
def test_broken_columns(column: str, value: str | None, found: str) -> None:
    findings = check("video_rec", segments(KNOWN), **{column: value})
    assert findings.broken[found] == 1


def test_a_repeated_uuid() -> None:
    data_set = DATA_SETS["user_profile"]
    rows = [
        {"source": data_set.source, "uuid": i, "segments": segments("p"), "metadata": '{"uid": 1}'}
        for i in (UUIDS[0], UUIDS[1], UUIDS[0], UUIDS[0])
    ]
    table = pa.Table.from_pylist(rows, data_set.schema)
    findings = check_rows(table.to_reader(2), data_set, np.zeros(0, np.int64))
    assert findings.broken == {"uuid is repeated": 2}


def test_other_columns() -> None:
    table = pa.table({"source": ["x"], "uuid": ["y"]})
    findings = check_rows(table.to_reader(), DATA_SETS["video_rec"], np.zeros(0, np.int64))
    assert findings.broken == {"columns are not those of video_rec": 1}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("user_profile", segments),
        ("item_understand", segments),
        ("sft_interactive_rec", lambda text: messages("s", text, KNOWN)),
        ("sft_item_understand", lambda text: messages("s", KNOWN, text)),
        ("sft_rec_reason", lambda text: messages(text, "a", roles=ROLES[1:])),
    ],
)
def test_sids_in_texts_of_the_input(name: str, body: Callable[[str], str]) -> None:
    metadata = json.dumps(dict.fromkeys(DATA_SETS[name].metadata, KNOWN))
    findings = check(name, body(f"{UNKNOWN} <s_a_1> <|im_end|>"), metadata)
    assert not findings.broken
    assert findings.doubtful == {
        "a SID that no item has in a text of the input": 1,
        "an incomplete SID in a text of the input": 1,
        "a control token in a text of the input": 1,
    }


def test_the_sid_of_metadata_is_checked_too() -> None:
    findings = check("item_understand", segments("x"), json.dumps({"pid": 1, "sid": UNKNOWN}))
    assert findings.broken == {"a SID that no item has": 1}
