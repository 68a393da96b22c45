"""The demo's embedder: hashed character n-grams. No model, no download, any script."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sid_assets.core.embedders import Embedded, Memory, TokenCounts
from sid_assets.core.schema import EMBEDDING_DIM
from sid_assets.core.store.provenance import EmbeddingSpace

NGRAMS = (2, 4)
"""Shortest and longest n-gram, in characters; n-grams do not cross word boundaries."""


HASHING = "hashing"
"""Name of this embedder in an embedding space."""


class HashedWordsEmbedder:
    """Counts of character n-grams, hashed to signed features (scikit-learn's HashingVectorizer).

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
        from sklearn.feature_extraction.text import HashingVectorizer

        vectors = np.zeros((len(texts), EMBEDDING_DIM), np.float32)
        if texts:
            vectorizer = HashingVectorizer(
                n_features=EMBEDDING_DIM, analyzer="char_wb", ngram_range=NGRAMS
            )
            counts: Any = vectorizer.transform(texts)  # a sparse matrix with L2-normalised rows
            counts.astype(np.float32).toarray(out=vectors)
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
