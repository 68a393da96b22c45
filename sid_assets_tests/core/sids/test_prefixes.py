from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core import schema
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.sids.prefixes import SidPrefixes, logits_processor, next_tokens
from sid_assets.core.sids.sid2pid import reverse
from sid_assets.core.sids.spelling import (
    BEGIN_TOKEN_ID,
    END_TOKEN_ID,
    FIRST_TOKEN_ID,
    PADDED_VOCABULARY_SIZE,
    pack,
    sid_text,
)

SIDS = st.sets(st.tuples(*[st.integers(0, 3) | st.just(8191)] * 3))


def prefixes_of(sids: set[tuple[int, ...]]) -> SidPrefixes:
    return SidPrefixes.of(pack(np.array([*sids], np.int64).reshape(-1, 3)))


def tokens_of(sid: tuple[int, ...]) -> list[int]:
    """The five token ids of a SID."""
    codes = [FIRST_TOKEN_ID + 8192 * layer + code for layer, code in enumerate(sid)]
    return [BEGIN_TOKEN_ID, *codes, END_TOKEN_ID]


@given(SIDS)
def test_accepts_its_sids_and_no_other(sids: set[tuple[int, ...]]) -> None:
    prefixes = prefixes_of(sids)
    every = [(a, b, c) for a in (0, 1, 2, 3, 8191) for b in (0, 3, 8191) for c in range(9)]
    every += [*sids, (9000, 0, 0)]
    assert prefixes.contain(np.array(every)).tolist() == [sid in sids for sid in every]
    assert len(prefixes) == len(sids)
    assert prefixes.packed().tolist() == sorted(
        pack(np.array(sorted(sids)).reshape(-1, 3)).tolist()
    )


@given(SIDS)
def test_a_trie_walker_takes_the_arrays_as_they_are(sids: set[tuple[int, ...]]) -> None:
    prefixes = prefixes_of(sids)
    codes, offsets = prefixes.codes, prefixes.offsets
    walked = [
        (int(codes[0][i]), int(codes[1][j]), int(codes[2][k]))
        for i in range(len(codes[0]))
        for j in range(offsets[0][i], offsets[0][i + 1])
        for k in range(offsets[1][j], offsets[1][j + 1])
    ]
    assert walked == sorted(sids)


@settings(deadline=None)
@given(SIDS.filter(bool), st.data())
def test_the_tokens_that_may_come_next(sids: set[tuple[int, ...]], data: st.DataObject) -> None:
    prefixes = prefixes_of(sids)
    sequences, expected = [], []
    for sid in data.draw(st.lists(st.sampled_from(sorted(sids)), max_size=4)):
        length = data.draw(st.integers(0, 4))
        text = data.draw(st.lists(st.integers(0, 100), max_size=2))
        tokens = tokens_of(sid)
        if length < 4:
            tokens = tokens[: length + 1]
        sequences.append(([-1] * 4 + text + tokens)[-4:])
        if length < 3:
            after = {s[length] for s in sids if s[:length] == sid[:length]}
            expected.append({FIRST_TOKEN_ID + 8192 * length + code for code in after})
        else:
            expected.append({END_TOKEN_ID} if length == 3 else None)
    found = next_tokens(prefixes, np.array(sequences, np.int64).reshape(-1, 4))
    assert found.inside.tolist() == [tokens is not None for tokens in expected]
    for sequence, tokens in enumerate(expected):
        assert found.token[found.sequence == sequence].tolist() == sorted(tokens or ())


def test_stray_codes_are_not_inside_a_sid() -> None:
    a, b = FIRST_TOKEN_ID, FIRST_TOKEN_ID + 8192
    last = np.array([[-1, -1, -1, a], [BEGIN_TOKEN_ID, a, a, b], [-1, BEGIN_TOKEN_ID, b, b]])
    assert not next_tokens(prefixes_of({(0, 0, 0)}), last).inside.any()


def test_only_the_end_follows_a_prefix_that_no_sid_has() -> None:
    last = np.array([[-1, -1, BEGIN_TOKEN_ID, FIRST_TOKEN_ID + 5], [-1, -1, -1, BEGIN_TOKEN_ID]])
    found = next_tokens(prefixes_of({(0, 0, 0)}), last)
    assert found.inside.tolist() == [True, True]
    assert found.sequence.tolist() == [0, 1]
    assert found.token.tolist() == [END_TOKEN_ID, FIRST_TOKEN_ID]
    assert next_tokens(prefixes_of(set()), last).token.tolist() == [END_TOKEN_ID] * 2


def allowed_tokens(prompt: list[int], width: int = PADDED_VOCABULARY_SIZE) -> list[int]:
    """The tokens that the processor of a catalog with one SID allows after a prompt."""
    import torch

    processor: Any = logits_processor(prefixes_of({(0, 0, 0)}))
    scores = processor(torch.tensor([prompt]), torch.zeros(1, width))
    return scores[0].isfinite().nonzero().flatten().tolist()


def test_something_can_follow_every_prompt() -> None:
    assert allowed_tokens([1, BEGIN_TOKEN_ID]) == [FIRST_TOKEN_ID]
    assert allowed_tokens([1, BEGIN_TOKEN_ID, FIRST_TOKEN_ID + 5]) == [END_TOKEN_ID]


def test_padding_of_the_vocabulary_is_never_generated() -> None:
    assert allowed_tokens([1]) == [*range(FIRST_TOKEN_ID), BEGIN_TOKEN_ID]


def test_a_model_that_was_not_resized_is_refused() -> None:
    with pytest.raises(InputError, match=r"resize_token_embeddings\(176384\)"):
        allowed_tokens([1], width=151_936)


def test_saved_and_loaded(tmp_path: Path) -> None:
    table = pa.table({"pid": [1, 2, 3], "sid": [[1, 2, 3], [1, 2, 3], [1, 0, 8191]]})
    prefixes = SidPrefixes.of_table(table.to_batches(max_chunksize=2))
    prefixes.save(tmp_path / "sid_prefixes.safetensors")
    loaded = SidPrefixes.load(tmp_path / "sid_prefixes.safetensors")
    assert loaded.packed().tolist() == [67108864 + 8191, 67108864 + 2 * 8192 + 3]
    assert [codes.dtype for codes in loaded.codes] == [np.int16] * 3
    assert loaded.generation == loaded.tokenizer == ""


def test_the_file_says_which_generation_and_tokenizer_its_sids_are_of(tmp_path: Path) -> None:
    prefixes = replace(prefixes_of({(1, 2, 3)}), generation="a1b2", tokenizer="c3d4")
    path = tmp_path / "sid_prefixes.safetensors"
    prefixes.save(path)
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"generation": "a1b2", "tokenizer": "c3d4"}
    loaded = SidPrefixes.load(path)
    assert (loaded.generation, loaded.tokenizer) == ("a1b2", "c3d4")


@pytest.mark.parametrize("content", [b"no arrays", safetensors.numpy.save({"a": np.zeros(3)})])
def test_a_file_that_holds_no_prefixes_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sid_prefixes.safetensors"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"sid_prefixes\.safetensors: not the prefixes of SIDs"):
        SidPrefixes.load(path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("offsets_0", np.array([0, 1, 2])),
        ("offsets_0", np.array([0, -1])),
        ("offsets_1", np.array([0, 2, 9])),
        ("offsets_1", np.array([0, 3, 3])),
        ("offsets_1", np.array([0, 2, 3], np.float64)),
        ("codes_2", np.array([-1, 2, 3], np.int16)),
        ("codes_2", np.array([[1, 2, 3]], np.int16)),
        ("codes_0", np.array([0.5])),
    ],
)
def test_arrays_that_are_no_trie_are_refused(tmp_path: Path, name: str, values: np.ndarray) -> None:
    path = tmp_path / "sid_prefixes.safetensors"
    prefixes_of({(0, 0, 0), (0, 0, 1), (0, 1, 2)}).save(path)
    arrays = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(arrays | {name: values}, path)
    with pytest.raises(StoreError, match=r"sid_prefixes\.safetensors: not the prefixes of SIDs"):
        SidPrefixes.load(path)


def test_prefixes_of_no_sids_can_be_loaded(tmp_path: Path) -> None:
    prefixes_of(set()).save(tmp_path / "none.safetensors")
    assert len(SidPrefixes.load(tmp_path / "none.safetensors")) == 0


def test_the_repr_of_a_processor_counts_its_sids() -> None:
    processor = logits_processor(prefixes_of({(0, 0, 0), (0, 0, 1)}))
    assert repr(processor) == "SidLogitsProcessor(2 SIDs)"


def small_model() -> Any:
    """A Qwen3 with random weights, prepared for SIDs as the documentation describes."""
    import transformers

    transformers.set_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=151_936,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=151_643,
        eos_token_id=151_645,
        tie_word_embeddings=False,
    )
    model = transformers.Qwen3ForCausalLM(config).eval()
    model.resize_token_embeddings(END_TOKEN_ID + 1, pad_to_multiple_of=256, mean_resizing=False)
    return model


def test_beam_search_never_leaves_the_catalog() -> None:
    import torch

    model = small_model()
    assert model.get_input_embeddings().num_embeddings == PADDED_VOCABULARY_SIZE
    rng = np.random.default_rng(0)
    sids = {tuple(sid) for sid in rng.integers(0, 12, (60, 3)).tolist()}
    history = [token for sid in sorted(sids)[:3] for token in tokens_of(sid)]
    # One prompt begins a SID; the other already contains its first code.
    prompts = torch.tensor([[1, *history, BEGIN_TOKEN_ID], [*history, *history[:2]]])

    def begin_sids(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, BEGIN_TOKEN_ID] += 10.0
        return scores

    def named(*processors: Any) -> list[list[int]]:
        """The prompts, whose SIDs are in the catalog, followed by what the model generates."""
        return model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            num_beams=8,
            num_return_sequences=8,
            max_new_tokens=14,
            logits_processor=[begin_sids, *processors],
        ).tolist()

    def stays(answer: list[int]) -> bool:
        found = spelled_tokens(answer)
        return (
            found is not None
            and len(found) > 4
            and all(any(sid[: len(codes)] == codes for sid in sids) for codes in found)
        )

    answers = named(logits_processor(prefixes_of(sids)))
    assert len(answers) == 16
    assert all(map(stays, answers))
    assert not any(map(stays, named()))


def spelled_tokens(tokens: list[int]) -> list[tuple[int, ...]] | None:
    """The SIDs of a sequence; the last may be cut off; None if a SID token is misplaced."""
    sids: list[tuple[int, ...]] = []
    inside = False
    for token in tokens:
        layer, code = divmod(token - FIRST_TOKEN_ID, 8192)
        if inside and len(sids[-1]) == layer < 3:
            sids[-1] += (code,)
        elif inside and (token != END_TOKEN_ID or len(sids[-1]) < 3):
            return None
        elif inside:
            inside = False
        elif token == BEGIN_TOKEN_ID:
            sids.append(())
            inside = True
        elif token >= FIRST_TOKEN_ID:
            return None
    return sids


def word_tokenizer() -> Any:
    """A tokenizer with as many tokens as Qwen3's, before SID tokens are added."""
    import tokenizers
    import transformers

    words = {f"w{number}": number for number in range(FIRST_TOKEN_ID)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    inner.decoder = tokenizers.decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner)


PYTHON_PAGE = Path(__file__).parents[3] / "docs" / "python.md"


@pytest.mark.skipif(not PYTHON_PAGE.exists(), reason="the page is made on another branch")
def test_the_examples_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = PYTHON_PAGE.read_text("utf-8")
    code = [block.split("```")[0] for block in page.split("```python\n")[1:]]
    (add_tokens,) = (block for block in code if "add_tokens" in block)
    (decode,) = (block for block in code if "logits_processor" in block)
    sids = np.random.default_rng(0).integers(0, 12, (60, 3))
    pid2sid = pa.table({"pid": np.arange(60), "sid": sids.tolist()}, schema=schema.pid2sid("int"))
    Path(tmp_path, "data").mkdir()
    monkeypatch.chdir(tmp_path)
    pq.write_table(reverse(pid2sid.to_reader()).read_all(), "data/sid2pid.parquet")
    SidPrefixes.of_table(pid2sid.to_batches()).save("data/sid_prefixes.safetensors")

    names = {"model": small_model(), "tokenizer": word_tokenizer(), "text": "w1 w2"}
    exec(add_tokens, names)  # noqa: S102 - our own docs
    exec(decode, names)  # noqa: S102
    items, spelled = names["items"], names["sids"]
    assert len(set(spelled)) == len(items) == 8
    assert spelled == sid_text(sids[items]).to_pylist()
