"""Whether an embedder still gives the vectors it gave: fixed texts, embedded again.

A name does not pin what answers to it. A server may be started with another model or pooling, a
model quantised, a tokenizer changed, all under the same name.

It sees other weights, another pooling or tokenizer, special tokens or an instruction added or left
out, and weights in 4 bits. It does not see what moves vectors as little as rounding does, as
weights in 8 bits may; nor what happens only to texts longer than the longest probe, of some 180
tokens, as where a server that is sent texts begins to cut them shorter. A longer probe would see
some of that, but make each run on a CPU wait for it.

Vectors are kept as sketches: 64 random projections of each, 1.4 kB for all texts. The squared
distance of two sketches estimates that of the vectors with a relative standard deviation of
sqrt(2 / 64), about 18 % (Johnson-Lindenstrauss, with signs: Achlioptas 2003).
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
"""Texts of several scripts and lengths. Changing them makes sketches of before incomparable."""

SKETCH_WIDTH = 64

SAME_COSINE = 0.998
"""The least cosine of a text's vectors then and now.

The same model in bfloat16 and in float32, or in batches of other shapes, stays above 0.999. Eight
sketches take 0.999 for less than 0.998 once in 30,000 trials. Other weights, pooling or special
tokens, or weights in 4 bits, give cosines below; weights in 8 bits may stay above.
"""

_log = logging.getLogger(__name__)


def probe(embedder: Embedder) -> dict[str, Any]:
    """Embed the probe texts: what to store with a space, as JSON takes it.

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
    """Compare what `probe` returned then and now.

    Raises:
        InputError: A probe text gets another vector than it got.
    """
    if stored["texts"] != now["texts"]:
        _log.warning("The stored probe vectors are of other texts, and cannot be compared.")
        return
    distances = ((_sketches(stored) - _sketches(now)) ** 2).sum(axis=1)
    cosines = 1 - distances / 2
    changed = int((cosines < SAME_COSINE).sum())
    if changed:
        raise InputError(
            f"The embedder no longer gives the vectors it gave: {changed} of {len(PROBES)} probe "
            f"texts have other ones (cosine down to about {cosines.min():.3f}; the same model "
            f"gives at least {SAME_COSINE}). The model, the server, its pooling or its "
            "quantisation has changed under the same name. Restore it. Or start afresh, since its "
            "vectors cannot be mixed with the stored ones: with another SID_DATA_DIR; or with "
            "new_generation and another SID_EMBEDDING_REVISION, or, of a folder, which has no "
            "revision, another name of the folder."
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
