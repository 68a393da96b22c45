"""Codes are the same bits on a GPU and on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from benchmarks.quantise import NOISE, draw_centroids, draw_vectors
from sid_assets.core.quantise import nearest_centroid
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets_tests.gpu import on_gpu


def require_same_codes(
    device: str, rows: int, codebook: int, dim: int, spectrum: str, dtype: torch.dtype | None = None
) -> None:
    """Compare the codes and norms of a device with those of the CPU.

    Args:
        device: As torch names it.
        rows: How many vectors.
        codebook: Centroids of each of three layers.
        dim: The width of the vectors.
        spectrum: Of the vectors.
        dtype: Of the coarse product on the device, if it is another than usual.
    """
    rng = np.random.default_rng(0)
    centroids = draw_centroids(rng, codebook, dim, spectrum)
    expected = Encoder(centroids, "cpu")
    with product_in(dtype):
        encoder = Encoder(centroids, device)
    for vectors in draw_vectors(rng, centroids, rows, spectrum):
        wanted = expected.encode(vectors)
        with product_in(dtype):
            found = encoder.encode(vectors)
        np.testing.assert_array_equal(found.codes, wanted.codes)
        assert found.residual_norms.tobytes() == wanted.residual_norms.tobytes()


@contextmanager
def product_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Have coarse products computed in a dtype; None: in the usual one."""
    with pytest.MonkeyPatch.context() as patched:
        if dtype:
            patched.setattr(nearest_centroid, "coarse_dtype", lambda device: dtype)
        yield


@on_gpu
@pytest.mark.parametrize("spectrum", list(NOISE))
def test_codes_on_a_gpu_are_those_of_the_cpu(spectrum):
    require_same_codes("cuda", 100_000, 8192, 4096, spectrum)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("spectrum", list(NOISE))
def test_the_same_comparison_runs_on_a_cpu(spectrum, dtype):
    """In the dtype of a GPU, and in that of a CPU without bfloat16."""
    require_same_codes("cpu", 1500, 300, 61, spectrum, dtype)


@pytest.mark.parametrize("dim", [1, 5, 61, 64, 4096])
def test_rows_of_the_coarse_product_start_at_multiples_of_16_bytes(dim):
    """Tensor cores are slow on others."""
    rng = np.random.default_rng(0)
    codebook = np.asarray(rng.standard_normal((3, dim)), np.float32)
    vectors = np.asarray(rng.standard_normal((2, dim)), np.float32)
    nearest = nearest_centroid.NearestCentroid(codebook, "cpu")
    operands = nearest.operands(vectors, np.linalg.norm(vectors.astype(float), axis=1))
    assert operands.rounded.shape[1] * torch.bfloat16.itemsize % 16 == 0
    assert nearest.scores(operands).shape == (2, 1, nearest_centroid.BLOCK)
