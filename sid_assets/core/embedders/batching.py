"""Which texts share a batch: each once, those of a length together, batches filled by tokens."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from sid_assets.core.embedders.text_tokenizer import Tokenized

WINDOW_TEXTS = 1024
WINDOW_CHARACTERS = 2_000_000
"""Texts that are tokenised, and sorted by their tokens, together: at most so many, and so long in
all (the tokenizer takes some 100 bytes a token for a while)."""

MOST_PADDING = 0.02
PADDED_TOKENS = 1024
"""A batch of more tokens than these has no larger share of padding. A smaller one has what it has:
reading the weights would cost more than the padding that is saved."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The different texts in order of appearance, and for each text (int64) which one it is."""
    first: dict[str, int] = {}
    which = np.fromiter((first.setdefault(t, len(first)) for t in texts), np.int64, len(texts))
    return list(first), which


def tokenised_windows(
    texts: Sequence[str], tokenise: Callable[[list[str]], Tokenized]
) -> Iterator[tuple[np.ndarray, Tokenized]]:
    """Tokenise texts in windows of like length, the next window while the caller uses this one.

    Yields:
        The positions in `texts` (int64) and the tokens of the texts there, most tokens first: what
        needs the most memory comes first, so that it fails early if it must.
    """
    characters = np.fromiter((len(text) for text in texts), np.int64, len(texts))
    order = np.argsort(-characters, kind="stable")

    def tokenise_window(window: np.ndarray) -> tuple[np.ndarray, Tokenized]:
        tokenized = tokenise([texts[int(i)] for i in window])
        longest_first = np.argsort(-tokenized.lengths, kind="stable")
        return window[longest_first], tokenized.take(longest_first)

    yield from _one_ahead(tokenise_window, _windows(order, characters[order]))


def rows_that_fit(longest: int, budget: int) -> int:
    """How many rows of a batch, padded to the longest, stay within a token budget; 1 or more."""
    return max(1, budget // longest)


def rows_of_batch(lengths: np.ndarray, budget: int) -> int:
    """How many texts go into a batch, 1 or more: what the budget and the padding allow.

    Args:
        lengths: Tokens of the texts, int64, most first.
        budget: Tokens of the batch, padding included.
    """
    longest = int(lengths[0])
    rows = min(rows_that_fit(longest, budget), len(lengths))
    sizes = np.arange(1, rows + 1) * longest
    padding = 1 - np.cumsum(lengths[:rows]) / sizes
    return max(1, int(((padding <= MOST_PADDING) | (sizes <= PADDED_TOKENS)).sum()))


def _windows(order: np.ndarray, characters: np.ndarray) -> Iterator[np.ndarray]:
    """Cut positions into windows, given how long the text at each is."""
    ends = np.cumsum(characters)
    start = 0
    while start < len(order):
        limit = ends[start] - characters[start] + WINDOW_CHARACTERS
        stop = int(np.searchsorted(ends, limit, side="right"))
        stop = min(max(stop, start + 1), start + WINDOW_TEXTS)
        yield order[start:stop]
        start = stop


def _one_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """As `map`, with the next result computed in a thread while the caller uses this one."""
    with ThreadPoolExecutor(1) as thread:
        pending = None
        for item in items:
            following = thread.submit(function, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
