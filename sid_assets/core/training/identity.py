"""The ids of the rows of a training data set, and the random draws for them.

The uuid of a row and the wordings drawn for it depend on the data set, the row's content and the
seed, never on its position. A new user therefore does not change the rows of other users, and the
same input gives the same bytes.
"""

import hashlib
import uuid
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sid_assets.core.arrow.columns import only
from sid_assets.core.arrow.duck import computed

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "sid_assets training data")

SQL_OF_UUID5 = (
    "concat_ws('-', h[1:8], h[9:12], '5' || h[14:16], "
    "substr('89ab89ab89ab89ab', strpos('0123456789abcdef', h[17]), 1) || h[18:20], h[21:32]) "
    "AS uuid"
)
"""The SQL of a uuid of version 5 (RFC 9562): 128 bits of a SHA-1 `h` in hex digits; the version
replaces four bits and the variant two."""


@dataclass(frozen=True)
class RowIds:
    """The ids of rows.

    Attributes:
        digests: The SHA-1 of each row's content, data set and seed: 40 hex digits, shape (n,).
        keys: The first 64 bits of the digest, which decide the wordings: uint64, shape (n,).
        uuids: The uuid5 of each row, valid if no earlier row has the same content: shape (n,).
    """

    digests: pa.StringArray
    keys: np.ndarray
    uuids: pa.StringArray

    def filter(self, kept: np.ndarray) -> "RowIds":
        """The ids of the kept rows; `kept`: bool, shape (n,)."""
        digests, uuids = only(kept, self.digests, self.uuids)
        return RowIds(digests, self.keys[kept], uuids)


class Identifier:
    """Assigns ids to the rows of one data set."""

    def __init__(self, dataset: str, seed: int) -> None:
        """Start a data set."""
        self._name = f"{dataset}/{seed:d}"
        self._occurrences = Occurrences()

    def identify(self, *content: pa.Array) -> RowIds:
        """The ids of rows, from their content.

        Args:
            content: Columns of text or bytes, shape (n,) each; null counts as empty.
        """
        names = [f"column_{i}" for i in range(len(content))]
        table = pa.table([column.cast(pa.binary()) for column in content], names)
        said = " || ".join(map(_with_its_length, names))
        found = computed(
            table,
            f"sha1('{self._name}/'::BLOB || {said}) AS digest",
            f"digest, unhex(digest[1:16]) AS key, {self._sha1_of_name('0')}",
            f"digest, key, {SQL_OF_UUID5}",
        )
        digests, keys, uuids = (found[name].combine_chunks() for name in ("digest", "key", "uuid"))
        first_bytes = np.frombuffer(keys.cast(pa.binary(8)).buffers()[1], ">u8")
        return RowIds(digests, first_bytes.astype(np.uint64), uuids)

    def distinct_uuids(self, rows: RowIds) -> pa.StringArray:
        """The uuids of rows, which differ even if earlier rows have the same content.

        Rows must be passed in order.
        """
        occurrences = self._occurrences.number(rows.keys)
        if not occurrences.any():
            return rows.uuids
        table = pa.table({"digest": rows.digests, "occurrence": occurrences})
        uuids = computed(table, self._sha1_of_name("occurrence"), SQL_OF_UUID5)
        return uuids["uuid"].combine_chunks()

    def _sha1_of_name(self, occurrence: str) -> str:
        """The SQL of the SHA-1 for a row's uuid5; its name is its digest and occurrence number."""
        namespace = "".join(f"\\x{byte:02X}" for byte in NAMESPACE.bytes)
        name = f"encode('{self._name}/' || digest || '/' || {occurrence})"
        return f"sha1('{namespace}'::BLOB || {name}) AS h"


def _with_its_length(column: str) -> str:
    """The SQL of a value after its length, so that different rows never concatenate to the same."""
    value = f"coalesce({column}, ''::BLOB)"
    return f"encode(octet_length({value}) || ':') || {value}"


def draw(keys: np.ndarray, what: str, choices: int | np.ndarray) -> np.ndarray:
    """Draw one of several choices for each row: int64, shape (n,), from 0 to choices - 1.

    Args:
        keys: uint64, shape (n,): equal keys draw the same choice.
        what: The name of the draw; draws with different names are independent.
        choices: The number of choices, at least 1; one number, or one for each row.
    """
    salt = int.from_bytes(hashlib.sha1(what.encode(), usedforsecurity=False).digest()[:8], "little")
    # The finalizer of splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195).
    mixed = keys + np.uint64(salt)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed % np.asarray(choices, np.uint64)).astype(np.int64)


class Occurrences:
    """Numbers equal keys in their order: 0 for the first, 1 for the second, and so on.

    Each distinct key takes 12 bytes. The keys are stored in sorted runs, and each run is at least
    twice as long as the next. A lookup therefore searches only a few runs, and keys rarely move.
    """

    def __init__(self) -> None:
        """Start without keys."""
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []

    def number(self, keys: np.ndarray) -> np.ndarray:
        """How many equal keys came before each key: int64, shape (n,).

        Args:
            keys: uint64, shape (n,).
        """
        distinct, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        before = np.zeros(len(distinct), np.int64)
        for run_keys, run_counts in self._runs:
            position = np.searchsorted(run_keys, distinct)
            same = run_keys.take(position, mode="clip") == distinct
            before[same] += run_counts[position[same]]
        if len(keys):
            self._add(distinct, counts.astype(np.int32))

        grouped = np.argsort(inverse, kind="stable")
        rank = np.empty(len(keys), np.int64)
        rank[grouped] = np.arange(len(keys)) - np.repeat(np.cumsum(counts) - counts, counts)
        return before[inverse] + rank

    def _add(self, keys: np.ndarray, counts: np.ndarray) -> None:
        while self._runs and len(self._runs[-1][0]) < 2 * len(keys):
            run_keys, run_counts = self._runs.pop()
            keys, inverse = np.unique(np.concatenate([run_keys, keys]), return_inverse=True)
            summed = np.bincount(inverse, np.concatenate([run_counts, counts]))
            counts = summed.astype(np.int32)
        self._runs.append((keys, counts))
