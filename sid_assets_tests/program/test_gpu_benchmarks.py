"""What the benchmarks measure on a GPU; at a small size, they run on a CPU."""

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import gpu, model_speed
from benchmarks.quantise import coarse_speed, draw_centroids, draw_vectors
from sid_assets_tests.gpu import on_gpu


def speed_of_coarse_product(device: str, rows: int, codebook: int, dim: int) -> dict:
    rng = np.random.default_rng(0)
    centroids = draw_centroids(rng, codebook, dim, "clustered")
    vectors = np.concatenate(list(draw_vectors(rng, centroids, rows, "clustered")))
    return coarse_speed(centroids[0], vectors, device)


@on_gpu
def test_the_coarse_product_is_not_bound_by_memory():
    """Searching its scores, which are in memory, takes less time than the product."""
    figures = speed_of_coarse_product("cuda", 16_384, 8192, 4096)
    assert figures["coarse_tflops"] > figures["product_tflops"] / 2


@on_gpu
def test_a_large_model_runs_on_a_gpu():
    assert model_speed.model_speed("cuda", batches=2)["tokens_per_s"] > 0


def test_the_benchmark_of_the_coarse_product_runs_on_a_cpu():
    figures = speed_of_coarse_product("cpu", 64, 130, 32)
    assert figures["device"] == "cpu"
    assert figures["product_tflops"] > 0
    assert figures["coarse_tflops"] > 0
    assert figures["product_peak_share"] is figures["coarse_peak_share"] is None


def test_the_benchmark_of_a_model_runs_on_a_cpu():
    figures = model_speed.model_speed("cpu", batches=2)
    assert figures["tokens_per_s"] > 0
    assert "peak unknown" in model_speed.describe(figures)


def test_flop_of_a_text_are_those_that_torch_counts():
    """By its counter, which counts whole attention matrices: causal ones are half of them."""
    from torch.utils.flop_counter import FlopCounterMode

    shape, length = model_speed.TINY, 50
    model = model_speed.random_model(shape, "cpu", "float32")
    with (
        FlopCounterMode(display=False) as counter,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        model.embed([[1] * length])
    layers, queries = shape["num_hidden_layers"], 4 * shape["head_dim"]
    whole_attention = 4 * layers * queries * length * length
    causal_attention = 2 * layers * queries * length * (length + 1)
    counted = counter.get_total_flops() - whole_attention + causal_attention
    assert model_speed.flop_of_text(shape, length) == pytest.approx(counted, rel=0.02)


def test_a_model_of_the_large_shape_has_eight_billion_parameters():
    from transformers import Qwen3Config, Qwen3Model

    fields: dict[str, Any] = {**model_speed.LARGE}
    with torch.device("meta"):
        network = Qwen3Model(Qwen3Config(**fields))
    assert 7.4e9 < sum(p.numel() for p in network.parameters()) < 7.7e9


def test_the_share_of_the_peak_is_only_given_for_cards_that_are_known(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    assert gpu.share_of_peak(494.5, "cuda:0") == pytest.approx(0.5)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A card of tomorrow")
    assert gpu.share_of_peak(494.5, "cuda:0") is None
