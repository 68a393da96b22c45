"""How many items share their SID, by the number of centroids per layer of the tokenizer.

Embeds items with hashed words, like the demo, trains tokenizers of several sizes on them, and
quantises the same items. By default, the items are the sample's films. The size that is chosen if
`SID_CODEBOOK_SIZE` is not set is marked with a star.

    python -m benchmarks.codebook_size
    python -m benchmarks.codebook_size --method kmeans --items 500
    python -m benchmarks.codebook_size --catalog FILE --template TEXT --items 2000
"""

import argparse
import json
from typing import Any, get_args

import numpy as np

from benchmarks.catalogs import read_texts
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.quantise.codebook_size import Method, chosen_codebook_size, rows_held_out
from sid_assets.core.quantise.residual_kmeans import Encoder
from sid_assets.core.quantise.train import TrainingSettings, train
from sid_assets.core.sids.spelling import pack
from sid_assets.sample import CATALOG
from sid_assets.settings import DEFAULT_TEMPLATE

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)


def measure(vectors: np.ndarray, method: Method, codebook_size: int) -> dict[str, Any]:
    """Train a tokenizer, quantise the same vectors, and count collisions."""
    settings = TrainingSettings(method, codebook_size=codebook_size, iterations=10, restarts=3)
    trained = train([vectors], settings)
    codes = Encoder(trained.centroids).encode(vectors).codes
    _, sizes = np.unique(pack(codes), return_counts=True)
    last = trained.figures["layers"][-1]
    return {
        "colliding_share": float(sizes[sizes > 1].sum() / len(vectors)),
        "codes_in_use": [len(np.unique(codes[:, layer])) for layer in range(codes.shape[1])],
        "error": last["trained"]["relative_error"],
        "held_out_error": last["held_out"]["relative_error"],
    }


def main() -> None:
    """Print a table and, on the last line, the figures as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalog", default=str(CATALOG))
    parser.add_argument("--template", default=DEFAULT_TEMPLATE)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--method", choices=get_args(Method), default="balanced")
    arguments = parser.parse_args()
    template = arguments.template.replace("\\n", "\n")
    texts = read_texts(arguments.catalog, template, arguments.items)
    vectors = HashedWordsEmbedder().embed(texts).vectors
    print(f"{len(vectors):,} items of {arguments.catalog}, hashed words, {arguments.method}")
    chosen = chosen_codebook_size(len(vectors), arguments.method)
    print("| centroids per layer | items that share their SID | codes in use | error, held out |")
    print("|---|---|---|---|")
    found = {}
    for size in SIZES:
        if size > len(vectors) - rows_held_out(len(vectors)):
            break
        figures = found[size] = measure(vectors, arguments.method, size)
        in_use = " / ".join(map(str, figures["codes_in_use"]))
        mark = " *" if size == chosen else ""
        print(
            f"| {size:,}{mark} | {figures['colliding_share']:.1%} | {in_use} | "
            f"{figures['error']:.2f}, {figures['held_out_error']:.2f} |",
            flush=True,
        )
    print(json.dumps({"items": len(vectors), "chosen": chosen, "by_codebook_size": found}))


if __name__ == "__main__":
    main()
