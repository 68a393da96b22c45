"""Speed and exactness of quantising, compared with a plain float32 program on the same files.

Simulates vectors and a tokenizer, then goes from parquet to parquet twice: with this package, and
with a straightforward reference (the whole file through pandas, `addmm` and `argmin` in float32).
Also times the three float32 matrix products alone, and the coarse product of vectors that are on
the device: `coarse_tflops` is its speed with the search for candidates, `product_tflops` without.

    python -m benchmarks.quantise
    python -m benchmarks.quantise --rows 100000 --spectrum isotropic
    python -m benchmarks.quantise --rows 100000 --device cuda

With `--device`, this package uses that device; the reference and its products stay on the CPU.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.gpu import device_name, in_percent, seconds_on, share_of_peak
from benchmarks.measure import in_own_process, median_seconds_in_turns
from sid_assets.core.arrow.vectors import vector_array, vectors_of
from sid_assets.core.quantise.checkpoint import load_checkpoint, save_checkpoint
from sid_assets.core.quantise.nearest_centroid import (
    NearestCentroid,
    coarse_dtype,
    exactly_nearest,
)
from sid_assets.core.quantise.residual_kmeans import BATCH, Encoder
from sid_assets.core.quantise.row_blocks import row_norms
from sid_assets.core.store.parts import VECTOR_ROW_GROUP
from sid_assets.infer_res_kmeans import infer

LAYER_NORMS = (0.7, 0.4, 0.25)
REFERENCE_BATCH = 10_000
COARSE_ROWS = {"cuda": 16_384, "cpu": BATCH}
"""Vectors whose coarse product is timed. On a GPU, more than are encoded at a time: with few,
starting the kernels takes longer than their work."""
COARSE_REPEATS = {"cuda": 20, "cpu": 3}

NOISE = {"clustered": 0.45, "power-law": 1.35, "isotropic": 1.35}
"""Norm of the noise that is added to one centroid of each layer. With much noise, few vectors have
a clearly nearest centroid. The variances fall as 1 / column, except for `isotropic`."""


def simulate(folder: Path, rows: int, codebook: int, dim: int, spectrum: str) -> None:
    """Write `tokenizer.pt` and `embeddings.parquet`: unit vectors, sums of centroids and noise."""
    rng = np.random.default_rng(0)
    centroids = draw_centroids(rng, codebook, dim, spectrum)
    save_checkpoint(folder / "tokenizer.pt", centroids, {})
    schema = pa.schema([("pid", pa.int64()), ("embedding", pa.list_(pa.float32(), dim))])
    path = folder / "embeddings.parquet"
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        start = 0
        for vectors in draw_vectors(rng, centroids, rows, spectrum):
            pids = pa.array(range(start, start + len(vectors)))
            writer.write_table(pa.table([pids, vector_array(vectors)], schema=schema))
            start += len(vectors)


def draw_centroids(rng: np.random.Generator, codebook: int, dim: int, spectrum: str) -> np.ndarray:
    """Centroids of a tokenizer: float32, shape (3, codebook, dim)."""
    centroids = rng.standard_normal((len(LAYER_NORMS), codebook, dim), np.float32)
    centroids *= _spread(dim, spectrum)
    centroids *= np.array(LAYER_NORMS, np.float32)[:, None, None]
    return centroids


def draw_vectors(
    rng: np.random.Generator, centroids: np.ndarray, rows: int, spectrum: str
) -> Iterator[np.ndarray]:
    """Unit vectors, some at a time: float32, shape (n, dim); together `rows`."""
    _, codebook, dim = centroids.shape
    for start in range(0, rows, VECTOR_ROW_GROUP):
        count = min(VECTOR_ROW_GROUP, rows - start)
        vectors = rng.standard_normal((count, dim), np.float32)
        vectors *= _spread(dim, spectrum) * np.float32(NOISE[spectrum])
        for layer in centroids:
            vectors += layer[rng.integers(codebook, size=count)]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        yield vectors


def _spread(dim: int, spectrum: str) -> np.ndarray:
    """The standard deviation of each column: float32, of norm 1."""
    spread = np.arange(1, dim + 1, dtype=np.float32) ** (0 if spectrum == "isotropic" else -0.5)
    return spread / np.linalg.norm(spread)


def by_sid_assets(folder: Path, device: str = "cpu") -> None:
    """From parquet to parquet with this package."""
    files = (folder / name for name in ("tokenizer.pt", "embeddings.parquet", "codes.parquet"))
    infer(*files, device=device)


def by_reference(folder: Path) -> None:
    """From parquet to parquet in float32, the whole file in memory."""
    state = torch.load(folder / "tokenizer.pt", weights_only=True)["model"]
    centroids = [state[f"centroids.{layer}"] for layer in range(len(state))]
    norms = [layer.square().sum(1) for layer in centroids]
    table = pd.read_parquet(folder / "embeddings.parquet")
    vectors = torch.from_numpy(np.stack(table["embedding"].to_numpy()))
    codes = []
    for residual in vectors.split(REFERENCE_BATCH):
        of_batch = []
        for layer, norm in zip(centroids, norms, strict=True):
            distances = torch.addmm(norm, residual, layer.T, alpha=-2)  # no |x|^2: the same for all
            code = distances.argmin(1)
            residual = residual - layer[code]
            of_batch.append(code)
        codes.append(torch.stack(of_batch, 1))
    table = pd.DataFrame({"pid": table["pid"], "codes": list(torch.cat(codes).numpy())})
    table.to_parquet(folder / "reference.parquet")


def float32_products(vectors: np.ndarray, centroids: np.ndarray) -> None:
    """Only the matrix products of the reference."""
    for batch in torch.from_numpy(vectors).split(REFERENCE_BATCH):
        for layer in centroids:
            torch.mm(batch, torch.from_numpy(layer).T)


def coarse_speed(codebook: np.ndarray, vectors: np.ndarray, device: str) -> dict[str, Any]:
    """TFLOP/s of the coarse product for a batch of vectors, and its share of the card's peak.

    Args:
        codebook: float32, shape (codebook_size, dim).
        vectors: float32, shape (n, dim); the first `COARSE_ROWS` are used.
        device: As torch names it.
    """
    nearest, kind = NearestCentroid(codebook, device), device.partition(":")[0]
    batch = np.ascontiguousarray(vectors[: COARSE_ROWS[kind]])
    operands = nearest.operands(batch, row_norms(batch))
    product = seconds_on(device, lambda: nearest.scores(operands), COARSE_REPEATS[kind])
    coarse = seconds_on(device, lambda: nearest.candidates(operands), COARSE_REPEATS[kind])
    flop = 2 * nearest.scores(operands).numel() * operands.rounded.shape[1]
    return {
        "device": device_name(device),
        "product_tflops": flop / product / 1e12,
        "coarse_tflops": flop / coarse / 1e12,
        "product_peak_share": share_of_peak(flop / product / 1e12, device),
        "coarse_peak_share": share_of_peak(flop / coarse / 1e12, device),
    }


def differences(
    ours: np.ndarray, theirs: np.ndarray, vectors: np.ndarray, centroids: np.ndarray
) -> tuple[int, int]:
    """How many vectors have different codes, and for how many of them ours is farther.

    Compared in exact arithmetic, in the first layer that differs: after it, the residuals are not
    the same.
    """
    rows = np.flatnonzero((ours != theirs).any(axis=1))
    unexplained = 0
    for row in rows:
        layer = int((ours[row] != theirs[row]).argmax())
        residual = vectors[row].copy()
        for before in range(layer):
            residual -= centroids[before][ours[row, before]]
        pair = centroids[layer][[ours[row, layer], theirs[row, layer]]]
        unexplained += exactly_nearest(residual, pair) != 0
    return len(rows), unexplained


def codes_in(path: Path) -> np.ndarray:
    """The codes of a file: int64, shape (n, layers)."""
    return np.stack(pd.read_parquet(path)["codes"].to_numpy())


def main() -> None:
    """Run everything; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--codebook", type=int, default=8192)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--spectrum", choices=list(NOISE), default="clustered")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        simulate(folder, options.rows, options.codebook, options.dim, options.spectrum)
        figures = measure(folder, options.device)
    size = f"{len(LAYER_NORMS)} x {options.codebook} x {options.dim}"
    print(f"{options.rows:,} vectors ({options.spectrum}), tokenizer {size}, float32 on disk")
    print(
        f"{torch.get_num_threads()} threads, coarse product in {coarse_dtype(options.device)} on "
        f"{figures['device']}: {figures['product_tflops']:.3g} TFLOP/s "
        f"({in_percent(figures['product_peak_share'])}), with the search for candidates "
        f"{figures['coarse_tflops']:.3g} ({in_percent(figures['coarse_peak_share'])})"
    )
    print(
        f"this package: {figures['seconds']:.2f} s from parquet to parquet, including "
        f"{figures['compute_seconds']:.2f} s computing; {figures['peak_rss_mb']:.0f} MB\n"
        f"reference: {figures['reference_seconds']:.2f} s ({figures['speedup']:.2f} times as "
        f"long), {figures['reference_peak_rss_mb']:.0f} MB\n"
        f"float32 products alone: {figures['gemm_seconds']:.2f} s ({figures['over_gemm']:.2f} "
        f"times our computing)\n"
        f"codes of {figures['differ']:,} vectors differ; in {figures['differ_unexplained']:,} of "
        "them ours is farther in exact arithmetic"
    )
    print(json.dumps(figures))


def measure(folder: Path, device: str) -> dict[str, Any]:
    """All figures: medians of three runs that take turns, with warm files."""
    centroids = load_checkpoint(folder / "tokenizer.pt").centroids
    vectors = vectors_of(pq.read_table(folder / "embeddings.parquet")["embedding"]).copy()
    encoder = Encoder(centroids, device)
    seconds = median_seconds_in_turns(
        {
            "compute": lambda: encoder.encode(vectors),
            "products": lambda: float32_products(vectors, centroids),
            "ours": lambda: by_sid_assets(folder, device),
            "reference": lambda: by_reference(folder),
        }
    )
    differ, unexplained = differences(
        codes_in(folder / "codes.parquet"),
        codes_in(folder / "reference.parquet"),
        vectors,
        centroids,
    )
    figures = {
        "seconds": seconds["ours"],
        "compute_seconds": seconds["compute"],
        "reference_seconds": seconds["reference"],
        "gemm_seconds": seconds["products"],
        "speedup": seconds["reference"] / seconds["ours"],
        "over_gemm": seconds["products"] / seconds["compute"],
        "differ": differ,
        "differ_unexplained": unexplained,
        "peak_rss_mb": in_own_process(by_sid_assets, folder, device).peak_rss_mb,
        "reference_peak_rss_mb": in_own_process(by_reference, folder).peak_rss_mb,
    }
    figures = {name: round(value, 3) for name, value in figures.items()}
    return figures | coarse_speed(centroids[0], vectors, device)


if __name__ == "__main__":
    main()
