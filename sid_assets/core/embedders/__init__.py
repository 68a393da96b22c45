"""Embedders turn texts into vectors. This is the protocol that all of them follow.

`hashed_words` needs no model and serves the demo; `qwen3` runs Qwen3-Embedding in this process;
`openai_server` asks a server with the OpenAI API. `canary` checks that an embedder still gives the
same vectors as before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sid_assets.core.store.provenance import EmbeddingSpace


@dataclass(frozen=True)
class Embedded:
    """The vectors of a chunk of texts, and their cost.

    Attributes:
        vectors: float32, shape (n, dimension), C-contiguous, unit norm, in the order of the texts.
        tokens: Tokens computed, after truncation; duplicate texts are computed and counted once.
        padded_tokens: The same, including the padding of batches.
        truncated: How many of the n texts exceeded the space's `max_length` and were truncated.
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
    """The token counts of texts that are not embedded yet.

    Attributes:
        lengths: int64, shape (n,): tokens of each text, truncated to the space's `max_length`.
        truncated: Texts that would be truncated; None if the tokenizer is not available.
        estimated: Whether the lengths are estimates, because the tokenizer is not available.
    """

    lengths: np.ndarray
    truncated: int | None
    estimated: bool


@dataclass(frozen=True)
class Memory:
    """The memory that an embedder needs and that its device has free.

    Attributes:
        device: As torch names it; the host, in words, if the weights do not fit there.
        needed: Bytes for the weights and a batch.
        free: Bytes free.
    """

    device: str
    needed: int
    free: int


class Embedder(Protocol):
    """Texts in, unit vectors out.

    An embedder is cheap to create and can be pickled before its first use: the first `embed` loads
    the weights or calls the server. A worker in another process loads its own.
    """

    @property
    def space(self) -> EmbeddingSpace:
        """Everything that decides which vector a text gets; known without loading weights."""
        ...

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed a chunk of texts, thousands at a time.

        A text's vector does not depend on the other texts or on how they are batched
        (up to rounding).

        Raises:
            InputError: The model or the server cannot give these vectors.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Count the tokens of texts, without embedding them."""
        ...

    def memory(self) -> Memory | None:
        """The memory for loading and running, and what is free; None if it does not matter."""
        ...

    def close(self) -> None:
        """Release memory and connections. The next `embed` acquires them again."""
        ...
