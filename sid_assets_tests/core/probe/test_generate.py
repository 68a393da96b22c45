"""Beam search: what it finds is what a plain program finds that looks at every word."""

import numpy as np
import pytest
import torch

from sid_assets.core.probe.decoder import new_decoder
from sid_assets.core.probe.generate import recommend
from sid_assets.core.probe.words import START, Spelling, Tree
from sid_assets_tests.core.probe.random_rows import lists_of, random_rows


def probabilities(decoder, spelling, tree, history):
    """The logarithm of the probability of each word of the tree after a history."""
    decoder.eval()
    before = [START, *spelling.tokens()[history].reshape(-1).tolist()]
    found = np.zeros(len(tree.words))
    for number, word in enumerate(tree.words):
        tokens = [*before, *(word + np.array(spelling.starts))]
        with torch.inference_mode():
            logits = decoder(torch.tensor([tokens])).logits[0].double()
        for place, code in enumerate(word):
            start = spelling.starts[place]
            of_place = logits[len(before) - 1 + place, start : start + spelling.sizes[place]]
            found[number] += float(of_place.log_softmax(0)[code])
    return found


def strong_decoder(spelling: Spelling):
    """A decoder whose probabilities differ: new weights are nearly indifferent."""
    decoder = new_decoder(spelling, seed=1)
    with torch.no_grad():
        decoder.lm_head.weight *= 20
    return decoder


@pytest.mark.parametrize("depth", [3, 1])
def test_with_a_beam_for_each_word_all_words_are_ranked(depth):
    draw = np.random.default_rng(0)
    spelling = Spelling.of_sids(draw.integers(0, 4, (18, 3)))
    if depth == 1:
        spelling = Spelling.of_items(18)
    tree = Tree.of(spelling, np.zeros(18, int))
    decoder = strong_decoder(spelling)
    rows = random_rows(9, 18, seed=0)
    found = recommend(decoder, spelling, tree, rows.histories, beams=20)
    for row in range(9):
        wanted = probabilities(decoder, spelling, tree, rows.histories[row])
        named = found[row][found[row] >= 0]
        assert sorted(named) == list(range(len(tree.words)))
        assert np.all(np.diff(wanted[named]) < 1e-4)
        assert (found[row][len(tree.words) :] == -1).all()


def test_each_step_keeps_the_most_probable_prefixes():
    draw = np.random.default_rng(1)
    spelling = Spelling.of_sids(draw.integers(0, 6, (80, 3)))
    tree = Tree.of(spelling, np.zeros(80, int))
    decoder = strong_decoder(spelling)
    [found] = recommend(decoder, spelling, tree, lists_of([[3, 1, 4]]), beams=5)
    wanted = probabilities(decoder, spelling, tree, np.array([3, 1, 4]))
    assert len(set(found.tolist())) == 5
    assert np.all(np.diff(wanted[found]) < 1e-4)
    assert found[0] == wanted.argmax()


def test_a_row_does_not_depend_on_the_others():
    spelling = Spelling.of_sids(np.random.default_rng(2).integers(0, 6, (60, 3)))
    tree = Tree.of(spelling, np.zeros(60, int))
    decoder = strong_decoder(spelling)
    rows = random_rows(30, 60, seed=3)
    together = recommend(decoder, spelling, tree, rows.histories)
    alone = recommend(decoder, spelling, tree, rows.histories.take(np.array([7])))
    assert together[7].tolist() == alone[0].tolist()
