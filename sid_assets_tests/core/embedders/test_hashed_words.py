"""The hashing embedder: a unit vector for any text, whatever the texts around it."""

import pickle
import time
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer

from sid_assets.core.embedders import hashed_words
from sid_assets.core.embedders.hashed_words import HashedWordsEmbedder
from sid_assets.core.schema import EMBEDDING_DIM

TEXTS = ["The Third Man", "千与千寻", "a", "🎬", "", " \n", "!!!", "<|endoftext|>", "The Third Man"]


def test_every_text_gets_a_unit_vector() -> None:
    embedded = HashedWordsEmbedder().embed(TEXTS)
    assert embedded.vectors.shape == (len(TEXTS), EMBEDDING_DIM)
    assert embedded.vectors.dtype == np.float32
    assert embedded.vectors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(embedded.vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(embedded.vectors[0], embedded.vectors[-1])


def test_a_vector_depends_on_its_text_alone() -> None:
    together = HashedWordsEmbedder().embed(TEXTS).vectors
    alone = np.concatenate([HashedWordsEmbedder().embed([text]).vectors for text in TEXTS])
    np.testing.assert_array_equal(together, alone)


def test_texts_that_share_words_are_near() -> None:
    vectors = HashedWordsEmbedder().embed(
        ["glitter gel pens", "gel pen tray set", "paper shredder"]
    )
    near, far = vectors.vectors[0] @ vectors.vectors[1:].T
    assert near > 1.5 * far


def test_tokens_are_words() -> None:
    counts = HashedWordsEmbedder().count_tokens(["one two", "", "three"])
    assert counts.lengths.tolist() == [2, 0, 1]
    assert not counts.estimated
    assert HashedWordsEmbedder().embed(["one two", "", "three"]).tokens == 3


def test_no_texts_give_no_vectors() -> None:
    embedded = HashedWordsEmbedder().embed([])
    assert embedded.vectors.shape == (0, EMBEDDING_DIM)
    assert embedded.padding == 0


def test_can_be_sent_to_another_process() -> None:
    embedder = pickle.loads(pickle.dumps(HashedWordsEmbedder()))  # noqa: S301 - our own bytes
    assert embedder.space == HashedWordsEmbedder().space


def by_scikit_learn(texts: list[str]) -> np.ndarray:
    """The same vectors from scikit-learn; the first unit vector for texts without n-grams."""
    vectorizer = HashingVectorizer(n_features=EMBEDDING_DIM, analyzer="char_wb", ngram_range=(2, 4))
    counts: Any = vectorizer.transform(texts)
    vectors = counts.astype(np.float32).toarray()
    vectors[~vectors.any(axis=1), 0] = 1.0
    return vectors


def test_the_vectors_are_those_of_scikit_learn_bit_for_bit() -> None:
    draw = np.random.default_rng(0)
    letters = list("abc XYZ\n\t\u3000ßİé千与🎬\x00\x1c.,-\u00a0\u200b")
    drawn = ["".join(draw.choice(letters, draw.integers(0, 40))) for _ in range(700)]
    long = ["x" * 9000, "ab " * 3000, " ".join(map(str, range(3000))), "千与" * 2000]
    texts = [*TEXTS, *drawn, *long, *TEXTS, "a", "a b", "ab", "abc", "A  B\r\n"]
    assert HashedWordsEmbedder().embed(texts).vectors.tobytes() == by_scikit_learn(texts).tobytes()


def test_texts_are_embedded_in_blocks_that_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"film {number} " * (number % 40) for number in range(300)]
    expected = HashedWordsEmbedder().embed(texts).vectors
    monkeypatch.setattr(hashed_words, "CHARACTERS_AT_ONCE", 100)
    monkeypatch.setattr(hashed_words, "TEXTS_AT_ONCE", 7)
    np.testing.assert_array_equal(HashedWordsEmbedder().embed(texts).vectors, expected)


@pytest.mark.parametrize("text", ["a" * 5_000_000, "two words " * 500_000], ids=["word", "words"])
def test_a_text_of_five_megabytes_takes_seconds(text: str) -> None:
    """Processor time, so that other work on the machine does not count."""
    start = time.process_time()
    HashedWordsEmbedder().embed([text])
    assert time.process_time() - start < 5
