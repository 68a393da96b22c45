"""How many items keep their codes when a tokenizer is trained again: what helps, and how much.

Trains a tokenizer on the items of a catalog, then another one on a later catalog in which a tenth
of the items is replaced: from the old centroids (warm) or from nothing (scratch). Its centroids are
numbered by the old SIDs (matched) or stay as they are trained (alone). Counted are the items that
are in both catalogs; by chance means codes of the later catalog dealt to these items at random.

    python -m benchmarks.alignment                  # the catalog in SID_TEST_DATA
    python -m benchmarks.alignment --catalog FILE --template TEXT --size 256
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.catalogs import read_texts
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.quantise.align import align
from sid_assets.core.quantise.codebook_size import Method
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.train import TrainingSettings, train
from sid_assets.core.registry.kept_codes import kept_codes

TEMPLATE = "Title: {title}\nDescription: {description}"
REPLACED = 0.1
SEEDS = 3
"""Choices of the items that are replaced; shares are means."""

ALL_ITEMS = 10**9


def two_catalogs(items: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The items of two catalogs of the same size, of which the later replaced a tenth: indices."""
    order = np.random.default_rng(seed).permutation(items)
    size = int(items / (1 + REPLACED))
    return np.sort(order[:size]), np.sort(order[items - size :])


def measure(vectors: np.ndarray, settings: TrainingSettings, seed: int) -> dict[str, Any]:
    """The shares that keep 1, 2 and 3 codes, by how the later tokenizer is made."""
    old, new = two_catalogs(len(vectors), seed)
    both = np.intersect1d(old, new)
    first = train([vectors[old]], settings).centroids
    published = np.zeros((len(vectors), settings.layers), np.uint16)
    published[old] = Encoder(first).encode(vectors[old]).codes
    shares: dict[str, Any] = {}
    for name, start in (("warm", first), ("scratch", None)):
        trained = train([vectors[new]], settings, start=start)
        rows = new[trained.sample_rows]
        known = np.isin(rows, both)
        matched = align(trained.centroids, trained.sample_codes[known], published[rows[known]])
        for how, centroids in (("matched", matched.centroids), ("alone", trained.centroids)):
            codes = Encoder(centroids).encode(vectors[both]).codes.astype(np.uint16)
            kept = kept_codes(published[both], codes)
            shares[f"{name}, {how}"] = kept.kept
            if (name, how) == ("warm", "matched"):
                shares["chance"] = kept.chance
        shares[f"{name}, error"] = trained.figures["layers"][-1]["held_out"]["relative_error"]
    return shares


def main() -> None:
    """Print a table and, on the last line, the figures as one JSON object."""
    tests = os.environ.get("SID_TEST_DATA", "")
    there = str(Path(tests) / "amazon_office" / "catalog.parquet") if tests else None
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--catalog", default=there, required=there is None)
    parser.add_argument("--template", default=TEMPLATE)
    parser.add_argument("--size", type=int, default=256, help="centroids per layer")
    arguments = parser.parse_args()
    texts = read_texts(arguments.catalog, arguments.template, ALL_ITEMS)
    vectors = HashedWordsEmbedder().embed(texts).vectors
    old, new = two_catalogs(len(vectors), 0)
    print(
        f"{len(vectors):,} items of {arguments.catalog}, hashed words, 3 x {arguments.size} "
        f"centroids. Each catalog has {len(old):,} items; {len(np.intersect1d(old, new)):,} are in "
        f"both. Means of {SEEDS} choices of the items that are replaced."
    )
    print("| method | centroids | keep 1 / 2 / 3 codes | held-out error |\n|---|---|---|---|")
    found: dict[str, dict[str, Any]] = {}
    for method in get_args(Method):
        settings = TrainingSettings(method, codebook_size=arguments.size, iterations=10, restarts=3)
        runs = [measure(vectors, settings, seed) for seed in range(SEEDS)]
        of = found[method] = {
            name: np.mean([run[name] for run in runs], axis=0) for name in runs[0]
        }
        for name in (
            "warm, matched",
            "warm, alone",
            "scratch, matched",
            "scratch, alone",
            "chance",
        ):
            shares = " / ".join(f"{100 * share:.1f}" for share in of[name])
            error = of.get(f"{name.split(',')[0]}, error")
            shown = "" if error is None else f"{error:.3f}"
            print(f"| {method} | {name} | {shares} % | {shown} |", flush=True)
    print(
        json.dumps(
            {
                method: {name: np.round(value, 4).tolist() for name, value in of.items()}
                for method, of in found.items()
            }
        )
    )


if __name__ == "__main__":
    main()
