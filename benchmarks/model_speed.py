"""Tokens per second of a model with the shape of Qwen3-Embedding-8B, made on the device itself.

Its weights are random and are never downloaded or written: speed does not depend on them. On a CPU,
the model is tiny, to show that this runs. `python -m benchmarks.embed --device cuda` calls it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.gpu import device_name, in_percent, seconds_on, share_of_peak
from sid_assets.core.embedders.last_token_model import LastTokenModel, fastest_attention
from sid_assets.core.embedders.qwen3 import BATCH_TOKENS_ON_GPU

LARGE = {
    "hidden_size": 4096,
    "intermediate_size": 12_288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_665,
}
"""The shape of Qwen3-Embedding-8B."""

TINY = LARGE | {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 1_000,
}

SHORTEST, LONGEST = 60, 140
"""Tokens of a text, drawn evenly: 100 on average."""


@dataclass(frozen=True)
class Batch:
    """Token ids of texts of similar length, and what the model computes for them.

    Attributes:
        ids: Token ids of each text.
        tokens: Tokens, without padding.
        flop: Floating-point operations of the matrix products, without padding.
    """

    ids: list[list[int]]
    tokens: int
    flop: float


def model_speed(device: str, batches: int = 20) -> dict[str, Any]:
    """Tokens per second, TFLOP/s and their share of the card's peak.

    Args:
        device: As torch names it.
        batches: How many are embedded.
    """
    on_gpu = device.startswith("cuda")
    shape, dtype = (LARGE, "bfloat16") if on_gpu else (TINY, "float32")
    model = random_model(shape, device, dtype)
    drawn = draw_batches(shape, BATCH_TOKENS_ON_GPU if on_gpu else 1_000, batches)

    def embed_all() -> None:
        for batch in drawn:
            if model.embed(batch.ids) is None:
                raise SystemExit(f"{device_name(device)} has too little memory for this model.")

    seconds = seconds_on(device, embed_all, repeats=3)
    model.close()
    tokens = sum(batch.tokens for batch in drawn)
    tflops = sum(batch.flop for batch in drawn) / seconds / 1e12
    return {
        "device": device_name(device),
        "tokens_per_s": tokens / seconds,
        "texts_per_s": sum(len(batch.ids) for batch in drawn) / seconds,
        "tflops": tflops,
        "peak_share": share_of_peak(tflops, device),
    }


def describe(figures: dict[str, Any]) -> str:
    """The figures in words."""
    return (
        f"{figures['device']}: {figures['tokens_per_s']:,.0f} tokens/s, "
        f"{figures['texts_per_s']:,.1f} texts/s of {SHORTEST} to {LONGEST} tokens, "
        f"{figures['tflops']:.3g} TFLOP/s ({in_percent(figures['peak_share'])})"
    )


def random_model(shape: dict[str, int], device: str, dtype: str) -> LastTokenModel:
    """A Qwen3 with random weights, made on the device."""
    from transformers import Qwen3Config, Qwen3Model

    fields: dict[str, Any] = {**shape, "attn_implementation": fastest_attention(device, dtype)}
    config = Qwen3Config(**fields)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            network = Qwen3Model(config)
    finally:
        torch.set_default_dtype(before)
    return LastTokenModel(network, device, pad=0)


def draw_batches(shape: dict[str, int], tokens: int, batches: int) -> list[Batch]:
    """Batches of texts of similar length, as the embedder makes them."""
    rng = np.random.default_rng(0)
    lengths = np.linspace(SHORTEST, LONGEST, batches).astype(int)
    return [_draw_batch(shape, int(length), tokens, rng) for length in lengths]


def _draw_batch(shape: dict[str, int], length: int, tokens: int, rng: np.random.Generator) -> Batch:
    texts = max(1, tokens // length)
    ids = rng.integers(0, shape["vocab_size"], (texts, length)).tolist()
    return Batch(ids, texts * length, texts * flop_of_text(shape, length))


def flop_of_text(shape: dict[str, int], length: int) -> float:
    """Operations of all matrix products for a text; a token attends to those before it."""
    width, inner = shape["hidden_size"], shape["intermediate_size"]
    queries = shape["num_attention_heads"] * shape["head_dim"]
    keys = shape["num_key_value_heads"] * shape["head_dim"]
    weights = width * (2 * queries + 2 * keys) + 3 * width * inner
    attention = 2 * queries * (length + 1) / 2
    return 2.0 * shape["num_hidden_layers"] * length * (weights + attention)
