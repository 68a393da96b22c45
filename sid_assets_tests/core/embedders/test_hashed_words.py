"""The hashing embedder: a unit vector for any text, whatever the texts around it."""

import pickle

import numpy as np

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
