"""Which texts share a batch: each once, those of a length together, batches filled by tokens."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from sid_assets.core.embedders.text_tokenizer import Tokenized

WINDOW = 2048
"""Texts that are tokenised, and sorted by their tokens, together."""

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
    windows = [order[start : start + WINDOW] for start in range(0, len(order), WINDOW)]

    def tokenise_window(window: np.ndarray) -> tuple[np.ndarray, Tokenized]:
        tokenized = tokenise([texts[int(i)] for i in window])
        longest_first = np.argsort(-tokenized.lengths, kind="stable")
        return window[longest_first], tokenized.take(longest_first)

    yield from _one_ahead(tokenise_window, windows)


def rows_that_fit(longest: int, budget: int) -> int:
    """How many rows of a batch, padded to the longest, stay within a token budget; 1 or more."""
    return max(1, budget // longest)


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
