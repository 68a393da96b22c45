"""Qwen3Embedder on a small model gives the vectors of sentence-transformers, in any batches."""

import json
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import Qwen3Config

from sid_assets.core.embedders import qwen3
from sid_assets.core.embedders.last_token_model import LastTokenModel
from sid_assets.core.embedders.qwen3 import (
    BATCH_TOKENS_ON_CPU,
    BATCH_TOKENS_ON_GPU,
    Qwen3Embedder,
)
from sid_assets.core.errors import InputError
from sid_assets_tests.core.embedders.mixed_texts import SAME, cosines, run_program
from tools.small_qwen3 import ENDOFTEXT, save_model, save_tokenizer, small_tokenizer


@pytest.fixture(scope="module")
def reference(small_model: Path) -> Callable[..., np.ndarray]:
    """The vectors that sentence-transformers gives, for texts of at most `max_length` tokens."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(small_model), device="cpu")

    def encode(texts: list[str], max_length: int = 8192) -> np.ndarray:
        model.max_seq_length = max_length
        return model.encode(texts, batch_size=16)

    return encode


@pytest.fixture(scope="module")
def expected(texts: list[str], reference: Callable[..., np.ndarray]) -> np.ndarray:
    """The vectors of the texts, by sentence-transformers."""
    return reference(texts)


def as_stub(embedder: Qwen3Embedder) -> Qwen3Embedder:
    """An embedder whose network only returns the number of tokens and the first token."""

    class Stub:
        def embed(self, batch: list[list[int]]) -> np.ndarray:
            answers = np.zeros((len(batch), 4096), np.float32)
            answers[:, :2] = [[len(ids), ids[0]] for ids in batch]
            return answers

    embedder.__dict__["_network"] = Stub()
    return embedder


def test_gives_the_vectors_of_sentence_transformers(
    vectors: np.ndarray, expected: np.ndarray
) -> None:
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert cosines(vectors, expected).min() >= SAME
    different = cosines(vectors, np.roll(vectors, 1, axis=0))
    assert np.median(different) < 0.9, "the model distinguishes texts"


@pytest.mark.parametrize("batch_tokens", [50, 300, 20_000])
def test_neither_batches_nor_order_change_a_vector(
    small_model: Path, texts: list[str], expected: np.ndarray, batch_tokens: int
) -> None:
    order = random.Random(batch_tokens).sample(range(len(texts)), len(texts))  # noqa: S311
    embedder = Qwen3Embedder(str(small_model), batch_tokens=batch_tokens)
    embedded = embedder.embed([texts[i] for i in order])
    assert cosines(embedded.vectors, expected[order]).min() >= SAME


def test_bfloat16_is_near_float32(small_model: Path, texts: list[str], vectors: np.ndarray) -> None:
    embedded = Qwen3Embedder(str(small_model), dtype="bfloat16").embed(texts)
    assert cosines(embedded.vectors, vectors).min() >= 0.999
    np.testing.assert_allclose(np.linalg.norm(embedded.vectors, axis=1), 1, atol=1e-5)


def test_identical_texts_are_computed_once(small_model: Path) -> None:
    once = Qwen3Embedder(str(small_model)).embed(["black pen", "ink"])
    twice = Qwen3Embedder(str(small_model)).embed(["black pen", "ink", "black pen"])
    assert twice.tokens == once.tokens
    np.testing.assert_array_equal(twice.vectors, once.vectors[[0, 1, 0]])


def test_long_texts_are_truncated_and_counted(
    small_model: Path, reference: Callable[..., np.ndarray]
) -> None:
    long = "Title: The Third Man\nDescription: Vienna"
    embedder = Qwen3Embedder(str(small_model), max_length=8)
    embedded = embedder.embed([long, "a", long])
    assert embedded.truncated == 2
    assert cosines(embedded.vectors, reference([long, "a", long], max_length=8)).min() >= SAME
    counts = embedder.count_tokens([long, "a", long])
    assert counts.lengths.tolist() == [8, 2, 8]
    assert counts.truncated == 2
    assert not counts.estimated


def test_a_title_cannot_move_the_pooled_position(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Qwen3Embedder(str(small_model), max_length=30)
    hostile = [f"pen{ENDOFTEXT}", f"{ENDOFTEXT}{ENDOFTEXT}pen", "<|im_end|>" * 20, "pen"]
    embedder.embed(hostile[:1])  # loads the weights and checks them on texts of its own
    seen: list[torch.Tensor] = []
    forward = LastTokenModel._embed_padded

    def spy(self: LastTokenModel, ids: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
        seen.extend(row[kept.bool()] for row, kept in zip(ids, mask, strict=True))
        return forward(self, ids, mask)

    monkeypatch.setattr(LastTokenModel, "_embed_padded", spy)
    vectors = embedder.embed(hostile).vectors
    end = small_tokenizer_id(small_model, ENDOFTEXT)
    assert len(seen) == len(hostile)
    for ids in seen:
        assert (ids == end).nonzero().flatten().tolist() == [len(ids) - 1]
    assert cosines(vectors[:3], vectors[3:]).max() < 0.99


def small_tokenizer_id(folder: Path, token: str) -> int:
    fields = json.loads((folder / "tokenizer.json").read_text())
    return next(added["id"] for added in fields["added_tokens"] if added["content"] == token)


def test_a_tokenizer_without_the_end_token_gives_the_same_vectors(
    small_model: Path, tmp_path: Path, texts: list[str], vectors: np.ndarray
) -> None:
    folder = shutil.copytree(small_model, tmp_path / "lacking")
    save_tokenizer(small_tokenizer(), folder, append_endoftext=False)
    embedded = Qwen3Embedder(str(folder)).embed(texts[:10])
    assert cosines(embedded.vectors, vectors[:10]).min() >= SAME


def test_a_model_that_does_not_fit_is_rejected_before_its_weights_are_read(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not_load(*args: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(LastTokenModel, "load", must_not_load)
    monkeypatch.setattr(qwen3, "free_memory", lambda device: 12 << 20)
    with pytest.raises(InputError, match=r"float32 needs about 0\.\d GiB.* cpu has 0\.0 GiB free"):
        Qwen3Embedder(str(small_model)).embed(["a"])


def test_memory_is_needed_for_weights_and_a_batch(small_model: Path) -> None:
    weights = (small_model / "model.safetensors").stat().st_size
    one: dict[str, Any] = {"batch_tokens": 1, "max_length": 2}
    full = Qwen3Embedder(str(small_model), **one).memory()
    half = Qwen3Embedder(str(small_model), **one, dtype="bfloat16").memory()
    larger = Qwen3Embedder(str(small_model), batch_tokens=1000, max_length=2).memory()
    longer = Qwen3Embedder(str(small_model), batch_tokens=1, max_length=1000).memory()
    assert full.device == "cpu"
    assert full.needed == pytest.approx(weights, rel=0.02)
    assert half.needed == pytest.approx(weights / 2, rel=0.02)
    assert larger.needed > full.needed + 1000 * 4096 * 4
    assert longer.needed == larger.needed, "a text of 1000 tokens is a batch of its own"
    assert full.free > 0


def test_weights_pass_through_the_hosts_memory_to_a_gpu(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = (small_model / "model.safetensors").stat().st_size
    free = {"cuda": 80 << 30, "cpu": 2 * weights}
    monkeypatch.setattr(qwen3, "free_memory", free.get)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    embedder = Qwen3Embedder(str(small_model), dtype="float32")
    assert embedder.memory().device == "cuda"
    free["cpu"] = weights // 2
    memory = embedder.memory()
    assert memory.device.startswith("the host")
    assert memory.needed == pytest.approx(weights, rel=0.02)
    with pytest.raises(InputError, match=r"needs about .* and the host .* has 0\.\d GiB free"):
        embedder.embed(["a"])


def test_memory_needed_by_the_8b_model(tmp_path: Path) -> None:
    Qwen3Config(
        vocab_size=151_665,
        hidden_size=4096,
        intermediate_size=12_288,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
    ).save_pretrained(tmp_path)
    half = Qwen3Embedder(str(tmp_path), device="cpu", dtype="bfloat16").memory()
    full = Qwen3Embedder(str(tmp_path), device="cpu", dtype="float32").memory()
    large = Qwen3Embedder(str(tmp_path), device="cpu", dtype="bfloat16", batch_tokens=16_384)
    assert half.needed == pytest.approx(16.2e9, rel=0.005)
    assert full.needed == pytest.approx(32.2e9, rel=0.005)
    assert large.memory().needed == pytest.approx(17.2e9, rel=0.005)


def test_another_width_is_an_error_that_names_both(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    folder = save_tokenizer(tokenizer, tmp_path / "narrow")
    save_model(folder, tokenizer, hidden_size=1024)
    with pytest.raises(InputError, match=r"1024 wide.* needs 4096"):
        _ = Qwen3Embedder(str(folder)).space
    with pytest.raises(InputError, match=r"1024 wide.* needs 4096"):
        Qwen3Embedder(str(folder)).embed(["a"])


def test_another_kind_of_model_is_an_error(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 4096}')
    with pytest.raises(InputError, match="type is 'bert', not qwen3"):
        _ = Qwen3Embedder(str(tmp_path)).space


def test_a_tokenizer_of_another_model_is_an_error(
    small_model: Path, real_tokenizer: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_model, tmp_path / "mixed")
    shutil.copy(real_tokenizer / "tokenizer.json", folder)
    with pytest.raises(InputError, match=r"ids up to 151643, but the model knows only \d+"):
        Qwen3Embedder(str(folder)).embed(["a"])


def test_attention_that_ignores_padding_is_detected_on_loading(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = LastTokenModel._embed_padded

    def unmasked(self: LastTokenModel, ids: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
        return forward(self, ids, torch.ones_like(mask))

    monkeypatch.setattr(LastTokenModel, "_embed_padded", unmasked)
    with pytest.raises(InputError, match="changes when a longer text is in its batch"):
        Qwen3Embedder(str(small_model)).embed(["a"])


def test_vectors_that_are_not_finite_are_an_error(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Qwen3Embedder(str(small_model))
    embedder.embed(["a"])
    monkeypatch.setattr(
        LastTokenModel, "_embed_padded", lambda self, ids, mask: np.full((2, 4096), np.nan)
    )
    with pytest.raises(InputError, match="2 of 2 texts got vectors that are not finite in float32"):
        embedder.embed(["a", "b"])


def test_a_missing_device_is_an_error(small_model: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=r"Device 'cuda' cannot be used: .*SID_DEVICE"):
        Qwen3Embedder(str(small_model), device="cuda").embed(["a"])


def test_can_be_sent_to_another_process_and_closed(small_model: Path) -> None:
    embedder = Qwen3Embedder(str(small_model))
    assert embedder.space.model == "small-qwen3"
    sent = pickle.loads(pickle.dumps(embedder))  # noqa: S301 - our own bytes
    first = sent.embed(["a pen"]).vectors
    sent.close()
    sent.close()
    np.testing.assert_array_equal(sent.embed(["a pen"]).vectors, first)


def test_the_space_is_known_without_torch(small_model: Path) -> None:
    program = (
        "import sys; from sid_assets.core.embedders.qwen3 import Qwen3Embedder;"
        "embedder = Qwen3Embedder(sys.argv[1]); print(embedder.space.digest);"
        "embedder.count_tokens(['a']);"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    run = run_program(program, str(small_model))
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [Qwen3Embedder(str(small_model)).space.digest]


@pytest.fixture(scope="module")
def real_texts(office: Path, small_model: Path) -> tuple[list[str], np.ndarray]:
    """Texts of a real catalog, and how many tokens each has."""
    catalog = pq.read_table(office / "catalog.parquet", columns=["title", "description"])
    texts = [f"Title: {r['title']}\nDescription: {r['description']}" for r in catalog.to_pylist()]
    return texts, Qwen3Embedder(str(small_model)).count_tokens(texts).lengths


@pytest.mark.parametrize("batch_tokens", [BATCH_TOKENS_ON_CPU, 2048, BATCH_TOKENS_ON_GPU])
def test_texts_of_similar_length_share_a_batch(
    small_model: Path, real_texts: tuple[list[str], np.ndarray], batch_tokens: int
) -> None:
    texts, lengths = real_texts
    embedded = as_stub(Qwen3Embedder(str(small_model), batch_tokens=batch_tokens)).embed(texts)
    assert embedded.padding < 0.03
    np.testing.assert_array_equal(embedded.vectors[:, 0], lengths)
    assert embedded.tokens == sum(dict(zip(texts, lengths, strict=True)).values())


def test_order_is_kept_across_windows(small_model: Path) -> None:
    texts = [f"{i} " * (i % 7) for i in range(5000)]
    embedder = as_stub(Qwen3Embedder(str(small_model)))
    lengths = embedder.count_tokens(texts).lengths
    np.testing.assert_array_equal(embedder.embed(texts).vectors[:, 0], lengths)


def test_no_texts_give_no_vectors(small_model: Path) -> None:
    embedded = Qwen3Embedder(str(small_model)).embed([])
    assert embedded.vectors.shape == (0, 4096)
    assert (embedded.tokens, embedded.padding, embedded.truncated) == (0, 0, 0)
