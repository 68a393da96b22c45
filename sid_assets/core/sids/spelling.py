"""Semantic IDs as text, as vocabulary tokens and as one integer.

As text, a semantic ID looks like `<|sid_begin|><s_a_12><s_b_4071><s_c_9><|sid_end|>`. In OneRec's
extended Qwen3 vocabulary each of the five parts is one token.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sid_assets.core.arrow.strings import join_runs
from sid_assets.core.schema import CODE_LAYERS, MAX_CODEBOOK_SIZE, VOCABULARY

BEGIN = "<|sid_begin|>"
END = "<|sid_end|>"
LAYER_PREFIXES = ("<s_a_", "<s_b_", "<s_c_")

FIRST_TOKEN_ID = 151_669
"""Id of `<s_a_0>`; smaller ids belong to Qwen3's own tokens."""

BEGIN_TOKEN_ID = FIRST_TOKEN_ID + CODE_LAYERS * MAX_CODEBOOK_SIZE
END_TOKEN_ID = BEGIN_TOKEN_ID + 1

PADDED_VOCABULARY_SIZE = 176_384
"""Rows of the embedding matrix of OneRec's models."""

_LAYER_STARTS = np.arange(CODE_LAYERS) * MAX_CODEBOOK_SIZE


def sid_token(layer: int, code: int) -> str:
    """The token of one code, e.g. `<s_b_4071>` for layer 1 (counted from 0) and code 4071."""
    return f"{LAYER_PREFIXES[layer]}{code}>"


def vocabulary() -> list[str]:
    """The tokens that OneRec adds to Qwen3's, in order; the first has the id `FIRST_TOKEN_ID`."""
    codes = [sid_token(layer, c) for layer in range(CODE_LAYERS) for c in range(MAX_CODEBOOK_SIZE)]
    return [*codes, BEGIN, END]


def vocabulary_table() -> pa.Table:
    """`vocabulary` with the id of every token: columns `token` and `id`."""
    tokens = vocabulary()
    ids = np.arange(FIRST_TOKEN_ID, FIRST_TOKEN_ID + len(tokens))
    return pa.table({"token": tokens, "id": ids}, schema=VOCABULARY)


def pack(codes: np.ndarray) -> np.ndarray:
    """Each SID as one integer, c0 * 8192 * 8192 + c1 * 8192 + c2: int64, shape (n,).

    This integer is the key in OneRec's reverse index. It sorts in the same order as the codes.

    Args:
        codes: Integers, shape (n, 3), each in 0..8191.
    """
    c0, c1, c2 = codes.astype(np.int64, copy=False).T
    return (c0 * MAX_CODEBOOK_SIZE + c1) * MAX_CODEBOOK_SIZE + c2


def unpack(packed: np.ndarray) -> np.ndarray:
    """The codes of packed SIDs, the inverse of `pack`: int64, shape (n, 3)."""
    c01, c2 = np.divmod(packed, MAX_CODEBOOK_SIZE)
    c0, c1 = np.divmod(c01, MAX_CODEBOOK_SIZE)
    return np.stack([c0, c1, c2], axis=-1)


def prefix_of(packed: np.ndarray, length: int) -> np.ndarray:
    """The first codes of each packed SID as one integer: int64; sorted if the SIDs are."""
    return packed // MAX_CODEBOOK_SIZE ** (CODE_LAYERS - length)


def fragment_numbers(codes: np.ndarray) -> np.ndarray:
    """The indexes of the strings of `FRAGMENTS` that spell each SID: uint16, shape (n, 3).

    This is also the most compact form of a SID: 6 bytes.

    Args:
        codes: Integers, shape (n, 3), each in 0..8191.
    """
    return (codes + _LAYER_STARTS).astype(np.uint16)


def codes_of_fragments(fragments: np.ndarray) -> np.ndarray:
    """The codes of fragments, the inverse of `fragment_numbers`: int64, shape (n, 3)."""
    return fragments.astype(np.int64) - _LAYER_STARTS


def sid_text(codes: np.ndarray) -> pa.StringArray:
    """The text of each SID.

    Args:
        codes: Integers, shape (n, 3), each in 0..8191; n at most 37 million (2 GiB of text).
    """
    return joined_sid_text(fragment_numbers(codes), np.arange(len(codes) + 1))


def joined_sid_text(fragments: np.ndarray, bounds: np.ndarray) -> pa.StringArray:
    """SIDs joined without a separator, one text for each run of SIDs.

    Args:
        fragments: uint16, shape (m, 3), as `fragment_numbers` returns them.
        bounds: Shape (n + 1,): text i joins the SIDs bounds[i] to bounds[i + 1]; null if none.
    """
    return join_runs(FRAGMENTS.take(pa.array(fragments.reshape(-1))), CODE_LAYERS * bounds)


def _fragments() -> pa.StringArray:
    """The part of a SID's text that each code contributes, layer after layer."""
    before, after = (BEGIN, "", ""), ("", "", END)
    return pa.array(
        before[layer] + sid_token(layer, code) + after[layer]
        for layer in range(CODE_LAYERS)
        for code in range(MAX_CODEBOOK_SIZE)
    )


FRAGMENTS = _fragments()


@dataclass(frozen=True)
class SpelledSids:
    """The SIDs that texts spell.

    Attributes:
        codes: int64, shape (m, 3): all SIDs, in the order of the texts. A code of four digits can
            be above 8191; a token with more digits is not part of a SID.
        counts: int64, shape (n,): how many SIDs each text spells.
        broken: bool, shape (n,): whether a text has SID tokens that do not form a whole SID.
    """

    codes: np.ndarray
    counts: np.ndarray
    broken: np.ndarray


def spelled_sids(texts: pa.StringArray) -> SpelledSids:
    """Find the SIDs in texts; the surrounding text is ignored.

    Args:
        texts: Shape (n,), no nulls.
    """
    bounds, data = _bytes_of(texts)
    starts, kinds, codes, ends = _spelled_tokens(data)
    # A SID is one token of each kind; each starts where the previous one ends.
    follows = ends[:-1] == starts[1:]
    whole = np.ones(max(0, len(starts) - len(_TOKENS) + 1), bool)
    for kind in range(len(_TOKENS)):
        whole &= kinds[kind : kind + len(whole)] == kind
        if kind:
            whole &= follows[kind - 1 : kind - 1 + len(whole)]
    whole &= ends[len(ends) - len(whole) :] >= 0
    sids = np.flatnonzero(whole)
    text_of_token = np.searchsorted(bounds, starts, side="right")
    last = sids + len(_TOKENS) - 1
    sids = sids[text_of_token[sids] == text_of_token[last]]  # nothing separates the texts in `data`

    counts = np.diff(np.searchsorted(starts[sids], bounds))
    tokens = np.diff(np.searchsorted(starts, bounds))
    codes_of_sid = sids[:, None] + np.arange(1, 1 + CODE_LAYERS)
    return SpelledSids(codes[codes_of_sid], counts, tokens != len(_TOKENS) * counts)


_TOKENS = (BEGIN, *LAYER_PREFIXES, END)
"""The beginnings of the tokens of a SID, in order; the first and the last are whole tokens."""


def _bytes_of(texts: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of texts in their bytes, shape (n + 1,), and the bytes, padded with zeros."""
    _, offset_buffer, data_buffer = texts.buffers()
    if offset_buffer is None or not len(texts):
        return np.zeros(1, np.int64), np.zeros(_READ_AHEAD, np.uint8)
    offsets = np.frombuffer(offset_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
    padded = np.concatenate([data, np.zeros(_READ_AHEAD, np.uint8)])
    return offsets.astype(np.int64) - offsets[0], padded


_WORD = 8
_READ_AHEAD = 32
"""Bytes of padding, more than a token has, so that words of eight bytes never pass the end."""


def _spelled_tokens(data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the SID tokens in texts, and everything that begins like one.

    Args:
        data: The bytes of the texts, uint8, as `_bytes_of` returns them.

    Returns:
        Four arrays of integers, shape (k,): where each token starts; its kind, the index of its
        beginning in `_TOKENS`; its code, 0 if it has none; and where it ends, -1 if it does not end
        correctly.
    """
    # The eight bytes at each position as one little-endian number; no byte is copied.
    words = np.ndarray(len(data) - _WORD + 1, "<u8", buffer=data, strides=(1,))
    starts = np.flatnonzero(data[:-_READ_AHEAD] == ord("<"))
    heads = words[starts]
    kinds = np.full(len(starts), -1, np.int8)
    for kind, prefix in enumerate(_TOKENS):
        kinds[heads & _mask(prefix) == _as_word(prefix)] = kind
    starts, kinds = starts[kinds >= 0], kinds[kinds >= 0]

    codes, ends = np.zeros(len(starts), np.int64), np.empty(len(starts), np.int64)
    for kind, prefix in enumerate(_TOKENS):
        of_kind = kinds == kind
        at = starts[of_kind]
        if prefix in (BEGIN, END):
            rest = words[at + len(prefix) - _WORD] == _as_word(prefix[-_WORD:])
            ends[of_kind] = np.where(rest, at + len(prefix), -1)
        else:
            codes[of_kind], digits = _leading_number(words[at + len(prefix)])
            ends[of_kind] = np.where(digits > 0, at + len(prefix) + digits + 1, -1)
    return starts, kinds, codes, ends


def _as_word(text: str) -> np.uint64:
    """The first eight bytes of a text as one number."""
    return np.uint64(int.from_bytes(text.encode()[:_WORD], "little"))


def _mask(text: str) -> np.uint64:
    """The bits of a word that a text occupies."""
    return np.uint64((1 << 8 * min(len(text), _WORD)) - 1)


def _leading_number(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number at the start of each word, and its digits: 0 digits unless `>` follows.

    A number has one to four digits, and no leading zeros.
    """
    number, digits = np.zeros(len(words), np.int64), np.zeros(len(words), np.int64)
    going = np.ones(len(words), bool)
    for place in range(len(str(MAX_CODEBOOK_SIZE))):
        byte = (words >> np.uint64(8 * place)).astype(np.uint8)
        digit = byte - np.uint8(ord("0"))
        going &= (digit < 10) & ((number > 0) | (place == 0))
        number = np.where(going, 10 * number + digit, number)
        digits += going
    closing = (words >> (8 * digits).astype(np.uint64)).astype(np.uint8) == ord(">")
    return number, np.where(closing, digits, 0)
