"""Embedding texts with Qwen3Embedder and with sentence-transformers: items per second, padding.

    python -m benchmarks.embed [--catalog FILE] [--template TEXT] [--items N]
    python -m benchmarks.embed --device cuda

The model is small: one layer of Qwen3 with the width of Qwen3-Embedding-8B, seeded random weights,
and a vocabulary of 8,000 merges trained on the texts, which splits them about as finely as Qwen's.
The reference is a plain call of `SentenceTransformer.encode` on the same texts and threads, with
its best batch size and with its default. The benchmark reports how close their vectors are.

With `--device`, it measures instead how fast a model of the size of Qwen3-Embedding-8B runs there
(`benchmarks.model_speed`).
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from benchmarks.catalogs import read_texts
from benchmarks.measure import in_own_process, median_seconds_in_turns
from benchmarks.model_speed import describe, model_speed
from benchmarks.refresh import refresh_share
from sid_assets import sample
from sid_assets.core.embedders import Embedded
from sid_assets.core.embedders.qwen3 import MAX_LENGTH, Qwen3Embedder
from tools.small_qwen3 import save_model, save_tokenizer, small_tokenizer

TEMPLATE = "Title: {title}\nDescription: {description}"
BATCH_SIZES = (8, 16, 32, 64)
DEFAULT_BATCH_SIZE = 32
MERGES = 8000


@dataclass(frozen=True)
class Reference:
    """sentence-transformers at a batch size: median seconds, and share of padding."""

    batch_size: int
    seconds: float
    padding: float


def save_small_model(folder: Path, texts: list[str]) -> None:
    """Save the model, with a vocabulary trained on the texts."""
    tokenizer = small_tokenizer(texts, merges=MERGES)
    save_tokenizer(tokenizer, folder)
    save_model(folder, tokenizer)


def padding_of(model: SentenceTransformer, texts: list[str], batch_size: int) -> float:
    """The share of padding when `encode` embeds texts."""
    positions = padding = 0

    def count(module: torch.nn.Module, inputs: tuple[dict[str, torch.Tensor], ...]) -> None:
        nonlocal positions, padding
        mask = inputs[0]["attention_mask"]
        positions += mask.numel()
        padding += int((mask == 0).sum())

    hook = model[0].register_forward_pre_hook(count)
    model.encode(texts, batch_size=batch_size)
    hook.remove()
    return padding / positions


def measure(
    embedder: Qwen3Embedder, model: SentenceTransformer, texts: list[str]
) -> tuple[float, list[Reference]]:
    """Median seconds of the embedder, and of the reference at each batch size.

    They take turns, so that a temporary slowdown of the machine affects all of them. Counting the
    padding warms up the reference.
    """
    padding = {size: padding_of(model, texts, size) for size in BATCH_SIZES}
    runs: dict[int, Callable[[], object]] = {0: lambda: embedder.embed(texts)}
    for size in BATCH_SIZES:
        runs[size] = partial(model.encode, texts, batch_size=size)
    seconds = median_seconds_in_turns(runs)
    references = [Reference(size, seconds[size], padding[size]) for size in BATCH_SIZES]
    return seconds[0], references


def embed_alone(folder: str, texts: list[str]) -> Embedded:
    """Load the model and embed texts, in a separate process."""
    return Qwen3Embedder(folder, device="cpu").embed(texts)


def main() -> None:
    """Measure, print the results as text, and print one JSON object."""
    parser = argparse.ArgumentParser(
        description="Speed and padding of embedding, compared with sentence-transformers."
    )
    parser.add_argument("--catalog", default=str(sample.CATALOG))
    parser.add_argument("--template", default=TEMPLATE)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--refreshed-items", type=int, default=20_000)
    parser.add_argument("--device", help="measure a large model with random weights there")
    arguments = parser.parse_args()
    if arguments.device:
        figures = model_speed(arguments.device)
        print(describe(figures))
        print(json.dumps(figures))
        return

    texts = read_texts(arguments.catalog, arguments.template, arguments.items)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "small-qwen3"
        save_small_model(folder, texts)
        embedder = Qwen3Embedder(str(folder), device="cpu")
        embedded = embedder.embed(texts)  # also warms it up
        model = SentenceTransformer(str(folder), device="cpu")
        model.max_seq_length = MAX_LENGTH
        expected = model.encode(texts[:100])
        seconds, references = measure(embedder, model, texts)
        memory = in_own_process(embed_alone, str(folder), texts)
        share = refresh_share(
            embedder, read_texts(arguments.catalog, arguments.template, arguments.refreshed_items)
        )
        embedder.close()

    cosine = float((embedded.vectors[:100] * expected).sum(axis=1).min())
    best = min(references, key=lambda reference: reference.seconds)
    default = next(r for r in references if r.batch_size == DEFAULT_BATCH_SIZE)
    items_per_s = len(texts) / seconds
    print(
        f"{len(texts):,} texts of {Path(arguments.catalog).name}, {embedded.tokens:,} tokens "
        f"({embedded.tokens / len(texts):.0f} per text), on {torch.get_num_threads()} threads, in "
        f"float32. Medians of three. Lowest cosine of the two programs' vectors: {cosine:.6f}."
    )
    print(
        f"Qwen3Embedder: {items_per_s:.1f} items/s, {embedded.tokens / seconds:,.0f} tokens/s, "
        f"padding {embedded.padding:.1%}, peak RSS {memory.peak_rss_mb:,.0f} MB."
    )
    for r in references:
        print(
            f"sentence-transformers, batch size {r.batch_size}: {len(texts) / r.seconds:.1f} "
            f"items/s, {embedded.tokens / r.seconds:,.0f} tokens/s, padding {r.padding:.1%}."
        )
    print(
        f"{best.seconds / seconds:.2f} times as fast as its best batch size ({best.batch_size}), "
        f"{default.seconds / seconds:.2f} times as fast as its default ({DEFAULT_BATCH_SIZE})."
    )
    figures = {
        "items_per_s": items_per_s,
        "reference_items_per_s": len(texts) / best.seconds,
        "speedup": best.seconds / seconds,
        "speedup_default": default.seconds / seconds,
        "padding": embedded.padding,
        "reference_padding": best.padding,
        "refresh_share": share,
        "peak_rss_mb": memory.peak_rss_mb,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
