"""How many items keep their codes when a new generation begins, and how many would by chance."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import codes_array
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.schema import CODE_LAYERS, CODES
from sid_assets.core.store.versions import Version

BATCH_ROWS = 65_536

ROWS_AT_A_TIME = 2**20
"""Items compared at a time; about as many are sorted at a time."""

_BITS = 16
_NO_CODES = np.empty((0, CODE_LAYERS), np.uint16)


@dataclass(frozen=True)
class KeptCodes:
    """The items that keep the first code, the first two codes and all three.

    Attributes:
        items: How many items were compared.
        kept: Shares of the items.
        chance: The shares to expect if the new codes were dealt to the items at random.
        of_interactions: Shares of the items, weighted by their interactions; None without any.
        chance_of_interactions: The weighted shares to expect by chance; None without any.
    """

    items: int
    kept: tuple[float, ...]
    chance: tuple[float, ...]
    of_interactions: tuple[float, ...] | None = None
    chance_of_interactions: tuple[float, ...] | None = None

    def sentence(self) -> str:
        """The shares in one sentence, for the log."""
        if not self.items:
            return "No item had a SID in the generation before."
        weighted = ""
        if self.of_interactions is not None:
            weighted = f"; weighted by interactions, {_percent(self.of_interactions)}"
        return (
            f"Of {self.items:,} items that had a SID in the generation before, "
            f"{_percent(self.kept)} keep 1 / 2 / 3 codes (by chance {_percent(self.chance)})"
            f"{weighted}."
        )

    def figures(self) -> dict[str, Any]:
        """The numbers, for JSON; those of interactions are left out if there are none."""
        figures = {"items": self.items, "kept": [*self.kept], "chance": [*self.chance]}
        if self.of_interactions is not None and self.chance_of_interactions is not None:
            figures["kept_of_interactions"] = [*self.of_interactions]
            figures["chance_of_interactions"] = [*self.chance_of_interactions]
        return figures


def kept_codes(
    before: np.ndarray, after: np.ndarray, weights: np.ndarray | None = None
) -> KeptCodes:
    """Compare the codes of the same items in two generations.

    Beyond its arguments, memory holds two bools an item, and the items of one range of first codes.

    Args:
        before: The earlier codes, uint16, shape (n, 3).
        after: The new codes, uint16, shape (n, 3).
        weights: Interactions of each item, not negative, shape (n,).
    """
    items, layers = before.shape
    total = float(weights.sum(dtype=np.float64)) if weights is not None else 0.0
    weights = weights if total else None
    kept, chance = np.zeros((2, layers)), np.zeros((2, layers))
    for start in range(0, items, ROWS_AT_A_TIME):
        some = slice(start, start + ROWS_AT_A_TIME)
        same = np.logical_and.accumulate(before[some] == after[some], axis=1)
        kept[0] += same.sum(axis=0)
        if weights is not None:
            kept[1] += weights[some].astype(np.float64) @ same
    for old, new in _by_first_code(before[:, 0], after[:, 0]):
        heavy = None if weights is None else weights[old].astype(np.float64)
        chance += _dealt(_keys(before[old]), _keys(after[new]), heavy, layers)
    kept, chance = kept / [[items or 1], [total or 1]], chance / [[items or 1], [total or 1]]
    shares = tuple(tuple(row.tolist()) for row in (*kept, *(chance / (items or 1))))
    if weights is None:
        return KeptCodes(items, shares[0], shares[2])
    return KeptCodes(items, shares[0], shares[2], shares[1], shares[3])


def _dealt(old: np.ndarray, new: np.ndarray, weights: np.ndarray | None, layers: int) -> np.ndarray:
    """The new items with the prefix of each old item, summed over the old items.

    Returns:
        float64, shape (2, layers): each old item counted once, and by its weight.
    """
    sums = np.zeros((2, layers))
    for layer in range(layers):
        shift = np.uint64(_BITS * (layers - 1 - layer))
        prefixes, counts = np.unique(new >> shift, return_counts=True)
        if not len(prefixes):
            continue
        wanted = old >> shift
        place = np.minimum(np.searchsorted(prefixes, wanted), len(prefixes) - 1)
        found = np.where(prefixes[place] == wanted, counts[place], 0)
        sums[0, layer] = found.sum()
        if weights is not None:
            sums[1, layer] = weights @ found
    return sums


def compared_generations(
    registry: Version, before: str, users: Iterable[pa.RecordBatch] = ()
) -> KeptCodes:
    """Compare the items of the current generation with those of an earlier one.

    Memory takes 20 bytes for each item that has a SID in both.

    Args:
        registry: The table `sid_registry`.
        before: Id of the earlier generation.
        users: Rows of `item_counts`.
    """
    mine, theirs = (
        _live(registry, generation) for generation in (registry.provenance.generation, before)
    )
    columns = pa.schema([("before", CODES)])
    earlier = (batch.rename_columns(["pid", "before"]) for batch in theirs)
    both = joined(mine, earlier, columns)
    counted = joined(both, users, pa.schema([("users", pa.int64())]))
    one, other, weights = [_NO_CODES], [_NO_CODES], [np.empty(0, np.int64)]
    for batch in counted:
        known = batch.filter(batch["before"].is_valid())
        one.append(codes_array(known["before"]).astype(np.uint16))
        other.append(codes_array(known["sid"]).astype(np.uint16))
        weights.append(known["users"].fill_null(0).to_numpy())
    return kept_codes(*map(np.concatenate, (one, other, weights)))


def _live(registry: Version, generation: str) -> Iterator[pa.RecordBatch]:
    """The `pid` and `sid` of the items that have a SID in a generation, sorted by pid."""
    for batch in registry.stream(["generation", "pid", "sid", "left_at"], BATCH_ROWS):
        live = pc.and_(pc.equal(batch["generation"], generation), batch["left_at"].is_null())
        yield batch.filter(live).select(["pid", "sid"])


def _by_first_code(
    before: np.ndarray, after: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which items have a first code in a range, before and after: bool, for ranges of all codes."""
    counts = np.zeros(2**_BITS, np.int64)
    for codes in (before, after):
        for start in range(0, len(codes), ROWS_AT_A_TIME):
            some = codes[start : start + ROWS_AT_A_TIME]
            counts += np.bincount(some, minlength=2**_BITS)
    ranges = np.cumsum(counts) // (2 * ROWS_AT_A_TIME)
    starts = np.flatnonzero(np.diff(ranges, prepend=-1))
    for start, end in zip(starts, [*starts[1:], 2**_BITS], strict=True):
        yield (before >= start) & (before < end), (after >= start) & (after < end)


def _keys(codes: np.ndarray) -> np.ndarray:
    """All codes of an item in one number, uint64; its upper bits are those of the prefix."""
    keys = np.zeros(len(codes), np.uint64)
    for layer in range(codes.shape[1]):
        keys = (keys << np.uint64(_BITS)) | codes[:, layer].astype(np.uint64)
    return keys


def _percent(shares: tuple[float, ...]) -> str:
    return " / ".join(f"{100 * share:.0f}" for share in shares) + " %"
