"""Time and memory of resolving collisions, and a plain program that gives the same SIDs.

Simulates catalogs of 100,000 and a million items in three layers of 8192 centroids of width 4096.
30 % of the items share their SID with another one; no SID may be shared. The vectors are made block
by block when they are read, as a stream of parts would be. The plain program takes one item after
the other and computes all distances to third codes; it gets the first 2000 items.

    python -m benchmarks.collisions          # an argument replaces the million
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.measure import in_own_process
from sid_assets.core.registry.resolve import resolve
from sid_assets.core.schema import EMBEDDING_DIM, MAX_CODEBOOK_SIZE
from sid_assets.core.sids.spelling import pack, unpack

LAYER_NORMS, NOISE = (0.7, 0.4, 0.25), 0.45
SIDS_PER_ITEM = 2.8
"""SIDs that each item is drawn from, per item: 1 - exp(-1 / 2.8) = 30 % of the items collide."""
NOISES, BLOCK = 2048, 4096
PLAIN_ITEMS = 2000


@dataclass(frozen=True)
class Catalog:
    """Simulated items.

    Attributes:
        codes: uint16, shape (n, 3).
        popularity: int64, shape (n,).
        centroids: float32, shape (3, 8192, 4096).
        noises: float32, shape (2048, 4096): what the centroids leave of a vector.
    """

    codes: np.ndarray
    popularity: np.ndarray
    centroids: np.ndarray
    noises: np.ndarray

    def vectors(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The unit vectors of rows: their centroids and a noise."""
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            made = self.noises[some * 7919 % NOISES]
            for layer in range(3):
                made += self.centroids[layer][self.codes[some, layer]]
            made /= np.linalg.norm(made, axis=1, keepdims=True)
            yield made


def simulate(items: int) -> Catalog:
    """A catalog of which 30 % of the items collide, with few items behind each prefix."""
    rng = np.random.default_rng(0)
    centroids = np.empty((3, MAX_CODEBOOK_SIZE, EMBEDDING_DIM), np.float32)
    for layer, norm in zip(centroids, LAYER_NORMS, strict=True):
        layer[:] = rng.standard_normal(layer.shape, np.float32) * (norm / EMBEDDING_DIM**0.5)
    noises = rng.standard_normal((NOISES, EMBEDDING_DIM), np.float32)
    noises *= NOISE / EMBEDDING_DIM**0.5
    drawn = rng.integers(int(items * SIDS_PER_ITEM), size=items).astype(np.uint64)
    spread = (drawn * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - 39)
    codes = unpack(spread.astype(np.int64)).astype(np.uint16)
    popularity = rng.pareto(1.0, items).astype(np.int64)
    return Catalog(codes, popularity, centroids, noises)


def resolved(items: int) -> dict[str, float]:
    """Resolve the collisions of a catalog; returns seconds and counts."""
    catalog = simulate(items)
    counts = np.unique(pack(catalog.codes), return_counts=True)[1]
    started = time.perf_counter()
    made = resolve(
        catalog.codes,
        catalog.popularity,
        np.zeros(0, np.int64),
        1,
        catalog.centroids,
        catalog.vectors,
    )
    seconds = time.perf_counter() - started
    if len(np.unique(pack(made.sids))) != items or made.without_room.any():
        raise SystemExit("Some items still share a SID.")
    moved = made.extra_error[made.moved]
    return {
        "seconds": seconds,
        "colliding": 1 - float((counts == 1).sum()) / items,
        "moved": len(moved),
        "extra_error": float(moved.mean()),
    }


def plain(catalog: Catalog) -> list[tuple[int, ...]]:
    """The SIDs, item by item, from all distances in float64."""
    vectors = np.concatenate(list(catalog.vectors(np.arange(len(catalog.codes)))))
    order = sorted(range(len(vectors)), key=lambda row: (-catalog.popularity[row], row))
    taken: Counter[tuple[int, ...]] = Counter()
    sids: dict[int, tuple[int, ...]] = {}
    for row in order:
        sid = tuple(catalog.codes[row].tolist())
        if not taken[sid]:
            sids[row] = sid
            taken[sid] += 1
    thirds = catalog.centroids[2].astype(np.float64)
    for row in (row for row in order if row not in sids):
        first, second, _ = catalog.codes[row].tolist()
        residual = vectors[row] - catalog.centroids[0][first] - catalog.centroids[1][second]
        apart = ((residual.astype(np.float64) - thirds) ** 2).sum(axis=1)
        near = np.argsort(apart, kind="stable")
        code = next(code for code in near.tolist() if not taken[first, second, code])
        sids[row] = (first, second, code)
        taken[sids[row]] += 1
    return [sids[row] for row in range(len(vectors))]


def compare_with_plain() -> tuple[float, float]:
    """Both programs on the same items; returns their seconds."""
    catalog = simulate(PLAIN_ITEMS)
    arguments = catalog.codes, catalog.popularity, np.zeros(0, np.int64), 1, catalog.centroids
    started = time.perf_counter()
    sids = resolve(*arguments, catalog.vectors).sids
    ours = time.perf_counter() - started
    started = time.perf_counter()
    expected = plain(catalog)
    if list(map(tuple, sids.tolist())) != expected:
        raise SystemExit("The plain program gives other SIDs.")
    return ours, time.perf_counter() - started


def main(million: int) -> None:
    """Print what was measured in words, then as one JSON object."""
    ours, theirs = in_own_process(compare_with_plain).result
    print(
        f"{PLAIN_ITEMS:,} items: {ours:.1f} s; a plain program takes {theirs:.1f} s and gives the "
        "same SIDs."
    )
    small, large = in_own_process(resolved, 100_000), in_own_process(resolved, million)
    for items, run in ((100_000, small), (million, large)):
        made = run.result
        print(
            f"{items:,} items, {made['colliding']:.0%} of them colliding: {made['seconds']:.0f} s; "
            f"{made['moved']:,} moved, at {made['extra_error']:.3f} more relative error on "
            f"average; peak memory {run.peak_rss_mb:,.0f} MB."
        )
    print(
        json.dumps(
            {
                "seconds_100k": round(small.result["seconds"], 1),
                "seconds_1m": round(large.result["seconds"], 1),
                "peak_rss_mb": round(max(small.peak_rss_mb, large.peak_rss_mb)),
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
