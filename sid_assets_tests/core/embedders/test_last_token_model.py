"""The model on a device: memory that runs out, and other errors of the device."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sid_assets.core.embedders.last_token_model import LastTokenModel
from sid_assets.core.embedders.qwen3 import Qwen3Embedder
from sid_assets.core.errors import InputError
from sid_assets_tests.core.embedders.mixed_texts import SAME, cosines


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_batches_are_halved_when_memory_runs_out(
    error: RuntimeError,
    small_model: Path,
    texts: list[str],
    vectors: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []
    forward = LastTokenModel._embed_padded

    def small_device(self: LastTokenModel, ids: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
        tried.append(ids.numel())
        if ids.numel() > 100:
            raise error
        return forward(self, ids, mask)

    monkeypatch.setattr(LastTokenModel, "_embed_padded", small_device)
    short = [i for i, text in enumerate(texts) if len(text.encode()) < 40][:60]
    embedder = Qwen3Embedder(str(small_model), batch_tokens=1600)
    embedded = embedder.embed([texts[i] for i in short])
    assert cosines(embedded.vectors, vectors[short]).min() >= SAME
    assert max(tried) > 100, "a batch was too large"
    tried.clear()
    embedder.embed([texts[i] for i in short])
    assert max(tried) <= 100, "the smaller batch size is kept"


def test_one_text_that_does_not_fit_is_an_error(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Qwen3Embedder(str(small_model))
    embedder.embed(["a"])

    def full_device(self: LastTokenModel, ids: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(LastTokenModel, "_embed_padded", full_device)
    with pytest.raises(InputError, match=r"one text of 3 tokens\. Set SID_MAX_LENGTH below"):
        embedder.embed(["pen", "a", "of"])


def test_other_device_errors_are_not_mistaken_for_a_lack_of_memory(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Qwen3Embedder(str(small_model))
    embedder.embed(["a"])

    def broken(self: LastTokenModel, ids: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(LastTokenModel, "_embed_padded", broken)
    with pytest.raises(RuntimeError, match="illegal"):
        embedder.embed(["a"])
