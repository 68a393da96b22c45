"""Resolving collisions: where a SID is taken, the third code of an item is replaced.

SIDs are given in this order:

1. Occupied SIDs, published or reserved, stay with the items that have them.
2. Every item whose SID has room gets the SID of its codes: the most popular first, then the lowest
   pid.
3. The other items move, in the same order: each gets the third code, behind the same first two,
   whose SID has room and whose centroid is nearest to the residual of the item.

An item is without room only if all SIDs behind its first two codes are taken. A SID that is
reserved for an item counts once if the item moves to it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sid_assets.core.arrow.columns import run_starts
from sid_assets.core.quantise.row_blocks import distances, row_norms, subtract_rows
from sid_assets.core.registry.nearest_codes import NearestCodes
from sid_assets.core.schema import CODE_LAYERS
from sid_assets.core.sids.spelling import pack, prefix_of, unpack

NEAREST, MORE = 32, 16
"""How many third codes are ranked for an item that moves: the nearest 32 first, and 16 times as
many each time that all of these are taken. The 32 take 192 bytes an item that moves."""

MOST_RANKED = 2**28
"""Third codes that are ranked in one reading of the vectors: 1.6 GB."""

Vectors = Callable[[np.ndarray], Iterator[np.ndarray]]
"""Reads vectors: given ascending row numbers, float32 blocks of shape (k, dim) in their order."""


@dataclass(frozen=True)
class Reserved:
    """The SIDs that are reserved for items without a SID.

    Attributes:
        rows: int64, shape (r,): the items; one may be there several times.
        sids: int64, shape (r,): the SIDs, packed.
    """

    rows: np.ndarray
    sids: np.ndarray

    def thirds(self, movers: np.ndarray, packed: np.ndarray) -> dict[int, list[int]]:
        """By row, the third codes of those that begin with the codes of the item.

        Args:
            movers: The rows that are asked for.
            packed: int64, shape (n,): the codes of all items.
        """
        behind = prefix_of(self.sids, 2) == prefix_of(packed[self.rows], 2)
        chosen = np.flatnonzero(behind & np.isin(self.rows, movers))
        found: dict[int, list[int]] = {}
        for row, third in zip(self.rows[chosen], unpack(self.sids[chosen])[:, -1], strict=True):
            found.setdefault(int(row), []).append(int(third))
        return found


@dataclass(frozen=True)
class Resolved:
    """The SIDs of n items.

    Attributes:
        sids: uint16, shape (n, 3).
        moved: bool, shape (n,): which items have another SID than that of their codes.
        extra_error: float32, shape (n,): how much larger their relative reconstruction error is; 0
            for items that have not moved.
        without_room: bool, shape (n,): which items share the SID of their codes because all SIDs
            behind their first two codes are taken.
    """

    sids: np.ndarray
    moved: np.ndarray
    extra_error: np.ndarray
    without_room: np.ndarray


def resolve(
    codes: np.ndarray,
    popularity: np.ndarray,
    occupied: np.ndarray,
    most: int,
    centroids: np.ndarray,
    vectors: Vectors,
    reserved: Reserved | None = None,
) -> Resolved:
    """Give every item a SID that at most `most` items have.

    The result does not depend on how the vectors are cut into blocks, nor on threads. It takes
    about 40 bytes an item, 192 more for each item that moves, and a layer of centroids in float64.

    Args:
        codes: uint16, shape (n, 3): the codes of items without a SID, sorted by pid.
        popularity: int64, shape (n,): how many users have interacted with each.
        occupied: int64, shape (m,): the SIDs that are taken, packed; a SID that several items have
            is there several times.
        most: Items that may have the same SID.
        centroids: float32, shape (3, codebook_size, dim).
        vectors: Reads the vectors of rows.
        reserved: The SIDs that are reserved for some of the items; `occupied` has them, too.
    """
    packed = pack(codes)
    fits = _that_fit(packed, popularity, occupied, most)
    resolved = Resolved(
        codes.astype(np.uint16),
        np.zeros(len(codes), bool),
        np.zeros(len(codes), np.float32),
        np.zeros(len(codes), bool),
    )
    rows = np.flatnonzero(~fits)
    if len(rows):
        taken = _Taken.of(np.concatenate([occupied, packed[fits]]), most)
        movers = rows[np.lexsort((rows, -popularity[rows], prefix_of(packed[rows], 2)))]
        own = reserved.thirds(rows, packed) if reserved else {}
        _Movers(codes, taken, len(centroids[0]), most, own).move(
            movers, centroids, vectors, resolved
        )
    return resolved


def extra_errors(
    codes: np.ndarray, sids: np.ndarray, centroids: np.ndarray, vectors: Iterator[np.ndarray]
) -> np.ndarray:
    """How much larger the relative reconstruction error is with the SIDs than with the codes.

    Args:
        codes: Integers (n, 3).
        sids: Integers (n, 3), with the same first two codes.
        centroids: float32, shape (3, codebook_size, dim).
        vectors: The vectors of the items in blocks, float32.

    Returns:
        float32 (n,).
    """
    extra = np.empty(len(codes), np.float32)
    start = 0
    for block in vectors:
        rows = slice(start, start + len(block))
        start += len(block)
        residuals, own = np.array(block, np.float32), codes[rows].astype(np.int64)
        lengths, every = row_norms(residuals), np.arange(len(block))
        for layer in range(CODE_LAYERS - 1):
            subtract_rows(residuals, centroids[layer], own[:, layer])
        apart = distances(residuals, every, centroids[-1], sids[rows, -1].astype(np.int64))
        left = subtract_rows(residuals, centroids[-1], own[:, -1])
        extra[rows] = (apart - left) / lengths
    return extra


def _that_fit(
    packed: np.ndarray, popularity: np.ndarray, occupied: np.ndarray, most: int
) -> np.ndarray:
    """Which items get the SID of their codes: bool, shape (n,)."""
    if not len(packed):
        return np.zeros(0, bool)
    order = np.lexsort((np.arange(len(packed)), -popularity, packed))
    ordered = packed[order]
    starts = run_starts(ordered)
    sizes = np.diff(starts, append=len(ordered))
    place = np.arange(len(ordered)) - np.repeat(starts, sizes)
    room = most - _Taken.of(occupied, most).of_sids(ordered[starts])
    fits = np.empty(len(packed), bool)
    fits[order] = place < np.repeat(room, sizes)
    return fits


@dataclass(frozen=True)
class _Taken:
    """How many items have a SID.

    Attributes:
        sids: int64, shape (k,): packed, sorted, distinct.
        counts: int64, shape (k,): how many items have each, at most as many as may have it.
    """

    sids: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, packed: np.ndarray, most: int) -> "_Taken":
        sids, counts = np.unique(packed, return_counts=True)
        return cls(sids, np.minimum(counts, most))

    def of_sids(self, packed: np.ndarray) -> np.ndarray:
        """How many items have each of these SIDs: int64, shape (n,)."""
        if not len(self.sids):
            return np.zeros(len(packed), np.int64)
        place = np.searchsorted(self.sids, packed)
        there = self.sids.take(place, mode="clip") == packed
        return np.where(there, self.counts.take(place, mode="clip"), 0)

    def behind(self, prefix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The third codes of the SIDs that begin with two codes, and how many items have each."""
        ends = np.array([[*prefix, 0], [prefix[0], prefix[1] + 1, 0]])
        some = slice(*np.searchsorted(self.sids, pack(ends)))
        return unpack(self.sids[some])[:, -1], self.counts[some]


@dataclass
class _Prefix:
    """Items that move, and have the same first two codes.

    Attributes:
        prefix: int64, shape (2,): these codes.
        movers: Their rows, in the order in which they get a SID.
        placed: The third codes that were given to items before these.
    """

    prefix: np.ndarray
    movers: np.ndarray
    placed: list[int] = field(default_factory=list)

    def place(
        self, ranked: np.ndarray, room: np.ndarray, own: Mapping[int, Sequence[int]]
    ) -> np.ndarray:
        """Give items the nearest third code that has room, until one finds none.

        Args:
            ranked: Third codes of each of the items, the nearest first.
            room: int64, shape (codebook_size,): how many items may have each third code, without
                those that were placed before. It is used up.
            own: The third codes that are reserved for an item, and take no more room.

        Returns:
            The position in `ranked` of what each item got, for the items before the one that found
            none. The others remain in `movers`.
        """
        got = []
        for row, candidates in zip(self.movers, ranked, strict=True):
            has_room = room[candidates] > 0
            first = int(has_room.argmax())
            if not has_room[first]:
                break
            third = int(candidates[first])
            if third not in own.get(int(row), ()):
                room[third] -= 1
                self.placed.append(third)
            got.append(first)
        self.movers = self.movers[len(got) :]
        return np.array(got, np.int64)


@dataclass(frozen=True)
class _Movers:
    """What moving items takes.

    Attributes:
        codes: uint16, shape (n, 3): the codes of all items.
        taken: The SIDs of the items that do not move.
        codebook_size: The number of third codes.
        most: Items that may have the same SID.
        own: By row, the third codes that are reserved for the item.
    """

    codes: np.ndarray
    taken: _Taken
    codebook_size: int
    most: int
    own: Mapping[int, Sequence[int]]

    def move(
        self, movers: np.ndarray, centroids: np.ndarray, vectors: Vectors, resolved: Resolved
    ) -> None:
        """Give items another third code.

        Args:
            movers: Their rows, sorted by their first two codes; of those with the same ones, in the
                order in which they get a SID.
            centroids: float32, shape (3, codebook_size, dim).
            vectors: Reads the vectors of rows.
            resolved: Where to write.
        """
        waiting = list(self._prefixes(movers, resolved))
        nearest, count = NearestCodes(centroids[-1]), NEAREST
        while waiting:
            count = min(count, self.codebook_size)
            for some in _batches(waiting, MOST_RANKED // count):
                rows = np.concatenate([prefix.movers for prefix in some])
                ranking = _ranked(rows, self.codes, centroids, nearest, vectors, count)
                self._place(some, ranking, resolved)
            waiting = [prefix for prefix in waiting if len(prefix.movers)]
            count *= MORE

    def _prefixes(self, movers: np.ndarray, resolved: Resolved) -> Iterator[_Prefix]:
        """The items by their first two codes, without those that all SIDs are taken for.

        An item that moves to a SID that is reserved for it leaves room for another one.
        """
        starts = run_starts(prefix_of(pack(self.codes[movers]), CODE_LAYERS - 1))
        for start, end in zip(starts, np.append(starts[1:], len(movers)), strict=True):
            prefix = self.codes[movers[start], :-1].astype(np.int64)
            room = self.codebook_size * self.most - int(self.taken.behind(prefix)[1].sum())
            going_back = sum(int(row) in self.own for row in movers[start:end]) if self.own else 0
            last = min(end, start + room + going_back) if room else start
            resolved.without_room[movers[last:end]] = True
            if last > start:
                yield _Prefix(prefix, movers[start:last])

    def _place(self, prefixes: list[_Prefix], ranking: "_Ranking", resolved: Resolved) -> None:
        """Give the items of prefixes, ranked one after the other, their third codes."""
        start = 0
        for prefix in prefixes:
            movers = prefix.movers
            ranked = ranking.codes[start : start + len(movers)]
            room = self._room(prefix)
            got = prefix.place(ranked, room, self.own)
            moved, places = movers[: len(got)], (start + np.arange(len(got)), got)
            resolved.sids[moved, -1] = ranking.codes[places]
            resolved.extra_error[moved] = ranking.extra_errors[places]
            resolved.moved[moved] = True
            start += len(movers)
            if not room.any():
                resolved.without_room[prefix.movers] = True
                prefix.movers = prefix.movers[:0]

    def _room(self, prefix: _Prefix) -> np.ndarray:
        """How many more items may have each third code: int64, shape (codebook_size,)."""
        room = np.full(self.codebook_size, self.most)
        thirds, counts = self.taken.behind(prefix.prefix)
        room[thirds] -= counts
        np.subtract.at(room, prefix.placed, 1)
        return room


@dataclass(frozen=True)
class _Ranking:
    """The nearest third codes of items.

    Attributes:
        codes: uint16, shape (n, count).
        extra_errors: float32, shape (n, count): how much larger the relative reconstruction error
            is than with the item's own third code.
    """

    codes: np.ndarray
    extra_errors: np.ndarray


def _batches(prefixes: list[_Prefix], most: int) -> Iterator[list[_Prefix]]:
    """The prefixes, cut where their items become more than this; one prefix is never cut."""
    batch: list[_Prefix] = []
    items = 0
    for prefix in prefixes:
        if batch and items + len(prefix.movers) > most:
            yield batch
            batch, items = [], 0
        batch.append(prefix)
        items += len(prefix.movers)
    yield batch


def _ranked(
    rows: np.ndarray,
    codes: np.ndarray,
    centroids: np.ndarray,
    nearest: NearestCodes,
    vectors: Vectors,
    count: int,
) -> _Ranking:
    """Rank third codes for items; the vectors are read once, in the order of the rows."""
    ranking = _Ranking(
        np.empty((len(rows), count), np.uint16), np.empty((len(rows), count), np.float32)
    )
    order = np.argsort(rows)
    start = 0
    for block in vectors(rows[order]):
        places = order[start : start + len(block)]
        start += len(block)
        residuals, own = np.array(block, np.float32), codes[rows[places]].astype(np.int64)
        lengths = row_norms(residuals)
        for layer in range(CODE_LAYERS - 1):
            subtract_rows(residuals, centroids[layer], own[:, layer])
        ranked, apart = nearest.rank(residuals, count)
        left = subtract_rows(residuals, centroids[-1], own[:, -1])
        ranking.codes[places] = ranked
        ranking.extra_errors[places] = (apart - left[:, None]) / lengths[:, None]
    return ranking
