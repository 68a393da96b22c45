"""Measures the semantic IDs of a catalog: uniqueness, code usage, reconstruction error.

All figures are exact and cover all items. `measure_sids` reads the codes once, as a stream, and
keeps numbers instead of rows: 20 bytes per item, 28 if texts are given, and up to about 90 while it
sorts them (measured: 1.2 GB for ten million items). A SID is stored as one integer, so one sort
gives distinct SIDs, groups and prefixes. `figures` explains the figures.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import codes_array, run_starts
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.arrow.statistics import entropy, gini, nearest_rank
from sid_assets.core.arrow.vectors import vectors_of
from sid_assets.core.errors import InputError, offending_rows
from sid_assets.core.quality.figures import (
    Branch,
    CodeUsage,
    Collisions,
    Distributions,
    ReconstructionError,
    SidGroup,
    SidQuality,
    Uniqueness,
    WorstItem,
)
from sid_assets.core.schema import CODE_LAYERS, HASH, MAX_CODEBOOK_SIZE
from sid_assets.core.sids.spelling import pack, prefix_of, unpack

LARGEST_GROUPS = 20
WORST_ITEMS = 20
BRANCHES = (16, 16, 8)
"""How many of the largest branches of the code tree are kept below each node, by layer."""

ERROR_QUANTILES = 200
"""Steps of the curve of reconstruction errors that is kept for charts."""


def measure_sids(
    codes: Iterable[pa.RecordBatch],
    codebook_size: int,
    item_texts: Iterable[pa.RecordBatch] | None = None,
) -> SidQuality:
    """Measure the SIDs of a catalog.

    Args:
        codes: Batches with the columns `pid`, `codes` and `residual_norms` of the table `codes`,
            sorted by pid.
        codebook_size: Codes per layer of the tokenizer.
        item_texts: Batches with the columns `pid` and `text_hash`, sorted by pid. If given,
            collisions of items with identical text are counted separately.

    Raises:
        InputError: There are no items, codes are outside the codebooks, or items have no text.
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


def code_rows(batch: pa.RecordBatch, codebook_size: int) -> np.ndarray:
    """The codes of a batch: int64 (n, 3).

    Raises:
        InputError: A row does not hold three codes in 0 .. codebook_size - 1.
    """
    wrong = pc.list_value_length(batch["codes"]).to_numpy(zero_copy_only=False) != CODE_LAYERS
    if not wrong.any():
        codes = codes_array(batch["codes"])
        wrong = ((codes < 0) | (codes >= codebook_size)).any(axis=1)
        if not wrong.any():
            return codes
    raise offending_rows(
        f"not {CODE_LAYERS} codes in 0 to {codebook_size - 1}",
        source="codes",
        column="codes",
        rows=int(wrong.sum()),
        ids=batch["pid"].filter(pa.array(wrong)).to_pylist(),
        remedy="Measure codes with the codebook size of the tokenizer that made them.",
    )


@dataclass(frozen=True, eq=False)
class _Scan:
    """The numbers that one pass over the codes keeps.

    Attributes:
        sids: int64 (n,): packed SIDs in the order of the items.
        text_keys: int64 (n,): the first 64 bits of each `text_hash`; None without texts. Texts are
            compared only within a SID group, where 64 bits are enough.
        errors: float32 (n,) per layer: relative reconstruction errors; NaN for zero vectors.
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
        raise InputError("codes: no items. Measuring quality needs at least one item.")
    return _Scan(
        sids=_drained(sids),
        text_keys=_drained(text_keys) if text_keys else None,
        errors=[_drained(layer) for layer in errors],
        code_counts=code_counts,
        worst_items=worst,
    )


def _drained(arrays: list[np.ndarray]) -> np.ndarray:
    """The arrays as one; the list is cleared, so that memory does not stay doubled."""
    whole = np.concatenate(arrays)
    arrays.clear()
    return whole


def relative_errors(batch: pa.RecordBatch) -> np.ndarray:
    """float32 (3, n): residual norm after each layer / vector norm; NaN for zero vectors."""
    before, after = np.split(vectors_of(batch["residual_norms"]).T, [1])
    return np.divide(after, before, out=np.full(after.shape, np.nan, np.float32), where=before > 0)


def _text_keys(batch: pa.RecordBatch) -> np.ndarray:
    hashes = batch["text_hash"]
    if hashes.null_count:
        raise offending_rows(
            "items with a SID but no text",
            source="item_texts",
            column="pid",
            rows=hashes.null_count,
            ids=batch["pid"].filter(hashes.is_null()).to_pylist(),
            remedy="Measure codes with the item_texts that they were made from.",
        )
    return pc.binary_slice(hashes, 0, 8).view(pa.int64()).to_numpy()


def _worst(
    so_far: list[WorstItem], pids: pa.Array, codes: np.ndarray, errors: np.ndarray
) -> list[WorstItem]:
    """The worst of the items so far and those of a batch; on equal errors, earlier items win."""
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
        prefixes: int64 (g,): packed prefixes (length 3 for whole SIDs).
        items: int64 (g,): items in each group.
        distinct: int64 (g,): distinct SIDs in each group.
        texts: int64 (g,): distinct texts in each group; only for whole SIDs with known texts.
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
        error=_error_of(ascending_errors),
    )


def _sorted_numbers(values: np.ndarray) -> np.ndarray:
    """The values in ascending order, without NaN. Sorts in place."""
    values.sort()
    return values[: len(values) - np.count_nonzero(np.isnan(values))]


def reconstruction_error(errors: np.ndarray) -> ReconstructionError | None:
    """The figures of some errors, float32 (n,), which are sorted in place; None if all are NaN."""
    return _error_of(_sorted_numbers(errors))


def _error_of(ascending: np.ndarray) -> ReconstructionError | None:
    if not len(ascending):
        return None
    return ReconstructionError(
        mean=float(ascending.mean(dtype=np.float64)),
        p50=float(ascending[nearest_rank(0.50, len(ascending)) - 1]),
        p99=float(ascending[nearest_rank(0.99, len(ascending)) - 1]),
    )


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
    """The largest branches below a packed prefix (None: the root), each before its children."""
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
    """The codes of a packed SID, or of a packed prefix of the given length."""
    return tuple(unpack(np.array(packed))[CODE_LAYERS - length :].tolist())
