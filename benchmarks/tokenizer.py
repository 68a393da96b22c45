"""Training a tokenizer: balanced k-means beside plain k-means, and what it costs at 8192 centroids.

Trains both on the vectors of the sample's films and of a second catalog (`--office`; by default the
one in `SID_TEST_DATA`, else none), with hashed words and, if its package is installed, with a
sentence model (see `sentence_vectors`). Sizes are 128 to 1024 centroids per layer.

Then times one round of one layer at 8192 x 64 vectors x 4096, on random vectors in a process of its
own. Whole trainings of that size are extrapolated from it.

    python -m benchmarks.tokenizer
    python -m benchmarks.tokenizer --sizes 256 --centroids 512
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.catalogs import read_texts
from benchmarks.measure import in_own_process
from benchmarks.sentence_vectors import model_folder, sentence_vectors
from sid_assets.core.arrow.statistics import entropy
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.quality.nearest import nearest_items
from sid_assets.core.quality.neighbours import NEIGHBOURS, measure_neighbours
from sid_assets.core.quality.sample import QUERIES
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.torch_kmeans import start_rows, torch_kmeans
from sid_assets.core.quantise.train import TrainingSettings, train
from sid_assets.core.sids.spelling import pack
from sid_assets.sample import CATALOG
from sid_assets.settings import DEFAULT_TEMPLATE

SIZES = (128, 256, 512, 1024)
METHODS = ("kmeans", "balanced")
OFFICE_TEMPLATE = "Title: {title}\nDescription: {description}"
POINTS, DIM = 64, 4096
ROUNDS, LAYERS = 20, 3
"""Of a whole training in the deployment `onerec`."""

ALL_ITEMS = 10**9
REPORTED_SIZE = 256


def catalogs(office: str) -> Iterator[tuple[str, list[str]]]:
    """The texts of each catalog, by name."""
    yield "demo", read_texts(str(CATALOG), DEFAULT_TEMPLATE, ALL_ITEMS)
    if office:
        yield "office", read_texts(office, OFFICE_TEMPLATE, ALL_ITEMS)


def vectors_of_texts(texts: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The vectors of the texts, by the name of what made them."""
    yield "hashed words", HashedWordsEmbedder().embed(texts).vectors
    if folder := model_folder():
        yield "sentence model", sentence_vectors(texts, folder)


def measure(vectors: np.ndarray, near: "Nearest", method: Any, size: int) -> dict[str, Any]:
    """Train a tokenizer, quantise the same vectors, and measure the codes."""
    settings = TrainingSettings(method, codebook_size=size, iterations=10, restarts=3)
    started = time.perf_counter()
    trained = train([vectors], settings)
    seconds = time.perf_counter() - started
    codes = Encoder(trained.centroids).encode(vectors).codes
    _, sizes = np.unique(pack(codes), return_counts=True)
    equal = equal_chances(len(vectors), size)
    return {
        "shared": float(sizes[sizes > 1].sum() / len(vectors)),
        "perplexity_shares": [perplexity(layer, size) / equal for layer in codes.T],
        "held_out": trained.figures["layers"][-1]["held_out"]["relative_error"],
        "neighbours": near.found_by(codes),
        "seconds": seconds,
    }


def perplexity(codes: np.ndarray, size: int) -> float:
    """How many codes would give the entropy of these if all were used equally."""
    return float(np.exp(entropy(np.bincount(codes, minlength=size))))


def equal_chances(items: int, size: int) -> float:
    """The perplexity of codes that are drawn with equal chances, mean of twenty draws."""
    rng = np.random.default_rng(0)
    draws = (perplexity(rng.integers(size, size=items), size) for _ in range(20))
    return sum(draws) / 20


class Nearest:
    """The ten nearest items, by vector, of some items (the queries)."""

    def __init__(self, vectors: np.ndarray) -> None:
        drawn = np.random.default_rng(0).permutation(len(vectors))[:QUERIES]
        self.queries = np.sort(drawn)
        self.neighbours = nearest_items(vectors, self.queries, NEIGHBOURS)

    def found_by(self, codes: np.ndarray) -> list[float]:
        """How many of the ten stand among the first 10, 30 and 100 items by shared prefix."""
        return list(measure_neighbours(codes, self.queries, self.neighbours).found)


def one_round(centroids: int) -> dict[str, float]:
    """One round of one layer of balanced k-means on random vectors."""
    rng = np.random.default_rng(0)
    vectors = np.empty((centroids * POINTS, DIM), np.float32)
    spread = np.arange(1, DIM + 1, dtype=np.float32) ** -0.5
    for start in range(0, len(vectors), 4096):
        some = vectors[start : start + 4096]
        rng.standard_normal(some.shape, np.float32, out=some)
        some *= spread
    started = time.perf_counter()
    torch_kmeans(vectors, start_rows(vectors, centroids, rng), 1, 1.5, rng, "cpu")
    return {"seconds": time.perf_counter() - started}


def better(of: dict[str, dict[str, Any]]) -> list[bool]:
    """Whether balanced shares fewer SIDs, reconstructs as well, and finds as many neighbours."""
    plain, balanced = of["kmeans"], of["balanced"]
    return [
        balanced["shared"] < plain["shared"],
        balanced["held_out"] <= 1.05 * plain["held_out"],
        *(b >= a for a, b in zip(plain["neighbours"], balanced["neighbours"], strict=True)),
    ]


def main() -> None:
    """Print a table and, on the last line, the figures as one JSON object."""
    tests = os.environ.get("SID_TEST_DATA", "")
    there = tests and str(Path(tests) / "amazon_office" / "catalog.parquet")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--office", default=there, help="a second catalog")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--centroids", type=int, default=8192, help="of the round that is timed")
    options = parser.parse_args()
    print(
        "| items, vectors | centroids | method | items that share their SID | perplexity / equal "
        "chances | held-out error | neighbours@10 among 10 / 30 / 100 | seconds |\n" + "|---" * 8,
        end="|\n",
    )
    reported: dict[str, Any] = {}
    for catalog, texts in catalogs(options.office):
        for kind, vectors in vectors_of_texts(texts):
            near = Nearest(vectors)
            for size in options.sizes:
                of = {method: measure(vectors, near, method, size) for method in METHODS}
                for method, found in of.items():
                    print(line(f"{len(texts):,} {catalog}, {kind}", size, method, found))
                print("", better(of), flush=True)
                if (catalog, kind, size) == ("office", "hashed words", REPORTED_SIZE):
                    reported = of
    round_ = in_own_process(one_round, options.centroids)
    seconds = round_.result["seconds"] * (8192 / options.centroids) ** 2
    print(
        f"one round of one layer, {options.centroids:,} centroids, {POINTS} vectors for each: "
        f"{round_.result['seconds']:.0f} s, {round_.peak_rss_mb:,.0f} MB. Extrapolated: "
        f"{ROUNDS} rounds of {LAYERS} layers of 8192 centroids take "
        f"{seconds * ROUNDS * LAYERS / 3600:.1f} hours on this machine."
    )
    summary = {"round_seconds_8192": seconds, "peak_rss_mb": round_.peak_rss_mb}
    if reported:
        plain, balanced = reported["kmeans"], reported["balanced"]
        summary |= {
            "shared_kmeans": plain["shared"],
            "shared_balanced": balanced["shared"],
            "perplexity_share": min(balanced["perplexity_shares"]),
            "held_out_ratio": balanced["held_out"] / plain["held_out"],
        }
    print(json.dumps({name: round(value, 4) for name, value in summary.items()}))


def line(items: str, size: int, method: str, found: dict[str, Any]) -> str:
    """A row of the table."""
    shares = " / ".join(f"{share:.2f}" for share in found["perplexity_shares"])
    neighbours = " / ".join(f"{count:.2f}" for count in found["neighbours"])
    return (
        f"| {items} | {size:,} | {method} | {found['shared']:.1%} | {shares} | "
        f"{found['held_out']:.3f} | {neighbours} | {found['seconds']:.0f} |"
    )


if __name__ == "__main__":
    main()
