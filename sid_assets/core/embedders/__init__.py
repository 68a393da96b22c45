"""What turns texts into vectors: the protocol that every embedder of this package follows.

`hashing` needs no model and serves the demo; `qwen3` runs Qwen3-Embedding in this process;
`openai_server` asks a server that speaks the OpenAI API. `canary` tells whether an embedder still
gives the vectors it gave.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sid_assets.core.store.provenance import EmbeddingSpace


@dataclass(frozen=True)
class Embedded:
    """The vectors of a chunk of texts, and what they cost.

    Attributes:
        vectors: float32, shape (n, dimension), C-contiguous, unit norm, in the order of the texts.
        tokens: Tokens computed, after cutting; identical texts are computed, and counted, once.
        padded_tokens: The same with the padding of batches.
        truncated: Texts, of all n, that were longer than the space's `max_length` and were cut.
    """

    vectors: np.ndarray
    tokens: int
    padded_tokens: int
    truncated: int

    @property
    def padding(self) -> float:
        """The share of computed tokens that were padding."""
        return 1 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0


@dataclass(frozen=True)
class TokenCounts:
    """How long texts are in tokens, before they are embedded.

    Attributes:
        lengths: int64, shape (n,): tokens of each text, cut to the space's `max_length`.
        truncated: Texts that would be cut; None where the tokenizer is not at hand.
        estimated: Whether the lengths are guesses, because the tokenizer is not at hand.
    """

    lengths: np.ndarray
    truncated: int | None
    estimated: bool


@dataclass(frozen=True)
class Memory:
    """What an embedder needs against what its device has free, in bytes."""

    device: str
    needed: int
    free: int


class Embedder(Protocol):
    """Texts in, unit vectors out.

    An embedder is cheap to make and can be pickled until it is first used: weights are loaded, and
    servers called, by the first `embed`. A worker in another process loads its own.
    """

    @property
    def space(self) -> EmbeddingSpace:
        """All that decides which vector a text gets; known without loading weights."""
        ...

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed a chunk of texts, thousands at a time.

        A text's vector depends neither on the texts around it nor on how batches are cut
        (up to rounding).

        Raises:
            InputError: The model, or the server, is not one that can give these vectors.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """How long texts are, without embedding them."""
        ...

    def memory(self) -> Memory | None:
        """What loading and running needs against what is free; None where it does not matter."""
        ...

    def close(self) -> None:
        """Give back memory and connections. The next `embed` takes them again."""
        ...
