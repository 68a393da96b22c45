"""How the decoder spells items: with the three codes of their SIDs, or with one token an item.

Of all spellings the decoder is the same, and so are the rows that it learns from. What differs is
what the SIDs say.
"""

from dataclasses import dataclass

import numpy as np

from sid_assets.core.schema import CODE_LAYERS
from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.core.sids.spelling import pack

PAD, START = 0, 1
"""Tokens that are no code: one fills up short rows, one begins each row."""

SPECIAL_TOKENS = 2


@dataclass(frozen=True, eq=False)
class Spelling:
    """The words of the items.

    Attributes:
        words: Integers (items, depth), from 0: the codes of each item.
        sizes: For each place of a word, the number of codes that it may have.
    """

    words: np.ndarray
    sizes: tuple[int, ...]

    @classmethod
    def of_sids(cls, codes: np.ndarray) -> "Spelling":
        """A SID is a word of three codes.

        Args:
            codes: Integers (items, 3).
        """
        sizes = codes.max(axis=0, initial=0) + 1
        return cls(codes.astype(np.int32), tuple(int(size) for size in sizes))

    @classmethod
    def of_items(cls, items: int) -> "Spelling":
        """Each item is a word of its own, with one code."""
        return cls(np.arange(items, dtype=np.int32)[:, None], (items,))

    def dealt(self, seed: int) -> "Spelling":
        """The same words, dealt to the items at random: the same tree, which says nothing."""
        order = np.random.default_rng(seed).permutation(len(self.words))
        return Spelling(self.words[order], self.sizes)

    @property
    def depth(self) -> int:
        """The number of codes of a word."""
        return self.words.shape[1]

    @property
    def starts(self) -> tuple[int, ...]:
        """The token of code 0 at each place of a word."""
        before = np.cumsum((0, *self.sizes[:-1]))
        return tuple(int(SPECIAL_TOKENS + start) for start in before)

    @property
    def vocabulary_size(self) -> int:
        """The number of tokens."""
        return SPECIAL_TOKENS + sum(self.sizes)

    def tokens(self) -> np.ndarray:
        """The tokens of each item: int32 (items, depth)."""
        return self.words + np.asarray(self.starts, np.int32)


@dataclass(frozen=True, eq=False)
class Tree:
    """The words of a catalog, and the item that each stands for.

    Attributes:
        words: int32 (w, depth): the different words, sorted.
        items: int64 (w,): the most popular item of each word; of equally popular ones the first.
        groups: int64 (items,): the word of each item.
        prefixes: Which codes may follow which, if words are SIDs.
    """

    words: np.ndarray
    items: np.ndarray
    groups: np.ndarray
    prefixes: SidPrefixes | None

    @classmethod
    def of(cls, spelling: Spelling, users: np.ndarray) -> "Tree":
        """The tree of a catalog.

        Args:
            spelling: The words of the items.
            users: Integers (items,): how many users have interacted with each item in split 0.
        """
        words, groups = np.unique(spelling.words, axis=0, return_inverse=True)
        groups = groups.reshape(-1)
        order = np.lexsort((-users, groups))
        first = np.flatnonzero(np.append(True, np.diff(groups[order]) > 0))
        prefixes = SidPrefixes.of(pack(words)) if spelling.depth == CODE_LAYERS else None
        return cls(words, order[first], groups, prefixes)

    def following(self, prefixes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The codes that may follow prefixes, without repetition.

        Args:
            prefixes: Integers (n, k): the first k codes of words of this tree.

        Returns:
            Two arrays of integers (m,): positions in `prefixes`, and a code that may follow there.
        """
        if self.prefixes is None:
            return np.repeat(np.arange(len(prefixes)), len(self.words)), np.tile(
                self.words[:, 0], len(prefixes)
            )
        starts, ends = self.prefixes.children(prefixes)
        counts = ends - starts
        rows = np.repeat(np.arange(len(prefixes)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        codes = self.prefixes.codes[prefixes.shape[1]]
        return rows, codes[np.repeat(starts, counts) + within].astype(np.int64)

    def find(self, words: np.ndarray) -> np.ndarray:
        """The position of each of these words, all of which are in the tree: int64 (n,)."""
        if self.prefixes is None:
            return words[:, 0].astype(np.int64)
        return np.searchsorted(pack(self.words), pack(words))
