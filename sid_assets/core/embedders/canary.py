"""Check that an embedder still gives the same vectors: embed fixed texts again and compare.

A name does not pin the model behind it. Under the same name, a server can be started with another
model or pooling, a model can be quantised, a tokenizer can change.

The check detects other weights, another pooling or tokenizer, special tokens or an instruction
added or left out, and 4-bit weights. It does not detect changes as small as rounding, such as some
8-bit weights. Nor does it detect changes that affect only texts longer than the longest probe
(about 180 tokens), such as a server that begins to truncate texts earlier. A longer probe would
detect some of these, but slow down every run on a CPU.

Vectors are stored as sketches: 64 random projections of each, 1.4 kB for all texts. The squared
distance of two sketches estimates that of the vectors with a relative standard deviation of
sqrt(2 / 64), about 18 % (Johnson-Lindenstrauss, with random signs: Achlioptas 2003).
"""

import base64
import hashlib
import logging
from typing import Any

import numpy as np

from sid_assets.core.embedders import Embedder
from sid_assets.core.errors import InputError

PROBES = (
    "test",
    "Title: The Third Man\nDescription: In Vienna after the war, a writer looks for a friend.",
    "标题：千与千寻\n描述：一个女孩走进了神灵的世界，她的父母变成了猪。",
    "Gel pens, set of 12, 0.7 mm, assorted colours (132-14) 🖊️",
    "Пикник на обочине; 風の谷のナウシカ; 기생충; الملاك",
    "<|im_start|>a title that spells <|endoftext|> is a title<|im_end|>",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32",
    " ".join(["A long description says the same thing over and over, in other words."] * 12),
)
"""Texts in several scripts and lengths. If they change, stored sketches cannot be compared."""

SKETCH_WIDTH = 64

SAME_COSINE = 0.998
"""The lowest cosine of a text's vectors, then and now, that counts as unchanged.

The same model in bfloat16 and in float32, or with other batch shapes, stays above 0.999. Eight
sketches mistake 0.999 for less than 0.998 once in 30,000 trials. Other weights, pooling or special
tokens, or 4-bit weights, give lower cosines; 8-bit weights may not.
"""

_log = logging.getLogger(__name__)


def probe(embedder: Embedder) -> dict[str, Any]:
    """Embed the probe texts. The result is stored with a space, as JSON.

    Returns:
        `texts`, a hash of the probe texts; `sketches`, base64 of float16 (texts, 64), row by row.
    """
    vectors = embedder.embed(PROBES).vectors
    sketches = vectors @ _projection(vectors.shape[1])
    return {
        "texts": hashlib.sha256("\0".join(PROBES).encode()).hexdigest()[:16],
        "sketches": base64.b64encode(sketches.astype("<f2").tobytes()).decode(),
    }


def check_canary(stored: dict[str, Any], now: dict[str, Any]) -> None:
    """Compare a stored result of `probe` with a new one.

    Raises:
        InputError: The vector of a probe text has changed.
    """
    if stored["texts"] != now["texts"]:
        _log.warning("The stored probe vectors are of other texts and cannot be compared.")
        return
    distances = ((_sketches(stored) - _sketches(now)) ** 2).sum(axis=1)
    cosines = 1 - distances / 2
    changed = int((cosines < SAME_COSINE).sum())
    if changed:
        raise InputError(
            f"The embedder no longer gives the same vectors: those of {changed} of {len(PROBES)} "
            f"probe texts have changed (cosine down to about {cosines.min():.3f}; the same model "
            f"gives at least {SAME_COSINE}). The model, the server, its pooling or its "
            "quantisation has changed under the same name. Restore it. Or start afresh, because "
            "the new vectors cannot be mixed with the stored ones: set another SID_DATA_DIR; or "
            "run with new_generation and another SID_EMBEDDING_REVISION (a model folder has no "
            "revision: rename it instead)."
        )


def _projection(dimension: int) -> np.ndarray:
    """Random signs, float32 (dimension, 64), the same on every machine and in every release."""
    seed = b"sid_assets canary"
    signs = np.frombuffer(hashlib.shake_256(seed).digest(dimension * SKETCH_WIDTH // 8), np.uint8)
    ones = np.unpackbits(signs).reshape(dimension, SKETCH_WIDTH).astype(np.float32)
    return (2 * ones - 1) / np.float32(np.sqrt(SKETCH_WIDTH))


def _sketches(probed: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(probed["sketches"]), "<f2")
    return values.reshape(-1, SKETCH_WIDTH).astype(np.float32)
