"""K-means in torch against plain programs, and how even the clusters of balanced k-means are."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from sid_assets.core.arrow.statistics import entropy
from sid_assets.core.quantise import torch_kmeans as module
from sid_assets.core.quantise.torch_kmeans import fitted_prices, start_rows, torch_kmeans


def uneven_vectors(rows=3000, dim=16, seed=0):
    """Most vectors in a dense crowd, the others far away, as in the residuals of a layer."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, dim)) * 0.1
    far = rng.random(rows) < 0.3
    values[far] += rng.standard_normal((far.sum(), dim)) * rng.exponential(1, (far.sum(), 1))
    return values.astype(np.float32)


def nearest(vectors, centroids):
    return ((vectors[:, None] - centroids[None]) ** 2).sum(2).argmin(1)


def perplexity(codes, count):
    return np.exp(entropy(np.bincount(codes, minlength=count)))


def trained(vectors, count, inequality, rounds=10, seed=0):
    rng = np.random.default_rng(seed)
    start = start_rows(vectors, count, rng)
    return torch_kmeans(vectors, start, rounds, inequality, rng, "cpu")[0]


def prices_for(vectors, centroids, inequality):
    rows = torch.from_numpy(vectors)
    prices = torch.zeros(len(centroids))
    there = torch.from_numpy(centroids)
    for _ in range(3):
        prices = fitted_prices(rows, np.arange(len(rows)), there, prices, inequality)
    return prices.numpy()


def test_plain_rounds_are_those_of_lloyds_algorithm():
    vectors = uneven_vectors(rows=700)
    centroids = start = vectors[:12]
    for _ in range(5):
        codes = nearest(vectors.astype(np.float64), centroids)
        centroids = np.stack([vectors[codes == code].mean(0, np.float64) for code in range(12)])
    rng = np.random.default_rng(0)
    ours, _ = torch_kmeans(vectors, start, 5, None, rng, "cpu")
    np.testing.assert_allclose(ours, centroids, rtol=1e-4, atol=1e-6)


def test_the_error_is_that_of_the_centroids_of_the_last_round():
    vectors = uneven_vectors(rows=500)
    start = vectors[:8]
    _, error = torch_kmeans(vectors, start, 1, None, np.random.default_rng(0), "cpu")
    distances = ((vectors[:, None] - start[None]) ** 2).sum(2, dtype=np.float64)
    assert error == pytest.approx(distances.min(1).mean(), rel=1e-5)


def test_the_price_of_two_points_on_a_line_puts_the_border_at_the_median():
    vectors = np.sort(np.random.default_rng(0).exponential(1, 2000)).astype(np.float32)[:, None]
    centroids = np.array([[0.0], [4.0]], np.float32)
    price = np.diff(prices_for(vectors, centroids, 1.0))[0]
    # x^2 = (x - 4)^2 + price at the border
    assert (16 + price) / 8 == pytest.approx(np.median(vectors), abs=0.15)


@pytest.mark.parametrize("inequality", [1.0, 1.5, 3.0])
def test_priced_clusters_are_as_unequal_as_allowed(inequality):
    vectors = uneven_vectors()
    centroids = vectors[:24] / 2
    distances = ((vectors[:, None] - centroids[None]) ** 2).sum(2)
    blur = module.BLUR * np.diff(np.sort(distances)[:, :2]).mean()
    weights = np.exp(-(distances - distances.min(1, keepdims=True)) / blur)
    without = (weights / weights.sum(1, keepdims=True)).sum(0) / 125
    assert without.max() > 1.6
    assert without.min() < 0.25
    priced = distances + prices_for(vectors, centroids, inequality)
    weights = np.exp(-(priced - priced.min(1, keepdims=True)) / blur)
    shares = (weights / weights.sum(1, keepdims=True)).sum(0) / 125
    assert shares.max() < 1.03 * inequality
    assert shares.min() > 0.8 / inequality  # prices of far centroids converge slowly


@pytest.mark.parametrize("seed", [0, 1])
def test_nearest_centroids_of_balanced_training_are_used_more_evenly(seed):
    vectors, other = np.split(uneven_vectors(rows=4000, seed=seed), 2)
    used = {}
    for inequality in (1.0, 1.5, 3.0, None):
        centroids = trained(vectors, 32, inequality, seed=seed)
        used[inequality] = perplexity(nearest(other, centroids), 32)
    assert used[1.0] > 0.9 * 32
    assert used[1.0] > used[1.5] > used[3.0] > used[None]


def test_prices_of_sixteen_vectors_for_each_centroid_balance_all_vectors(monkeypatch):
    monkeypatch.setattr(module, "FEWEST_PRICED", 0)
    vectors = uneven_vectors(rows=12_000)
    centroids = trained(vectors, 64, 1.0)
    assert perplexity(nearest(vectors, centroids), 64) > 0.9 * 64
    rows = module._priced_rows(12_000, 64, np.random.default_rng(0))
    assert len(rows) == 16 * 64


def test_the_same_seed_gives_the_same_bytes():
    vectors = uneven_vectors()
    one, again = (trained(vectors, 32, 1.5) for _ in range(2))
    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != trained(vectors, 32, 1.5, seed=1).tobytes()


def test_the_unit_of_the_vectors_does_not_matter():
    vectors = uneven_vectors()
    near = trained(vectors, 32, 1.5)
    for factor in (2.0**-20, 2.0**20):
        far = trained(vectors * np.float32(factor), 32, 1.5)
        np.testing.assert_allclose(far / factor, near, rtol=1e-5, atol=1e-6)


def test_vectors_are_read_in_blocks(monkeypatch):
    vectors = uneven_vectors(rows=1000)
    whole = trained(vectors, 16, 1.5)
    monkeypatch.setattr(module, "BLOCK", 64)
    np.testing.assert_allclose(trained(vectors, 16, 1.5), whole, rtol=1e-3, atol=1e-4)


def test_training_starts_from_different_vectors_if_there_are_enough():
    vectors = np.repeat(uneven_vectors(rows=10), 50, axis=0)
    rng = np.random.default_rng(0)
    assert len(np.unique(start_rows(vectors, 10, rng), axis=0)) == 10
    assert len(start_rows(vectors, 20, rng)) == 20


@pytest.mark.parametrize("inequality", [None, 1.0])
def test_fewer_different_vectors_than_centroids(inequality):
    vectors = np.repeat(uneven_vectors(rows=3), 20, axis=0)
    centroids = trained(vectors, 8, inequality)
    assert np.isfinite(centroids).all()
    assert ((vectors - centroids[nearest(vectors, centroids)]) ** 2).max() < 1e-10


@pytest.mark.parametrize("inequality", [None, 1.0])
def test_one_centroid_is_the_mean(inequality):
    vectors = uneven_vectors(rows=100)
    np.testing.assert_allclose(trained(vectors, 1, inequality)[0], vectors.mean(0), atol=1e-6)


def test_an_empty_cluster_starts_again_at_a_vector():
    vectors = uneven_vectors(rows=200)
    start = np.concatenate([vectors[:4], np.full((1, 16), 1e6, np.float32)])
    centroids, _ = torch_kmeans(vectors, start, 1, None, np.random.default_rng(0), "cpu")
    assert any((centroids[4] == row).all() for row in vectors)


MEASURED = """
import sys
import numpy as np
from sid_assets.core.quantise.torch_kmeans import start_rows, torch_kmeans

def most_mb():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024

rng = np.random.default_rng(0)
for rows in (4096, 300_000):
    vectors = rng.standard_normal((rows, 4), np.float32)
    before = most_mb()
    torch_kmeans(vectors, start_rows(vectors, 256, rng), 1, 1.5, rng, "cpu")
print(most_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_distances_are_never_kept_whole():
    """They would take 307 MB; the first, small training loads what torch needs."""
    run = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 60
