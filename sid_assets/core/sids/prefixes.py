"""Constrained decoding: which codes may follow a prefix, so that a model names only real SIDs.

The prefixes of a catalog's SIDs form a trie of three levels, stored in five sorted arrays.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sid_assets.core.arrow.columns import codes_array, spans
from sid_assets.core.errors import InputError, StoreError
from sid_assets.core.schema import CODE_LAYERS, MAX_CODEBOOK_SIZE
from sid_assets.core.sids.spelling import (
    BEGIN_TOKEN_ID,
    END_TOKEN_ID,
    FIRST_TOKEN_ID,
    PADDED_VOCABULARY_SIZE,
    pack,
    unpack,
)

if TYPE_CHECKING:
    import transformers


@dataclass(frozen=True)
class SidPrefixes:
    """The codes that may follow each prefix.

    Node i of a level has the children offsets[level][i] to offsets[level][i + 1] of the next level.
    The nodes of the first level are the children of the empty prefix.

    Attributes:
        codes: Three arrays, int16: the code of each node of a level. Siblings are adjacent and
            sorted. The last level has one node for each SID.
        offsets: Two arrays, int64: where the children of each node of the first and the second
            level start; the last entry is the total number of children.
        generation: Id of the generation that the SIDs belong to; "" if not known.
        tokenizer: Hash of the centroids that their codes refer to; "" if not known.
    """

    codes: tuple[np.ndarray, np.ndarray, np.ndarray]
    offsets: tuple[np.ndarray, np.ndarray]
    generation: str = ""
    tokenizer: str = ""

    @classmethod
    def of(cls, packed: np.ndarray) -> "SidPrefixes":
        """The prefixes of SIDs.

        Args:
            packed: int64, shape (n,), see `spelling.pack`; in any order, duplicates allowed.
        """
        sids = unpack(np.unique(packed))
        # A node starts where the code of its level or of a level above changes.
        changes = np.ones(sids.shape, bool)
        changes[1:] = np.logical_or.accumulate(sids[1:] != sids[:-1], axis=1)
        codes = [sids[changes[:, level], level].astype(np.int16) for level in range(CODE_LAYERS)]
        offsets = []
        for level in range(CODE_LAYERS - 1):
            number_below = np.cumsum(changes[:, level + 1]) - 1
            offsets.append(np.append(number_below[changes[:, level]], len(codes[level + 1])))
        return cls((codes[0], codes[1], codes[2]), (offsets[0], offsets[1]))

    @classmethod
    def of_table(cls, pid2sid: Iterable[pa.RecordBatch]) -> "SidPrefixes":
        """The prefixes of the table pid2sid.

        Making them takes 8 bytes of memory for each item, and about 70 for each different SID.
        """
        codes = (codes_array(batch["sid"]) for batch in pid2sid)
        return cls.of(np.concatenate([np.zeros(0, np.int64), *map(pack, codes)]))

    def _arrays(self) -> dict[str, np.ndarray]:
        levels = {f"codes_{level}": codes for level, codes in enumerate(self.codes)}
        return levels | {f"offsets_{level}": at for level, at in enumerate(self.offsets)}

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    def save(self, path: str | Path) -> None:
        """Write the arrays as safetensors: codes_0, codes_1, codes_2, offsets_0, offsets_1.

        The metadata of the file holds `generation` and `tokenizer`, if they are known.
        """
        from safetensors.numpy import save_file

        about = {"generation": self.generation, "tokenizer": self.tokenizer}
        save_file(self._arrays(), path, {name: value for name, value in about.items() if value})

    @classmethod
    def load(cls, path: str | Path) -> "SidPrefixes":
        """Read what `save` wrote.

        Raises:
            StoreError: It is not such a file, or it is damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                about = file.metadata() or {}
            prefixes = cls(
                (arrays["codes_0"], arrays["codes_1"], arrays["codes_2"]),
                (arrays["offsets_0"], arrays["offsets_1"]),
                about.get("generation", ""),
                about.get("tokenizer", ""),
            )
            prefixes._require_levels()
        except (SafetensorError, KeyError, ValueError) as error:
            raise StoreError(
                f"{path}: not the prefixes of SIDs, or damaged ({error}). Copy the file again, or "
                "materialise sid_prefixes."
            ) from error
        return prefixes

    def _require_levels(self) -> None:
        """Raise ValueError if the arrays are no trie: lookups would leave them."""
        for codes in self.codes:
            if codes.dtype != np.int16 or codes.ndim != 1 or (codes < 0).any():
                raise ValueError("the codes are not small integers")
        for offsets, above, below in zip(self.offsets, self.codes, self.codes[1:], strict=False):
            if offsets.dtype != np.int64 or offsets.shape != (len(above) + 1,):
                raise ValueError("the offsets do not fit the codes")
            if offsets[0] or offsets[-1] != len(below) or (np.diff(offsets) <= 0).any():
                raise ValueError("the offsets do not lead to the codes of the next level")

    def __len__(self) -> int:
        """The number of distinct SIDs."""
        return len(self.codes[-1])

    def packed(self) -> np.ndarray:
        """All SIDs, packed and sorted: int64, shape (len(self),)."""
        second = np.repeat(np.arange(len(self.codes[1])), np.diff(self.offsets[1]))
        first = np.repeat(np.arange(len(self.codes[0])), np.diff(self.offsets[0]))[second]
        return pack(np.stack([self.codes[0][first], self.codes[1][second], self.codes[2]], axis=1))

    def contain(self, codes: np.ndarray) -> np.ndarray:
        """Which SIDs the catalog has: bool, shape (n,).

        Args:
            codes: Integers, shape (n, 3).
        """
        if not len(self):
            return np.zeros(len(codes), bool)
        starts, ends = self.children(codes[:, :-1])
        return _find(self.codes[-1], starts, ends, codes[:, -1]) < ends

    def children(self, prefixes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The start and the end, in the codes of the next level, of the codes that may follow.

        Args:
            prefixes: Integers, shape (n, k), k from 0 to 2: the first k codes of n SIDs.

        Returns:
            Two arrays of int64, shape (n,); equal where no SID has this prefix.
        """
        starts = np.zeros(len(prefixes), np.int64)
        if not len(self):
            return starts, starts
        ends = np.full(len(prefixes), len(self.codes[0]))
        for level in range(prefixes.shape[1]):
            node = _find(self.codes[level], starts, ends, prefixes[:, level])
            known = node < ends
            node = np.where(known, node, 0)
            starts = np.where(known, self.offsets[level][:-1].take(node), 0)
            ends = np.where(known, self.offsets[level][1:].take(node), 0)
        return starts, ends


@dataclass(frozen=True)
class NextTokens:
    """The tokens that may come next in each sequence.

    Attributes:
        inside: bool, shape (n,): which sequences are inside a SID. Only the tokens below may follow
            these; any token except a code or the end of a SID may follow the others.
        sequence: int64, shape (m,), ascending: the index of a sequence inside a SID.
        token: int64, shape (m,): the id of a token that may follow that sequence. If no SID of the
            catalog begins with its codes, for example after a prompt, this is the end token.
    """

    inside: np.ndarray
    sequence: np.ndarray
    token: np.ndarray


def next_tokens(prefixes: SidPrefixes, last: np.ndarray) -> NextTokens:
    """The tokens that may come next, so that each sequence spells only SIDs of the catalog.

    Args:
        prefixes: The prefixes of the catalog.
        last: Token ids, shape (n, 4): the last four of each sequence; -1 before its start.
    """
    layers, codes = np.divmod(last - FIRST_TOKEN_ID, MAX_CODEBOOK_SIZE)
    inside = np.zeros(len(last), bool)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for length in range(CODE_LAYERS + 1):
        of_sid = last[:, CODE_LAYERS - length] == BEGIN_TOKEN_ID
        prefix = slice(CODE_LAYERS + 1 - length, None)
        of_sid &= (layers[:, prefix] == np.arange(length)).all(axis=1)
        sequences = np.flatnonzero(of_sid)
        inside |= of_sid
        if length == CODE_LAYERS:
            pairs.append((sequences, np.full(len(sequences), END_TOKEN_ID)))
            continue
        starts, ends = prefixes.children(codes[sequences, prefix])
        astray = sequences[starts == ends]
        pairs.append((astray, np.full(len(astray), END_TOKEN_ID)))
        nodes, _ = spans(starts, ends)
        first_token = FIRST_TOKEN_ID + length * MAX_CODEBOOK_SIZE
        tokens = first_token + prefixes.codes[length][nodes].astype(np.int64)
        pairs.append((np.repeat(sequences, ends - starts), tokens))
    sequence, token = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    order = np.argsort(sequence, kind="stable")
    return NextTokens(inside, sequence[order], token[order])


def logits_processor(prefixes: SidPrefixes) -> "transformers.LogitsProcessor":
    """A processor for `generate(logits_processor=[...])` of transformers: only SIDs of the catalog.

    Outside a SID, the model may generate any text and may begin a SID. If a beam search has more
    beams than there are SIDs to generate, the surplus beams have the score -inf. If the prompt
    begins a SID that no item has, the SID is ended immediately.

    The processor raises InputError when the model has no logits for the tokens of SIDs.
    """
    import torch
    import transformers

    class SidLogitsProcessor(transformers.LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            if scores.shape[1] <= END_TOKEN_ID:
                raise InputError(
                    f"The model has logits for {scores.shape[1]:,} tokens, but the last SID token "
                    f"has the id {END_TOKEN_ID}. Resize its embeddings first: "
                    f"model.resize_token_embeddings({PADDED_VOCABULARY_SIZE})."
                )
            last = np.full((len(input_ids), CODE_LAYERS + 1), -1)
            tail = input_ids[:, -last.shape[1] :].cpu().numpy()
            last[:, last.shape[1] - tail.shape[1] :] = tail
            allowed = next_tokens(prefixes, last)

            constrained = scores.clone()
            constrained[:, FIRST_TOKEN_ID:BEGIN_TOKEN_ID] = -torch.inf
            # The ids after the end token only pad the vocabulary: they are not tokens.
            constrained[:, END_TOKEN_ID:PADDED_VOCABULARY_SIZE] = -torch.inf
            inside = torch.from_numpy(allowed.inside).to(scores.device)
            constrained[inside] = -torch.inf
            pairs = (
                torch.from_numpy(allowed.sequence).to(scores.device),
                torch.from_numpy(allowed.token).to(scores.device),
            )
            constrained[pairs] = scores[pairs]
            return constrained

        def __repr__(self) -> str:
            return f"SidLogitsProcessor({len(prefixes):,} SIDs)"

    return SidLogitsProcessor()


def _find(
    codes: np.ndarray, starts: np.ndarray, ends: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """The position of each wanted code between start and end, by bisection; the end if absent."""
    low, high = starts, ends
    while (going := low < high).any():
        middle = (low + high) // 2
        smaller = codes.take(middle, mode="clip") < wanted
        low = np.where(going & smaller, middle + 1, low)
        high = np.where(going & ~smaller, middle, high)
    found = (low < ends) & (codes.take(low, mode="clip") == wanted)
    return np.where(found, low, ends)
