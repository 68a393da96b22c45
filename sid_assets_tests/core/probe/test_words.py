"""Words of items, and the tree of a catalog."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid_assets.core.probe.words import SPECIAL_TOKENS, Spelling, Tree

CODES = st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=30)


@given(CODES)
def test_tokens_of_two_places_are_different(codes):
    spelling = Spelling.of_sids(np.array(codes))
    tokens = spelling.tokens()
    assert tokens.min() >= SPECIAL_TOKENS
    assert tokens.max() < spelling.vocabulary_size
    for place in range(3):
        others = np.delete(tokens, place, axis=1)
        assert not np.isin(tokens[:, place], others).any()


@given(CODES, st.integers(0, 5))
def test_dealt_words_are_the_same_words(codes, seed):
    spelling = Spelling.of_sids(np.array(codes))
    dealt = spelling.dealt(seed)
    assert sorted(map(tuple, dealt.words)) == sorted(map(tuple, spelling.words))
    assert dealt.sizes == spelling.sizes


def test_dealing_moves_nearly_all_words():
    spelling = Spelling.of_sids(np.random.default_rng(0).integers(0, 50, (1_000, 3)))
    assert (spelling.dealt(0).words == spelling.words).all(axis=1).mean() < 0.01


@given(CODES, st.lists(st.integers(0, 3), min_size=30, max_size=30))
def test_a_word_stands_for_its_most_popular_item(codes, popular):
    users = np.array(popular[: len(codes)])
    tree = Tree.of(Spelling.of_sids(np.array(codes)), users)
    assert [tuple(word) for word in tree.words] == sorted(set(codes))
    for word, item in zip(tree.words, tree.items, strict=True):
        same = [place for place, code in enumerate(codes) if code == tuple(word)]
        assert item == min(same, key=lambda place: (-users[place], place))
    assert [tuple(tree.words[group]) for group in tree.groups] == codes
    assert tree.find(tree.words).tolist() == list(range(len(tree.words)))


@given(CODES)
def test_what_may_follow_a_prefix(codes):
    tree = Tree.of(Spelling.of_sids(np.array(codes)), np.zeros(len(codes), int))
    for length in range(3):
        prefixes = sorted({code[:length] for code in codes})
        rows, following = tree.following(np.array(prefixes).reshape(len(prefixes), length))
        found = set(zip(rows.tolist(), following.tolist(), strict=True))
        assert found == {(prefixes.index(code[:length]), code[length]) for code in codes}
        assert len(found) == len(rows)


def test_items_are_words_of_one_code():
    tree = Tree.of(Spelling.of_items(4), np.zeros(4, int))
    assert tree.items.tolist() == [0, 1, 2, 3]
    rows, codes = tree.following(np.zeros((1, 0), int))
    assert (rows.tolist(), codes.tolist()) == ([0] * 4, [0, 1, 2, 3])
