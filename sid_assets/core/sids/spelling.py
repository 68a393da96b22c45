"""Semantic IDs as text, as vocabulary tokens and as one integer: the one place that knows how.

As text a semantic ID is `<|sid_begin|><s_a_12><s_b_4071><s_c_9><|sid_end|>`. In OneRec's extended
Qwen3 vocabulary each of the five parts is one token.
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
"""Id of `<s_a_0>`: the tokens before it are Qwen3's own."""

BEGIN_TOKEN_ID = FIRST_TOKEN_ID + CODE_LAYERS * MAX_CODEBOOK_SIZE
END_TOKEN_ID = BEGIN_TOKEN_ID + 1

PADDED_VOCABULARY_SIZE = 176_384
"""Rows of the embedding matrix of OneRec's models."""

_LAYER_STARTS = np.arange(CODE_LAYERS) * MAX_CODEBOOK_SIZE


def sid_token(layer: int, code: int) -> str:
    """The token of one code, e.g. `<s_b_4071>` of layer 1 (counted from 0) and code 4071."""
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


def token_ids(codes: np.ndarray) -> np.ndarray:
    """The five token ids of each SID.

    Args:
        codes: Integers, shape (n, 3), each in 0..8191.

    Returns:
        int64, shape (n, 5): begin, one for each layer, end.
    """
    ids = np.empty((len(codes), CODE_LAYERS + 2), np.int64)
    ids[:, 0], ids[:, -1] = BEGIN_TOKEN_ID, END_TOKEN_ID
    ids[:, 1:-1] = codes + (FIRST_TOKEN_ID + _LAYER_STARTS)
    return ids


def pack(codes: np.ndarray) -> np.ndarray:
    """Each SID as one integer, c0 * 8192 * 8192 + c1 * 8192 + c2: int64, shape (n,).

    It is the key of OneRec's reverse index, and sorts as the codes do.

    Args:
        codes: Integers, shape (n, 3), each in 0..8191.
    """
    c0, c1, c2 = codes.astype(np.int64, copy=False).T
    return (c0 * MAX_CODEBOOK_SIZE + c1) * MAX_CODEBOOK_SIZE + c2


def unpack(packed: np.ndarray) -> np.ndarray:
    """The codes that `pack` made one integer of: int64, shape (n, 3)."""
    c01, c2 = np.divmod(packed, MAX_CODEBOOK_SIZE)
    c0, c1 = np.divmod(c01, MAX_CODEBOOK_SIZE)
    return np.stack([c0, c1, c2], axis=-1)


def prefix_of(packed: np.ndarray, length: int) -> np.ndarray:
    """The first codes of each packed SID as one integer: int64; sorted if the SIDs are."""
    return packed // MAX_CODEBOOK_SIZE ** (CODE_LAYERS - length)


def fragment_numbers(codes: np.ndarray) -> np.ndarray:
    """Which strings of `FRAGMENTS` spell each SID: uint16, shape (n, 3).

    It is also the most compact form of a SID here: 6 bytes.

    Args:
        codes: Integers, shape (n, 3), each in 0..8191.
    """
    return (codes + _LAYER_STARTS).astype(np.uint16)


def codes_of_fragments(fragments: np.ndarray) -> np.ndarray:
    """The codes that `fragment_numbers` made strings of: int64, shape (n, 3)."""
    return fragments.astype(np.int64) - _LAYER_STARTS


def sid_text(codes: np.ndarray) -> pa.StringArray:
    """The text of each SID.

    Args:
        codes: Integers, shape (n, 3), each in 0..8191; n at most 37 million (2 GiB of text).
    """
    return joined_sid_text(fragment_numbers(codes), np.arange(len(codes) + 1))


def joined_sid_text(fragments: np.ndarray, bounds: np.ndarray) -> pa.StringArray:
    """SIDs joined with nothing between them, one text for each run of SIDs.

    Args:
        fragments: uint16, shape (m, 3), as `fragment_numbers` gives them.
        bounds: Shape (n + 1,): text i is made of the SIDs bounds[i] to bounds[i + 1]; null if none.
    """
    return join_runs(FRAGMENTS.take(pa.array(fragments.reshape(-1))), CODE_LAYERS * bounds)


def _fragments() -> pa.StringArray:
    """What each code adds to the text of a SID, layer after layer."""
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
            be above 8191; what has more digits is no SID.
        counts: int64, shape (n,): how many SIDs each text spells.
        broken: bool, shape (n,): whether a text has tokens of SIDs that are no whole SID.
    """

    codes: np.ndarray
    counts: np.ndarray
    broken: np.ndarray


def spelled_sids(texts: pa.StringArray) -> SpelledSids:
    """Find the SIDs in texts; what lies around them does not matter.

    Args:
        texts: Shape (n,), no nulls.
    """
    bounds, data = _bytes_of(texts)
    starts, kinds, codes, ends = _spelled_tokens(data)
    # A SID is a token of each kind, each starting where the one before it ends.
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
    sids = sids[text_of_token[sids] == text_of_token[last]]  # texts stand close together

    counts = np.diff(np.searchsorted(starts[sids], bounds))
    tokens = np.diff(np.searchsorted(starts, bounds))
    codes_of_sid = sids[:, None] + np.arange(1, 1 + CODE_LAYERS)
    return SpelledSids(codes[codes_of_sid], counts, tokens != len(_TOKENS) * counts)


_TOKENS = (BEGIN, *LAYER_PREFIXES, END)
"""What the tokens of a SID begin with, in their order; the first and the last are all of it."""


def _bytes_of(texts: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of texts in their bytes, shape (n + 1,), and the bytes; a few zeros follow."""
    _, offset_buffer, data_buffer = texts.buffers()
    if offset_buffer is None or not len(texts):
        return np.zeros(1, np.int64), np.zeros(_READ_AHEAD, np.uint8)
    offsets = np.frombuffer(offset_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
    padded = np.concatenate([data, np.zeros(_READ_AHEAD, np.uint8)])
    return offsets.astype(np.int64) - offsets[0], padded


_WORD = 8
_READ_AHEAD = 32
"""More than a token has: whatever begins in the texts can be read as words of eight bytes."""


def _spelled_tokens(data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The tokens of SIDs in texts, and what begins like one.

    Args:
        data: Their bytes, uint8, as `_bytes_of` gives them.

    Returns:
        Four arrays of integers, shape (k,): where each token starts; its kind, which is the number
        of what it begins with in `_TOKENS`; its code, 0 if it has none; and where it ends, -1 if
        it does not end as it should.
    """
    # The eight bytes from each place on as one number, the first byte lowest: no byte is copied.
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
    """The bits of a word that a text takes."""
    return np.uint64((1 << 8 * min(len(text), _WORD)) - 1)


def _leading_number(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number with which words begin, and its digits: 0 digits unless `>` follows.

    A number has one to four digits, and begins with a zero only if it is one.
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
