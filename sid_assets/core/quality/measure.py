"""How good the semantic IDs of a catalog are: uniqueness, code usage, reconstruction error.

All figures are exact, of all items. `measure_sids` reads the codes once, as a stream, and keeps
numbers, not rows: 20 bytes an item, 28 where texts are given, and up to about 90 while it sorts
them (measured: 1.2 GB for ten million items). A SID is held as one integer, so that distinct SIDs,
groups and prefixes come from a single sort.

Terms: a *SID group* is all items with one SID; an item *collides* if its group has others in it.
The *prefix* of length 1 or 2 is the first code, or the first two, of a SID; length 3 is the SID.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.errors import InputError, offending_rows
from sid_assets.core.schema import CODE_LAYERS, HASH, MAX_CODEBOOK_SIZE
from sid_assets.core.sids.spelling import pack, unpack

LARGEST_GROUPS = 20
WORST_ITEMS = 20
BRANCHES = (16, 16, 8)
"""Branches of the code tree that are kept below each node, layer by layer: the largest ones."""

ERROR_QUANTILES = 200
"""Steps of the curve of reconstruction errors that is kept for pictures."""


@dataclass(frozen=True)
class Uniqueness:
    """How far SIDs, or their prefixes of one length, tell items apart.

    Attributes:
        length: Codes in the prefix: 1, 2, or 3 for the whole SID.
        distinct: Different prefixes in use (count, 1 to items).
        distinct_share: `distinct` / items (share, above 0 to 1; 1: every item has its own).
        colliding_items: Items that share their prefix with another item (count, 0 to items).
        colliding_share: `colliding_items` / items (share, 0 to 1).
        largest_group: Items of the prefix that has most (count, 1 to items).
        gini: Gini coefficient of the group sizes, over the prefixes in use (0: all groups are
            equally large, towards 1: a few groups hold nearly all items).
        entropy: Entropy of the prefix of an item drawn at random (nats, 0 to ln items).
        entropy_share: `entropy` as a share of the largest possible: ln items, or for short
            prefixes length * ln codebook_size where that is less (0 to 1; 1 if there is one item).
    """

    length: int
    distinct: int
    distinct_share: float
    colliding_items: int
    colliding_share: float
    largest_group: int
    gini: float
    entropy: float
    entropy_share: float


@dataclass(frozen=True)
class ReconstructionError:
    """Relative reconstruction error: residual norm after a layer / norm of the vector.

    The square is the part of the vector's energy that the codes up to the layer leave out.
    Percentiles are nearest-rank: the smallest error that at least so many items do not exceed.

    Attributes:
        mean: Mean over the items (0: exact, 1: as good as no codes; above 1: worse than none).
        p50: Median (same range).
        p99: 99th percentile (same range).
    """

    mean: float
    p50: float
    p99: float


@dataclass(frozen=True)
class CodeUsage:
    """How the codes of one layer are used.

    Attributes:
        layer: 1, 2 or 3.
        used: Codes that at least one item has (count, 1 to codebook_size).
        dead: Codes that no item has: codebook_size - `used` (count).
        utilisation: `used` / codebook_size (share, above 0 to 1; at most items / codebook_size).
        entropy: Entropy of the code of an item drawn at random (nats, 0 to ln codebook_size).
        perplexity: exp(`entropy`): the number of codes that would give this entropy if all were
            used equally (1 to codebook_size).
        error: Relative reconstruction error after this layer; None if every vector is zero.
    """

    layer: int
    used: int
    dead: int
    utilisation: float
    entropy: float
    perplexity: float
    error: ReconstructionError | None


@dataclass(frozen=True)
class Collisions:
    """Why items have no SID of their own, where texts are known.

    A group of m items holds m - 1 collisions: items beyond its first. If the group has d distinct
    texts, m - d of them repeat a text (no tokenizer can separate these), d - 1 are other texts
    that quantisation put in one place (a larger or better fitting tokenizer might).

    Attributes:
        same_text: Collisions that repeat a text of their group (count, 0 to items - distinct).
        other_text: Collisions with a text of their own (count; both add up to items - distinct).
    """

    same_text: int
    other_text: int


@dataclass(frozen=True)
class SidGroup:
    """All items with one SID.

    Attributes:
        codes: The SID.
        items: Items that have it (count, at least 2).
        texts: Distinct texts among them (count, 1 to items); None where texts are not known.
    """

    codes: tuple[int, ...]
    items: int
    texts: int | None


@dataclass(frozen=True)
class WorstItem:
    """An item that its codes reconstruct badly.

    Attributes:
        pid: The item.
        codes: Its SID.
        error: Relative reconstruction error after the last layer.
    """

    pid: int | str
    codes: tuple[int, ...]
    error: float


@dataclass(frozen=True)
class Branch:
    """A node of the code tree: all items whose SID starts with some codes.

    Attributes:
        prefix: The codes (one to three of them).
        items: Items below it (count).
        distinct: Distinct SIDs below it (count, 1 to items).
    """

    prefix: tuple[int, ...]
    items: int
    distinct: int


@dataclass(frozen=True, eq=False)
class Distributions:
    """What the pictures are drawn from.

    Attributes:
        code_counts: int64 (3, codebook_size): items of each code, by layer.
        group_sizes: int64 (s,): the sizes that SID groups have, ascending.
        group_counts: int64 (s,): how many groups have each size.
        error_quantiles: float32 (3, 201): relative reconstruction error after each layer at the
            0, 0.5, ... 100 % of items; NaN if every vector is zero.
    """

    code_counts: np.ndarray
    group_sizes: np.ndarray
    group_counts: np.ndarray
    error_quantiles: np.ndarray


@dataclass(frozen=True, eq=False)
class SidQuality:
    """The quality of the SIDs of a catalog.

    Attributes:
        items: Items that have a SID (count, at least 1).
        codebook_size: Codes of a layer (count).
        prefixes: Uniqueness at prefix length 1, 2 and 3, the last being the whole SID.
        layers: Code usage and reconstruction error of each layer.
        zero_vectors: Items whose vector is zero, which have no relative error (count); the
            figures of reconstruction leave them out.
        collisions: What the collisions are made of; None where texts are not known.
        largest_groups: The largest SID groups (up to 20), largest first, then by SID.
        worst_items: The items with the largest reconstruction error (up to 20), worst first,
            then by pid.
        branches: The largest branches of the code tree, each after its parent.
        distributions: What the pictures are drawn from.
    """

    items: int
    codebook_size: int
    prefixes: tuple[Uniqueness, ...]
    layers: tuple[CodeUsage, ...]
    zero_vectors: int
    collisions: Collisions | None
    largest_groups: tuple[SidGroup, ...]
    worst_items: tuple[WorstItem, ...]
    branches: tuple[Branch, ...]
    distributions: Distributions

    @property
    def sids(self) -> Uniqueness:
        """Uniqueness of whole SIDs."""
        return self.prefixes[-1]

    def figures(self) -> dict[str, int | float]:
        """The numbers by name, flat, for metadata that is plotted over refreshes."""
        figures: dict[str, int | float] = {"items": self.items, "zero_vectors": self.zero_vectors}
        figures |= named(self.sids, "sid_{}", leave_out=("length",))
        for prefix in self.prefixes[:-1]:
            figures |= named(prefix, f"prefix_{prefix.length}_{{}}", leave_out=("length",))
        for usage in self.layers:
            figures |= named(usage, f"layer_{usage.layer}_{{}}", leave_out=("layer", "error"))
            if usage.error:
                figures |= named(usage.error, f"layer_{usage.layer}_error_{{}}")
        if self.collisions:
            figures |= named(self.collisions, "collisions_{}")
        return figures


def measure_sids(
    codes: Iterable[pa.RecordBatch],
    codebook_size: int,
    item_texts: Iterable[pa.RecordBatch] | None = None,
) -> SidQuality:
    """Measure the SIDs of a catalog.

    Args:
        codes: Batches with the columns `pid`, `codes` and `residual_norms` of the table `codes`,
            sorted by pid.
        codebook_size: Codes of a layer of the tokenizer.
        item_texts: Batches with the columns `pid` and `text_hash`, sorted by pid; where given,
            collisions are told apart by whether they are items of identical text.

    Raises:
        InputError: No items, codes that the codebooks do not have, or items without a text.
    """
    scan = _scan(codes, codebook_size, item_texts)
    groups = _group(scan.sids, scan.text_keys)
    by_prefix = [*(_group_prefixes(groups, length) for length in range(1, CODE_LAYERS)), groups]
    group_sizes, group_counts = np.unique(groups.items, return_counts=True)
    errors = [_sorted_numbers(layer) for layer in scan.errors]
    return SidQuality(
        items=len(scan.sids),
        codebook_size=codebook_size,
        prefixes=tuple(
            _uniqueness(length, prefixes.items, codebook_size)
            for length, prefixes in enumerate(by_prefix, start=1)
        ),
        layers=tuple(
            _code_usage(layer, scan.code_counts[layer - 1], errors[layer - 1])
            for layer in range(1, CODE_LAYERS + 1)
        ),
        zero_vectors=len(scan.sids) - len(errors[0]),
        collisions=_collisions(groups),
        largest_groups=_largest_groups(groups),
        worst_items=tuple(scan.worst_items),
        branches=tuple(_branches(by_prefix)),
        distributions=Distributions(
            code_counts=scan.code_counts,
            group_sizes=group_sizes,
            group_counts=group_counts,
            error_quantiles=np.stack([_quantiles(layer) for layer in errors]),
        ),
    )


def entropy(counts: np.ndarray) -> float:
    """Entropy in nats of what is drawn in proportion to counts or weights (zeros are allowed)."""
    used = counts[counts > 0].astype(np.float64)
    total = used.sum()
    return float(max(0.0, np.log(total) - (used @ np.log(used)) / total))


def gini(sizes: np.ndarray) -> float:
    """Gini coefficient of sizes: 0 if all are equal, 1 - 1/n if one of n holds everything."""
    ascending = np.sort(sizes)
    n = len(ascending)
    rank = np.arange(1, n + 1, dtype=np.float64)
    return float(2 * (rank @ ascending) / (n * float(ascending.sum())) - (n + 1) / n)


def code_rows(batch: pa.RecordBatch, codebook_size: int) -> np.ndarray:
    """The codes of a batch: int64 (n, 3).

    Raises:
        InputError: A row that does not hold three codes in 0 .. codebook_size - 1.
    """
    flat = pc.list_flatten(batch["codes"]).to_numpy()
    lengths = pc.list_value_length(batch["codes"]).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != CODE_LAYERS)
    if not wrong.size:
        flat = flat.reshape(-1, CODE_LAYERS)
        wrong = np.flatnonzero(((flat < 0) | (flat >= codebook_size)).any(axis=1))
    if wrong.size:
        raise offending_rows(
            f"not {CODE_LAYERS} codes in 0 to {codebook_size - 1}",
            source="codes",
            column="codes",
            rows=len(wrong),
            ids=batch["pid"].take(pa.array(wrong)).to_pylist(),
            remedy="Measure them with the codebook size of the tokenizer they come from.",
        )
    return flat


def prefix_of(packed: np.ndarray, length: int) -> np.ndarray:
    """The first codes of packed SIDs as one integer; sorted if the SIDs are."""
    return packed // MAX_CODEBOOK_SIZE ** (CODE_LAYERS - length)


@dataclass(frozen=True, eq=False)
class _Scan:
    """What one pass over the codes keeps.

    Attributes:
        sids: int64 (n,): packed SIDs in the order of the items.
        text_keys: int64 (n,): the first 64 bits of each `text_hash`; None without texts. Texts are
            compared only within a SID group, where 64 bits are plenty.
        errors: float32 (n,) a layer: relative reconstruction errors; NaN for zero vectors.
        code_counts: int64 (3, codebook_size).
        worst_items: The items with the largest error after the last layer.
    """

    sids: np.ndarray
    text_keys: np.ndarray | None
    errors: list[np.ndarray]
    code_counts: np.ndarray
    worst_items: list[WorstItem]


def _scan(
    batches: Iterable[pa.RecordBatch],
    codebook_size: int,
    item_texts: Iterable[pa.RecordBatch] | None,
) -> _Scan:
    sids, text_keys, errors = [], [], [[] for _ in range(CODE_LAYERS)]
    code_counts = np.zeros((CODE_LAYERS, codebook_size), np.int64)
    worst: list[WorstItem] = []
    if item_texts is not None:
        batches = joined(batches, item_texts, pa.schema([("text_hash", HASH)]))
    for batch in batches:
        codes = code_rows(batch, codebook_size)
        relative = relative_errors(batch)
        sids.append(pack(codes))
        for layer in range(CODE_LAYERS):
            errors[layer].append(relative[layer].copy())
            code_counts[layer] += np.bincount(codes[:, layer], minlength=codebook_size)
        worst = _worst(worst, batch["pid"], codes, relative[-1])
        if item_texts is not None:
            text_keys.append(_text_keys(batch))
    if not sum(map(len, sids)):
        raise InputError("codes: no items. Quality is measured on a catalog of at least one item.")
    return _Scan(
        sids=_drained(sids),
        text_keys=_drained(text_keys) if text_keys else None,
        errors=[_drained(layer) for layer in errors],
        code_counts=code_counts,
        worst_items=worst,
    )


def _drained(arrays: list[np.ndarray]) -> np.ndarray:
    """The arrays as one; they are dropped, so that not all of them are held twice."""
    whole = np.concatenate(arrays)
    arrays.clear()
    return whole


def relative_errors(batch: pa.RecordBatch) -> np.ndarray:
    """float32 (3, n): residual norm after each layer / vector norm; NaN where that is 0."""
    norms = pc.list_flatten(batch["residual_norms"]).to_numpy(zero_copy_only=False)
    before, after = np.split(norms.reshape(-1, CODE_LAYERS + 1).T, [1])
    return np.divide(after, before, out=np.full(after.shape, np.nan, np.float32), where=before > 0)


def _text_keys(batch: pa.RecordBatch) -> np.ndarray:
    hashes = batch["text_hash"]
    if hashes.null_count:
        raise offending_rows(
            "items that have a SID but no text",
            source="item_texts",
            column="pid",
            rows=hashes.null_count,
            ids=batch["pid"].filter(hashes.is_null()).to_pylist(),
            remedy="Measure codes with the item_texts they were made from.",
        )
    return pc.binary_slice(hashes, 0, 8).view(pa.int64()).to_numpy()


def _worst(
    so_far: list[WorstItem], pids: pa.Array, codes: np.ndarray, errors: np.ndarray
) -> list[WorstItem]:
    """The worst of the items so far and those of a batch; of equally bad ones the first stay."""
    to_beat = so_far[-1].error if len(so_far) == WORST_ITEMS else -np.inf
    worse = np.flatnonzero(errors > to_beat)
    worst = worse[np.argsort(-errors[worse], kind="stable")[:WORST_ITEMS]]
    found = [
        WorstItem(pids[row].as_py(), tuple(codes[row].tolist()), float(errors[row]))
        for row in worst.tolist()
    ]
    return sorted(so_far + found, key=lambda item: -item.error)[:WORST_ITEMS]


@dataclass(frozen=True, eq=False)
class _Groups:
    """SID groups, or items by prefix, in ascending order.

    Attributes:
        prefixes: int64 (g,): packed prefixes (whole SIDs: of length 3).
        items: int64 (g,): items of each.
        distinct: int64 (g,): distinct SIDs of each.
        texts: int64 (g,): distinct texts of each; only for whole SIDs whose texts are known.
        length: Codes in a prefix.
    """

    prefixes: np.ndarray
    items: np.ndarray
    distinct: np.ndarray
    texts: np.ndarray | None = None
    length: int = CODE_LAYERS


def _group(sids: np.ndarray, text_keys: np.ndarray | None) -> _Groups:
    """Sort items into SID groups; both arrays are sorted in place."""
    texts = None
    if text_keys is None:
        sids.sort()
        starts = run_starts(sids)
    else:
        order = np.lexsort((text_keys, sids))
        for array in (sids, text_keys):
            array[:] = array[order]
        starts = run_starts(sids)
        new_text = np.ones(len(sids), bool)
        new_text[1:] = (sids[1:] != sids[:-1]) | (text_keys[1:] != text_keys[:-1])
        texts = np.add.reduceat(new_text, starts, dtype=np.int64)
    items = np.diff(starts, append=len(sids))
    return _Groups(sids[starts], items, np.broadcast_to(np.int64(1), len(items)), texts)


def _group_prefixes(groups: _Groups, length: int) -> _Groups:
    prefixes = prefix_of(groups.prefixes, length)
    starts = run_starts(prefixes)
    return _Groups(
        prefixes=prefixes[starts],
        items=np.add.reduceat(groups.items, starts),
        distinct=np.diff(starts, append=len(prefixes)),
        length=length,
    )


def run_starts(ascending: np.ndarray) -> np.ndarray:
    """Where each run of equal values starts."""
    return np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))


def _uniqueness(length: int, group_items: np.ndarray, codebook_size: int) -> Uniqueness:
    items = int(group_items.sum())
    colliding = int(group_items[group_items > 1].sum())
    nats = entropy(group_items)
    most = min(np.log(items), length * np.log(codebook_size))
    return Uniqueness(
        length=length,
        distinct=len(group_items),
        distinct_share=len(group_items) / items,
        colliding_items=colliding,
        colliding_share=colliding / items,
        largest_group=int(group_items.max()),
        gini=gini(group_items),
        entropy=nats,
        entropy_share=min(1.0, float(nats / most)) if most > 0 else 1.0,
    )


def _code_usage(layer: int, counts: np.ndarray, ascending_errors: np.ndarray) -> CodeUsage:
    used = int(np.count_nonzero(counts))
    nats = entropy(counts)
    return CodeUsage(
        layer=layer,
        used=used,
        dead=len(counts) - used,
        utilisation=used / len(counts),
        entropy=nats,
        perplexity=float(np.exp(nats)),
        error=_reconstruction_error(ascending_errors) if len(ascending_errors) else None,
    )


def _sorted_numbers(values: np.ndarray) -> np.ndarray:
    """The values in ascending order, without NaN. Sorts in place."""
    values.sort()
    return values[: len(values) - np.count_nonzero(np.isnan(values))]


def _reconstruction_error(ascending: np.ndarray) -> ReconstructionError:
    return ReconstructionError(
        mean=float(ascending.mean(dtype=np.float64)),
        p50=float(ascending[nearest_rank(0.50, len(ascending)) - 1]),
        p99=float(ascending[nearest_rank(0.99, len(ascending)) - 1]),
    )


def nearest_rank(share: float | np.ndarray, count: int) -> np.ndarray:
    """The rank, from 1, of the smallest of so many values that a share of them does not exceed."""
    # Rounding first: 0.99 * 100 must be rank 99, not 100, whatever the floating point says.
    return np.maximum(np.ceil(np.round(share * count, 6)).astype(np.int64), 1)


def _quantiles(ascending: np.ndarray) -> np.ndarray:
    shares = np.linspace(0, 1, ERROR_QUANTILES + 1)
    if not len(ascending):
        return np.full(len(shares), np.nan, np.float32)
    return ascending[nearest_rank(shares, len(ascending)) - 1]


def _collisions(groups: _Groups) -> Collisions | None:
    if groups.texts is None:
        return None
    return Collisions(
        same_text=int((groups.items - groups.texts).sum()),
        other_text=int((groups.texts - 1).sum()),
    )


def _largest_groups(groups: _Groups) -> tuple[SidGroup, ...]:
    shared = np.flatnonzero(groups.items > 1)
    largest = shared[np.argsort(-groups.items[shared], kind="stable")[:LARGEST_GROUPS]]
    return tuple(
        SidGroup(
            codes=_codes(int(groups.prefixes[group])),
            items=int(groups.items[group]),
            texts=None if groups.texts is None else int(groups.texts[group]),
        )
        for group in largest.tolist()
    )


def _branches(
    by_prefix: list[_Groups], parent: int | None = None, depth: int = 0
) -> Iterator[Branch]:
    """The largest branches below a packed prefix (None: the root), each followed by its own."""
    level = by_prefix[depth]
    start, stop = 0, len(level.prefixes)
    if parent is not None:
        first = parent * MAX_CODEBOOK_SIZE
        start, stop = np.searchsorted(level.prefixes, [first, first + MAX_CODEBOOK_SIZE])
    largest = np.argsort(-level.items[start:stop], kind="stable")[: BRANCHES[depth]]
    for node in (start + largest).tolist():
        prefix = int(level.prefixes[node])
        yield Branch(
            _codes(prefix, level.length), int(level.items[node]), int(level.distinct[node])
        )
        if depth + 1 < len(by_prefix):
            yield from _branches(by_prefix, prefix, depth + 1)


def _codes(packed: int, length: int = CODE_LAYERS) -> tuple[int, ...]:
    """The codes of a packed SID, or of a packed prefix of some length."""
    return tuple(unpack(np.array(packed))[CODE_LAYERS - length :].tolist())


def named(figures: Any, pattern: str, leave_out: tuple[str, ...] = ()) -> dict[str, int | float]:
    """The fields of a dataclass by name, but for some."""
    return {
        pattern.format(name): value
        for name, value in vars(figures).items()
        if name not in leave_out
    }
