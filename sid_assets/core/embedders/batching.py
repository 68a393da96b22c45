"""How texts are batched: without duplicates, sorted by length, within a token budget."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from sid_assets.core.embedders.text_tokenizer import Tokenized

WINDOW_TEXTS = 1024
WINDOW_CHARACTERS = 2_000_000
"""The most texts, and characters in total, that are tokenised and sorted by length together. The
tokenizer temporarily takes about 100 bytes a token."""

MOST_PADDING = 0.02
PADDED_TOKENS = 1024
"""`MOST_PADDING` limits batches of more tokens than this. Smaller batches may have more padding:
reading the weights once more would cost more than the padding."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The distinct texts in order of appearance, and the index of each text in them (int64)."""
    first: dict[str, int] = {}
    which = np.fromiter((first.setdefault(t, len(first)) for t in texts), np.int64, len(texts))
    return list(first), which


def tokenised_windows(
    texts: Sequence[str], tokenise: Callable[[list[str]], Tokenized]
) -> Iterator[tuple[np.ndarray, Tokenized]]:
    """Tokenise texts in windows of similar length, one window ahead of the caller.

    Yields:
        The positions in `texts` (int64) and the tokens of the texts there, longest first: the
        batches that need the most memory come first, so that a lack of it shows early.
    """
    characters = np.fromiter((len(text) for text in texts), np.int64, len(texts))
    order = np.argsort(-characters, kind="stable")

    def tokenise_window(window: np.ndarray) -> tuple[np.ndarray, Tokenized]:
        tokenized = tokenise([texts[int(i)] for i in window])
        longest_first = np.argsort(-tokenized.lengths, kind="stable")
        return window[longest_first], tokenized.take(longest_first)

    yield from _one_ahead(tokenise_window, _windows(order, characters[order]))


def rows_that_fit(longest: int, budget: int) -> int:
    """How many rows, padded to the longest, fit into a token budget; at least 1."""
    return max(1, budget // longest)


def rows_of_batch(lengths: np.ndarray, budget: int) -> int:
    """How many texts go into a batch, given the budget and the padding limit; at least 1.

    Args:
        lengths: Tokens of the texts, int64, in descending order.
        budget: Tokens of the batch, including padding.
    """
    longest = int(lengths[0])
    rows = min(rows_that_fit(longest, budget), len(lengths))
    sizes = np.arange(1, rows + 1) * longest
    padding = 1 - np.cumsum(lengths[:rows]) / sizes
    return max(1, int(((padding <= MOST_PADDING) | (sizes <= PADDED_TOKENS)).sum()))


def _windows(order: np.ndarray, characters: np.ndarray) -> Iterator[np.ndarray]:
    """Split positions into windows, given the length of the text at each position."""
    ends = np.cumsum(characters)
    start = 0
    while start < len(order):
        limit = ends[start] - characters[start] + WINDOW_CHARACTERS
        stop = int(np.searchsorted(ends, limit, side="right"))
        stop = min(max(stop, start + 1), start + WINDOW_TEXTS)
        yield order[start:stop]
        start = stop


def _one_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Like `map`, but a thread computes the next result while the caller uses this one."""
    with ThreadPoolExecutor(1) as thread:
        pending = None
        for item in items:
            following = thread.submit(function, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
