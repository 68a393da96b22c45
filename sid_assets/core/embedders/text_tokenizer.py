"""The text tokenizer of Qwen3-Embedding: documents to token ids that end with `<|endoftext|>`.

Text is data: a title that spells a special token gets the tokens of its characters. The end token
is always present: the vector is read at its position, so every vector would silently change
without it.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from sid_assets.core.errors import InputError

ENDOFTEXT = "<|endoftext|>"

PROBE = "test again"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokenized:
    """Token ids of texts.

    Attributes:
        ids: The ids of each text; the last one is that of `<|endoftext|>`.
        lengths: int64, shape (n,): the number of ids.
        cut: bool, shape (n,): whether the text was truncated.
    """

    ids: list[list[int]]
    lengths: np.ndarray
    cut: np.ndarray

    def take(self, rows: np.ndarray) -> "Tokenized":
        """The given rows, in the given order."""
        return Tokenized([self.ids[i] for i in rows], self.lengths[rows], self.cut[rows])


@dataclass
class DocumentTokenizer:
    """Tokenises as tokenizer.json defines, with two exceptions.

    No text gets the id of an added token (special tokens, semantic IDs), and `<|endoftext|>` is
    appended after truncation.

    Attributes:
        path: The tokenizer.json.
        max_length: Longest sequence in tokens, including `<|endoftext|>`.

    Raises:
        InputError: The tokenizer appends something other than `<|endoftext|>` to a text. If it
            appends nothing, `<|endoftext|>` is appended here, with a warning.
    """

    path: Path
    max_length: int

    def encode(self, texts: Sequence[str]) -> Tokenized:
        """Tokenise texts on all cores."""
        plain, end = self._plain, self.endoftext
        limit = self.max_length - 1
        encodings = plain.encode_batch_fast(list(texts), add_special_tokens=False)
        full = np.fromiter((len(encoding) for encoding in encodings), np.int64, len(encodings))
        ids = [[*encoding.ids[:limit], end] for encoding in encodings]
        return Tokenized(ids, lengths=np.minimum(full, limit) + 1, cut=full > limit)

    @cached_property
    def endoftext(self) -> int:
        """The id of `<|endoftext|>`."""
        end = self._full.token_to_id(ENDOFTEXT)
        if end is None:
            raise InputError(
                f"{self.path}: no token {ENDOFTEXT}, which must end every text. "
                "Use the tokenizer of a Qwen3-Embedding model."
            )
        return end

    @cached_property
    def largest_id(self) -> int:
        """The largest id that a text can get."""
        return max(self.endoftext, *self._plain.get_vocab().values())

    @cached_property
    def _full(self) -> Tokenizer:
        """The tokenizer as its file defines it."""
        try:
            tokenizer = Tokenizer.from_file(str(self.path))
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"{self.path}: cannot be read as a tokenizer: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _plain(self) -> Tokenizer:
        """The same vocabulary without added tokens, so that no text can spell a special token."""
        tokenizer = Tokenizer(self._full.model)
        if self._full.normalizer is not None:
            tokenizer.normalizer = self._full.normalizer
        if self._full.pre_tokenizer is not None:
            tokenizer.pre_tokenizer = self._full.pre_tokenizer
        self._prove(tokenizer)
        return tokenizer

    def _prove(self, plain: Tokenizer) -> None:
        """Compare with the tokenizer's own output for a text that spells no special token."""
        if self.max_length < 2:
            raise InputError(f"max_length is {self.max_length}; it must be at least 2 tokens.")
        own = plain.encode(PROBE, add_special_tokens=False).ids
        theirs = self._full.encode(PROBE).ids
        if theirs == own:
            _log.warning(
                "%s does not append %s to a text. It is appended here; other programs that use "
                "this tokenizer get different vectors.",
                self.path,
                ENDOFTEXT,
            )
        elif theirs != [*own, self.endoftext]:
            raise InputError(
                f"{self.path}: tokenises {PROBE!r} as {theirs}, not as {own} followed by "
                f"{self.endoftext} ({ENDOFTEXT}). Use the tokenizer of a Qwen3-Embedding model."
            )
        for token_id, token in self._full.get_added_tokens_decoder().items():
            if token.special and token_id in plain.encode(token.content).ids:
                raise InputError(
                    f"{self.path}: the special token {token.content!r} is part of the plain "
                    "vocabulary, so a text could spell it. Use another tokenizer."
                )
