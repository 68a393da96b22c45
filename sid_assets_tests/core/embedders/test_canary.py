"""The canary: silent while the embedder is the same, loud if anything behind its name changes."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sid_assets.core.embedders import Embedded
from sid_assets.core.embedders.canary import PROBES, check_canary, probe
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.embedders.last_token_model import LastTokenModel
from sid_assets.core.embedders.qwen3 import Qwen3Embedder
from sid_assets.core.errors import InputError

HASHED = HashedWordsEmbedder().embed(PROBES)


class Turned(HashedWordsEmbedder):
    """The hashing embedder with its vectors turned in a random direction, to a given cosine."""

    def __init__(self, cosine: float, seed: int) -> None:
        self.cosine, self.seed = cosine, seed

    def embed(self, texts: Sequence[str]) -> Embedded:
        assert tuple(texts) == PROBES
        vectors = HASHED.vectors
        noise = np.random.default_rng(self.seed).standard_normal(vectors.shape, np.float32)
        noise -= (noise * vectors).sum(axis=1, keepdims=True) * vectors
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        turned = self.cosine * vectors + np.sqrt(1 - self.cosine**2) * noise
        return replace(HASHED, vectors=turned.astype(np.float32))


@pytest.fixture(scope="module")
def stored(small_model: Path) -> dict[str, str]:
    return probe(Qwen3Embedder(str(small_model)))


def test_a_probe_is_small_and_json(stored: dict[str, str]) -> None:
    assert json.loads(json.dumps(stored)) == stored
    assert len(json.dumps(stored)) < 1500


def test_the_same_model_passes_in_other_batches_and_in_bfloat16(
    stored: dict[str, str], small_model: Path
) -> None:
    check_canary(stored, stored)
    check_canary(stored, probe(Qwen3Embedder(str(small_model), batch_tokens=1)))
    check_canary(stored, probe(Qwen3Embedder(str(small_model), dtype="bfloat16")))


def test_rounding_noise_passes_and_more_does_not() -> None:
    before = probe(HashedWordsEmbedder())
    for seed in range(20):
        check_canary(before, probe(Turned(0.999, seed)))
    for seed in range(20):
        with pytest.raises(InputError, match=r"of 8 probe texts have changed"):
            check_canary(before, probe(Turned(0.995, seed)))


def test_another_embedder_is_detected(stored: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"8 of 8 probe texts have changed") as stopped:
        check_canary(stored, probe(HashedWordsEmbedder()))
    assert "another SID_EMBEDDING_REVISION" in str(stopped.value)
    assert "a model folder has no revision: rename it" in str(stopped.value)


def test_another_pooling_is_detected(
    stored: dict[str, str], small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mean_pooling(self: LastTokenModel, ids: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = (states * mask[:, :, None]).sum(1)
        return torch.nn.functional.normalize(pooled, dim=1).numpy()

    embedder = Qwen3Embedder(str(small_model))
    embedder.embed(["a"])
    monkeypatch.setattr(LastTokenModel, "_embed_padded", mean_pooling)
    with pytest.raises(InputError, match="no longer gives the same vectors"):
        check_canary(stored, probe(embedder))


def test_other_weights_and_coarse_quantisation_are_detected(
    stored: dict[str, str], small_model: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(small_model, tmp_path / small_model.name)
    weights = load_file(folder / "model.safetensors")
    name = "layers.0.self_attn.v_proj.weight"
    step = weights[name].abs().max() / 7  # 4 bits, one scale for the whole matrix
    coarse = weights | {name: (weights[name] / step).round() * step}
    save_file(coarse, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="no longer gives the same vectors"):
        check_canary(stored, probe(Qwen3Embedder(str(folder))))


def test_probes_of_another_release_are_not_compared(
    stored: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    check_canary(stored | {"texts": "others"}, probe(HashedWordsEmbedder()))
    assert "cannot be compared" in caplog.text
