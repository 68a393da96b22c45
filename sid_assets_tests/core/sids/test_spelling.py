import importlib.util
import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.sids import spelling as sids
from tools.small_qwen3 import qwen_vocabulary, save_tokenizer

CODES = st.lists(st.tuples(*[st.integers(0, 8191)] * 3), max_size=20).map(
    lambda codes: np.array(codes, np.int64).reshape(-1, 3)
)


def spelled(codes: tuple[int, ...]) -> str:
    return "<|sid_begin|><s_a_{}><s_b_{}><s_c_{}><|sid_end|>".format(*codes)


def test_a_sid_as_text() -> None:
    codes = np.array([[0, 0, 0], [8191, 8191, 8191], [340, 6566, 5603]])
    assert sids.sid_text(codes).to_pylist() == [
        "<|sid_begin|><s_a_0><s_b_0><s_c_0><|sid_end|>",
        "<|sid_begin|><s_a_8191><s_b_8191><s_c_8191><|sid_end|>",
        "<|sid_begin|><s_a_340><s_b_6566><s_c_5603><|sid_end|>",
    ]


def test_ids_of_the_vocabulary() -> None:
    tokens = sids.vocabulary()
    ids = dict(zip(tokens, range(sids.FIRST_TOKEN_ID, 200_000), strict=False))
    assert len(tokens) == 24_578
    assert ids["<s_a_0>"] == 151_669
    assert ids["<s_b_0>"] == 159_861
    assert ids["<s_c_0>"] == 168_053
    assert ids["<|sid_begin|>"] == sids.BEGIN_TOKEN_ID == 176_245
    assert ids["<|sid_end|>"] == sids.END_TOKEN_ID == 176_246
    assert sids.vocabulary_table().to_pydict() == {"token": tokens, "id": list(ids.values())}


@given(CODES)
def test_packing_and_unpacking(codes: np.ndarray) -> None:
    packed = sids.pack(codes)
    assert packed.tolist() == [c0 * 8192 * 8192 + c1 * 8192 + c2 for c0, c1, c2 in codes.tolist()]
    assert (sids.unpack(packed) == codes).all()
    assert (sids.codes_of_fragments(sids.fragment_numbers(codes)) == codes).all()


@given(CODES, st.lists(st.integers(0, 20), max_size=5))
def test_joined_texts(codes: np.ndarray, cuts: list[int]) -> None:
    bounds = np.array([0, *sorted(min(cut, len(codes)) for cut in cuts), len(codes)])
    joined = sids.joined_sid_text(sids.fragment_numbers(codes), bounds)
    assert joined.to_pylist() == [
        "".join(map(spelled, codes[start:end].tolist())) or None for start, end in pairwise(bounds)
    ]


NOT_A_SID = st.sampled_from(
    [
        "<|sid_begin|>",
        "<|sid_end|>",
        "<s_a_1>",
        "<|sid_begin|><s_a_1><s_b_2><|sid_end|>",
        "<|sid_begin|><s_a_01><s_b_2><s_c_3><|sid_end|>",
        "<|sid_begin|><s_a_12345><s_b_2><s_c_3><|sid_end|>",
        "<|sid_begin|><s_a_><s_b_2><s_c_3><|sid_end|>",
        "<|sid_begin|><s_b_1><s_b_2><s_c_3><|sid_end|>",
        "<|sid_begin|><s_a_1><s_b_2><s_c_3>",
        "<|sid_begin|><s_a_1><s_b_2><s_c_3><|sid_end",
        "<|sid_begin><s_a_1><s_b_2><s_c_3><|sid_end|>",
    ]
)
TEXT = st.sampled_from(["", "影片 < ", "12345", "<|", "🎬>"])


@given(st.lists(st.lists(TEXT | NOT_A_SID | CODES.filter(len), max_size=6), max_size=6))
def test_sids_that_texts_spell(texts: list[list[str | np.ndarray]]) -> None:
    pieces = [
        [p if isinstance(p, str) else "".join(map(spelled, p.tolist())) for p in text]
        for text in texts
    ]
    whole = [
        [tuple(c) for p in text if not isinstance(p, str) for c in p.tolist()] for text in texts
    ]
    column = pa.array(["x", *map(" ".join, pieces)], pa.string()).slice(1)

    found = sids.spelled_sids(column)

    assert list(map(tuple, found.codes.tolist())) == [sid for text in whole for sid in text]
    assert found.counts.tolist() == list(map(len, whole))
    # Tokens that do not form a whole SID.
    assert found.broken.tolist() == [
        any(p.strip("影片< 12345|🎬>") for p in text if isinstance(p, str)) for text in texts
    ]


def test_a_sid_split_over_two_texts_is_not_a_sid() -> None:
    found = sids.spelled_sids(
        pa.array(["<|sid_begin|><s_a_1><s_b_2><s_c_3>", "<|sid_end|>", spelled((4, 5, 6))])
    )
    assert found.codes.tolist() == [[4, 5, 6]]
    assert found.counts.tolist() == [0, 0, 1]
    assert found.broken.tolist() == [True, True, False]


def test_codes_beyond_the_vocabulary_are_found_too() -> None:
    found = sids.spelled_sids(pa.array([spelled((9999, 0, 8192))]))
    assert found.codes.tolist() == [[9999, 0, 8192]]


def test_the_tokens_join_qwens_vocabulary(tmp_path) -> None:
    """As documented: the tokens come after Qwen3's own, and a SID is five tokens."""
    if importlib.util.find_spec("dashscope") is None:
        pytest.skip("needs the vocabulary in the dashscope package (pip install --no-deps)")
    from transformers import AutoTokenizer

    save_tokenizer(qwen_vocabulary(), tmp_path, append_endoftext=False)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == sids.FIRST_TOKEN_ID
    tokenizer.add_tokens(sids.vocabulary())
    assert len(tokenizer) == sids.FIRST_TOKEN_ID + len(sids.vocabulary())

    codes = np.array([[0, 4071, 8191], [12, 0, 9]])
    text = "".join(sids.sid_text(codes).to_pylist())
    begin, end = sids.BEGIN_TOKEN_ID, sids.END_TOKEN_ID
    own = (sids.FIRST_TOKEN_ID + 8192 * np.arange(3) + codes).tolist()
    assert tokenizer(text)["input_ids"] == [begin, *own[0], end, begin, *own[1], end]
    row = f"用户看过的视频：{text}\n接下来呢？"
    ids = tokenizer(row)["input_ids"]
    assert tokenizer.decode(ids) == row
    assert sum(i >= sids.FIRST_TOKEN_ID for i in ids) == 10
    assert json.dumps(row, ensure_ascii=False) == f'"{row}"'.replace("\n", "\\n")
