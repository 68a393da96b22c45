"""Windows and batches: every text once, longest first, one window ahead of the caller."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_assets.core.embedders import batching
from sid_assets.core.embedders.batching import (
    MOST_PADDING,
    PADDED_TOKENS,
    distinct,
    rows_of_batch,
    rows_that_fit,
    tokenised_windows,
)
from sid_assets.core.embedders.text_tokenizer import Tokenized

TEXTS = st.lists(st.text("ab 千🎬", max_size=6), max_size=40)


def by_words(texts: list[str]) -> Tokenized:
    """One token more than there are words; the first token identifies the text."""
    lengths = np.array([len(text.split()) + 1 for text in texts], np.int64)
    return Tokenized([[hash(text)] for text in texts], lengths, lengths > 2)


@given(TEXTS)
def test_distinct_texts_and_their_indices(texts: list[str]) -> None:
    different, which = distinct(texts)
    assert [different[i] for i in which] == texts
    assert different == list(dict.fromkeys(texts))


@settings(deadline=None)
@given(TEXTS.map(lambda texts: list(dict.fromkeys(texts))), st.integers(1, 10), st.integers(1, 30))
def test_windows_hold_every_text_once_longest_first(
    texts: list[str], window: int, characters: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "WINDOW_TEXTS", window)
        patch.setattr(batching, "WINDOW_CHARACTERS", characters)
        windows = list(tokenised_windows(texts, by_words))
    seen = [position for positions, _ in windows for position in positions]
    assert sorted(seen) == list(range(len(texts)))
    for positions, tokenized in windows:
        assert 0 < len(positions) <= window
        assert len(positions) == 1 or sum(len(texts[i]) for i in positions) <= characters
        expected = by_words([texts[i] for i in positions])
        assert tokenized.ids == expected.ids
        np.testing.assert_array_equal(tokenized.lengths, expected.lengths)
        np.testing.assert_array_equal(tokenized.cut, expected.cut)
        assert (np.diff(tokenized.lengths) <= 0).all()


def test_the_next_window_is_tokenised_while_the_current_one_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "WINDOW_TEXTS", 1)
    tokenised = [threading.Event() for _ in range(3)]
    started = iter(tokenised)

    def tokenise(texts: list[str]) -> Tokenized:
        next(started).set()
        return by_words(texts)

    windows = tokenised_windows(["aaa", "bb", "c"], tokenise)
    next(windows)
    assert tokenised[1].wait(timeout=10)
    assert not tokenised[2].is_set(), "no more than one window ahead"
    next(windows)
    assert tokenised[2].wait(timeout=10)


def test_an_error_of_the_tokenizer_reaches_the_caller() -> None:
    def tokenise(texts: list[str]) -> Tokenized:
        raise ValueError("no such byte")

    with pytest.raises(ValueError, match="no such byte"):
        list(tokenised_windows(["a"], tokenise))


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_batch_stays_within_its_budget_or_has_one_row(longest: int, budget: int) -> None:
    rows = rows_that_fit(longest, budget)
    assert rows == 1 or rows * longest <= budget
    assert (rows + 1) * longest > budget


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=300), st.integers(1, 20_000))
def test_a_batch_is_as_large_as_budget_and_padding_allow(lengths: list[int], budget: int) -> None:
    longest_first = np.sort(np.array(lengths, np.int64))[::-1]
    rows = rows_of_batch(longest_first, budget)

    def allowed(rows: int) -> bool:
        size = rows * int(longest_first[0])
        padding = 1 - int(longest_first[:rows].sum()) / size
        return size <= budget and (padding <= MOST_PADDING or size <= PADDED_TOKENS)

    assert rows == 1 or allowed(rows)
    assert rows == len(lengths) or not allowed(rows + 1)
