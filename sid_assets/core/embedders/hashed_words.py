"""The demo's embedder: hashed character n-grams. No model, no download, any script."""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from sid_assets.core.embedders import Embedded, Memory, TokenCounts
from sid_assets.core.embedders.murmur import PADDING, murmur3
from sid_assets.core.schema import EMBEDDING_DIM
from sid_assets.core.store.provenance import EmbeddingSpace

NGRAMS = (2, 4)
"""Shortest and longest n-gram, in characters; n-grams do not cross word boundaries."""

TEXTS_AT_ONCE = 256
CHARACTERS_AT_ONCE = 1 << 18

HASHING = "hashing"
"""Name of this embedder in an embedding space."""


class HashedWordsEmbedder:
    """Counts of character n-grams, hashed to signed features.

    The vectors are those of scikit-learn's HashingVectorizer, computed with whole arrays: time is
    in proportion to the characters, also for a text of megabytes without a space.

    Texts that share words get similar vectors, so codes and collisions look as they would with a
    model. The meaning of words has no effect. Not suitable for OneRec's released tokenizer.
    """

    @property
    def space(self) -> EmbeddingSpace:
        """The space of hashed n-grams; only their lengths define it."""
        shortest, longest = NGRAMS
        return EmbeddingSpace(
            embedder=HASHING,
            model=f"HashingVectorizer(char_wb, {shortest}-{longest})",
            pooling="sum",
            dimension=EMBEDDING_DIM,
        )

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed texts. A token is a word delimited by white space here.

        A text without n-grams (empty or blank) gets the first unit vector.
        """
        vectors = np.zeros((len(texts), EMBEDDING_DIM), np.float32)
        for some in _blocks(texts):
            vectors[some] = _counts(texts[some])
        vectors[~vectors.any(axis=1), 0] = 1.0
        tokens = int(self.count_tokens(texts).lengths.sum())
        return Embedded(vectors, tokens=tokens, padded_tokens=tokens, truncated=0)

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Count the words delimited by white space."""
        lengths = np.fromiter((len(text.split()) for text in texts), np.int64, len(texts))
        return TokenCounts(lengths, truncated=0, estimated=False)

    def memory(self) -> Memory | None:
        """None: there is nothing to load."""
        return None

    def close(self) -> None:
        """Nothing to release."""


def _blocks(texts: Sequence[str]) -> Iterator[slice]:
    """The texts in blocks that bound the memory; a block has at least one text."""
    start, characters = 0, 0
    for position, text in enumerate(texts):
        characters += len(text)
        full = position - start == TEXTS_AT_ONCE or characters > CHARACTERS_AT_ONCE
        if full and position > start:
            yield slice(start, position)
            start, characters = position, len(text)
    yield slice(start, len(texts))


def _counts(texts: Sequence[str]) -> np.ndarray:
    """The signed counts of n-grams with L2 norm 1, float64; zero for a text without n-grams."""
    words = [text.lower().split() for text in texts]
    if not any(words):
        return np.zeros((len(texts), EMBEDDING_DIM))
    joined = f" {' '.join(chain.from_iterable(words))} ".encode()
    data = np.frombuffer(joined + bytes(PADDING), np.uint8)
    encoded = data[: len(joined)]
    starts = np.append(np.flatnonzero(encoded & 0xC0 != 0x80), len(joined))  # of the characters
    is_space = encoded[starts[:-1]] == ord(" ")
    text_of_word = np.repeat(np.arange(len(texts)), [len(some) for some in words])
    word = np.cumsum(is_space) - 1  # a space belongs to the word after it; the last is not used
    counts = np.zeros(len(texts) * EMBEDDING_DIM)
    for length in range(NGRAMS[0], NGRAMS[1] + 1):
        for at in _pieces(_ngrams(is_space, length)):
            hashes = murmur3(data, starts[at], starts[at + length] - starts[at])
            feature = np.abs(hashes.astype(np.int64)) % EMBEDDING_DIM
            place = text_of_word[word[at]] * EMBEDDING_DIM + feature
            counts += np.bincount(place, np.where(hashes >= 0, 1.0, -1.0), len(counts))
    counts = counts.reshape(len(texts), EMBEDDING_DIM)
    norms = np.sqrt(np.square(counts).sum(axis=1, keepdims=True))  # exact: sums of integers
    return np.divide(counts, norms, out=counts, where=norms > 0)


def _ngrams(is_space: np.ndarray, length: int) -> np.ndarray:
    """Where the n-grams of one length begin: only their first and last character may be a space."""
    inside = np.ones(max(len(is_space) - length + 1, 0), bool)
    for character in range(1, length - 1):
        inside &= ~is_space[character : character + len(inside)]
    return np.flatnonzero(inside)


def _pieces(places: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(places), CHARACTERS_AT_ONCE):
        yield places[start : start + CHARACTERS_AT_ONCE]
