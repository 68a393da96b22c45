"""K-means in torch, with or without balanced clusters, on any device.

Lloyd's algorithm: each vector goes to a centroid, then each centroid becomes the mean of its
vectors. Plain k-means takes the nearest centroid. Where most vectors are close to each other and a
few are far away, as in the residuals of a layer, it then puts most of them into a few clusters.

Balanced k-means adds a price to the squared distance to each centroid, and takes the smallest sum.
Prices rise where a centroid gets too many vectors, and fall where it gets too few. This is optimal
transport with an entropic term (Sinkhorn): with assignments blurred over nearby centroids, one
update of all prices is `price += blur * log(share / equal share)`. In each round the prices
converge on fixed distances before the centroids move; with one or a few updates in a round, prices
and centroids chase each other and most clusters end up empty.

Prices exist only in training. Because the centroids have moved to where the prices let them find
about equally many vectors, the nearest centroid (what encoding takes) is balanced as well.

Distances are never kept whole: vectors are read in blocks. Prices are fitted on a sample of the
vectors, whose distances are kept in 16 bits. Sums of vectors are made on the CPU in the order of
the rows, so that the result is the same every time on a device of the same kind.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

BLOCK = 2048
"""Vectors whose distances are in memory at once: 67 MB for 8192 centroids."""

PRICE_UPDATES, CONVERGED = 50, 0.01
"""The most updates of the prices in a round; they stop when no cluster is farther from its allowed
size than this (natural logarithm)."""

BLUR = 0.3
"""How far assignments are blurred while prices are fitted, in units of the gap: by how much the
second nearest centroid is farther than the nearest (squared distance, mean of the vectors). At a
third of it prices do not converge in 50 updates; at three times it the clusters are less even."""

PRICED_ROWS, FEWEST_PRICED = 16, 4096
"""Prices are fitted on this many vectors for each centroid, and on at least this many vectors. For
8192 centroids, the distances of 16 for each take 2.1 GB."""


def torch_kmeans(
    vectors: np.ndarray,
    start: np.ndarray,
    rounds: int,
    inequality: float | None,
    rng: np.random.Generator,
    device: str,
) -> tuple[np.ndarray, float]:
    """Fit centroids to vectors.

    Args:
        vectors: float32, shape (n, dim), finite.
        start: float32, shape (k, dim): the centroids to start from.
        rounds: The most rounds; fewer are done if the clusters no longer change.
        inequality: How unequal clusters may be: each has at most this many times the equal share
            of the vectors, and at least the equal share divided by it (1 or more). None for plain
            k-means.
        rng: Draws the vectors on which prices are fitted, and new places for empty clusters.
        device: Where distances are computed, as torch names it.

    Returns:
        The centroids, float32 of shape (k, dim), and the mean squared distance of the vectors to
        the centroids of the last round.
    """
    import torch

    rows = torch.from_numpy(vectors)
    centroids = torch.from_numpy(start.copy())
    prices = torch.zeros(len(centroids), device=device)
    priced = _priced_rows(len(rows), len(centroids), rng)
    clusters, error = torch.empty(0), math.inf
    for _ in range(rounds):
        there = centroids.to(device)
        if inequality is not None:
            prices = fitted_prices(rows, priced, there, prices, inequality)
        before = clusters
        clusters, error = _assigned(rows, there, prices)
        if torch.equal(clusters, before):
            break
        centroids = _means(rows, clusters, len(centroids), rng)
    return centroids.numpy(), error


def start_rows(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """A copy of this many vectors, drawn without repetition; all different if enough are."""
    drawn = rng.permutation(len(vectors))
    seen: set[bytes] = set()
    chosen, repeated = [], []
    for row in drawn:
        content = vectors[row].tobytes()
        (repeated if content in seen else chosen).append(row)
        seen.add(content)
        if len(chosen) == count:
            break
    return vectors[(chosen + repeated)[:count]]


def fitted_prices(
    rows: "torch.Tensor",
    priced: np.ndarray,
    centroids: "torch.Tensor",
    prices: "torch.Tensor",
    inequality: float,
) -> "torch.Tensor":
    """Prices at which the clusters of these centroids are about as unequal as allowed.

    Args:
        rows: All vectors, on the CPU.
        priced: The indexes of those that prices are fitted on.
        centroids: On the device, shape (k, dim).
        prices: Where to start, shape (k,); in the unit of squared distances.
        inequality: As in `torch_kmeans`.
    """
    import torch

    gap = _mean_gap(rows, priced, centroids)
    if not gap:  # all vectors are equally far from their two nearest centroids
        return prices
    farther = _how_much_farther(rows, priced, centroids, gap)
    prices, blur = prices / gap, BLUR
    equal, allowed = len(priced) / len(centroids), math.log(inequality)
    for _ in range(PRICE_UPDATES):
        got = torch.zeros_like(prices)
        for block in farther.split(BLOCK):
            got += torch.softmax((block.float() + prices) / -blur, 1).sum(0)
        excess = (got.clamp(min=torch.finfo(got.dtype).tiny) / equal).log()
        excess -= excess.clamp(-allowed, allowed)
        prices = prices + blur * excess
        if excess.abs().max() < CONVERGED:
            break
    return (prices - prices.mean()) * gap


def _priced_rows(rows: int, centroids: int, rng: np.random.Generator) -> np.ndarray:
    wanted = max(PRICED_ROWS * centroids, FEWEST_PRICED)
    if wanted >= rows:
        return np.arange(rows)
    return np.sort(rng.choice(rows, wanted, replace=False, shuffle=False))


def _distances(
    rows: "torch.Tensor", centroids: "torch.Tensor", which: np.ndarray | None = None
) -> Iterator["torch.Tensor"]:
    """Squared distances of the vectors to all centroids, block by block, on their device."""
    import torch

    norms = centroids.square().sum(1)
    count = len(rows) if which is None else len(which)
    for start in range(0, count, BLOCK):
        some = slice(start, start + BLOCK)
        block = rows[some] if which is None else rows[torch.from_numpy(which[some])]
        block = block.to(centroids.device)
        lengths = block.square().sum(1, keepdim=True)
        yield torch.addmm(norms, block, centroids.T, alpha=-2).add_(lengths).clamp_(min=0)


def _mean_gap(rows: "torch.Tensor", priced: np.ndarray, centroids: "torch.Tensor") -> float:
    """By how much the second nearest centroid is farther than the nearest, mean of the vectors."""
    if len(centroids) == 1:
        return 0.0
    total = 0.0
    for block in _distances(rows, centroids, priced):
        nearest = block.topk(2, largest=False).values
        total += float((nearest[:, 1] - nearest[:, 0]).sum())
    return total / len(priced)


def _how_much_farther(
    rows: "torch.Tensor", priced: np.ndarray, centroids: "torch.Tensor", gap: float
) -> "torch.Tensor":
    """How much farther each centroid is than the nearest one: float16, in units of the gap.

    Too large values become infinite: such a centroid has no part in the vector at any price.
    """
    import torch

    kept = torch.empty(len(priced), len(centroids), dtype=torch.float16, device=centroids.device)
    start = 0
    for block in _distances(rows, centroids, priced):
        block -= block.amin(1, keepdim=True)
        kept[start : start + len(block)] = block / gap
        start += len(block)
    return kept


def _assigned(
    rows: "torch.Tensor", centroids: "torch.Tensor", prices: "torch.Tensor"
) -> tuple["torch.Tensor", float]:
    """The cluster of each vector, on the CPU, and the mean squared distance to its centroid."""
    import torch

    # Filled in place: small tensors kept between the freed blocks would leave gaps in memory that
    # no later block fits into.
    clusters, total, start = torch.empty(len(rows), dtype=torch.int64), 0.0, 0
    for block in _distances(rows, centroids):
        chosen = (block + prices).argmin(1, keepdim=True)
        total += float(block.gather(1, chosen).double().sum())
        clusters[start : start + len(block)] = chosen[:, 0]
        start += len(block)
    return clusters, total / len(rows)


def _means(
    rows: "torch.Tensor", clusters: "torch.Tensor", count: int, rng: np.random.Generator
) -> "torch.Tensor":
    """The mean of each cluster. An empty cluster starts again at a vector that is drawn."""
    import torch

    sums = torch.zeros(count, rows.shape[1])
    for start in range(0, len(rows), BLOCK):
        some = slice(start, start + BLOCK)
        sums.index_add_(0, clusters[some], rows[some])
    sizes = torch.bincount(clusters, minlength=count)
    means = sums / sizes.clamp(min=1)[:, None]
    empty = torch.nonzero(sizes == 0)[:, 0]
    if len(empty):
        drawn = rng.choice(len(rows), len(empty), replace=len(empty) > len(rows))
        means[empty] = rows[torch.from_numpy(drawn)]
    return means
