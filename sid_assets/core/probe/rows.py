"""What the probe trains and scores on: rows of interactions, whose items are positions.

Rows of split 0 are trained on, rows of split 1 are scored. A history of split 1 holds what users
did after the rows of split 0, among it the targets of other rows of split 1; so it is only ever the
input of its own row.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.errors import InputError
from sid_assets.core.inputs.ids import PidTypeSetting, convert_pids
from sid_assets.core.inputs.interactions import check_types
from sid_assets.core.inputs.parquet import SPLIT, ParquetInput
from sid_assets.core.quality.sample import pid_hashes
from sid_assets.core.quality.use import splits_of
from sid_assets.core.registry.popularity import USER
from sid_assets.core.schema import PidType
from sid_assets.core.training_sets import VIDEO_LISTS

MOST_HISTORY = 50
"""Items of a history that are kept: the last ones."""

MOST_TRAINED = 1_000_000
"""Rows of split 0 that are used."""

MOST_SCORED = 20_000
"""Rows of split 1 that are scored."""


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists of items, one after the other.

    Attributes:
        items: int32 (m,): positions in the catalog.
        offsets: int64 (n + 1,): where each list starts; the last entry is m.
    """

    items: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, items: np.ndarray, lengths: np.ndarray) -> "Lists":
        """The lists of these lengths."""
        return cls(items.astype(np.int32), np.append(0, np.cumsum(lengths)))

    @property
    def lengths(self) -> np.ndarray:
        """The number of items of each list: int64 (n,)."""
        return np.diff(self.offsets)

    def rows(self) -> np.ndarray:
        """The list that each item is in: int64 (m,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def __getitem__(self, row: int) -> np.ndarray:
        """One list."""
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def take(self, rows: np.ndarray) -> "Lists":
        """Some of the lists, in this order."""
        lengths = self.lengths[rows]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return Lists.of(self.items[np.repeat(self.offsets[rows], lengths) + within], lengths)

    def last(self, count: int) -> "Lists":
        """The last `count` items of each list."""
        ends = np.repeat(self.offsets[1:], self.lengths)
        kept = np.arange(len(self.items)) >= ends - count
        return Lists.of(self.items[kept], np.minimum(self.lengths, count))


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one split, sorted by user; rows of one user are in the order of the file.

    Attributes:
        users: uint64 (n,): a hash of the user.
        histories: What the user did before, the earliest first. Never empty.
        targets: What came then. Never empty.
        left_out: Rows without a history or a target among the items (count).
        of_all: Rows that were there before some were chosen (count).
    """

    users: np.ndarray
    histories: Lists
    targets: Lists
    left_out: int
    of_all: int

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.users)

    def take(self, rows: np.ndarray) -> "Rows":
        """Some of the rows, in this order."""
        return Rows(
            self.users[rows],
            self.histories.take(rows),
            self.targets.take(rows),
            self.left_out,
            self.of_all,
        )

    def first_of_users(self) -> np.ndarray:
        """Whether a row is the first of its user: bool (n,)."""
        return np.append(True, self.users[1:] != self.users[:-1])[: len(self)]


def read_rows(
    interactions: ParquetInput,
    pids: pa.Array,
    pid_type: PidType,
    setting: PidTypeSetting = "auto",
    *,
    most_trained: int = MOST_TRAINED,
    most_scored: int = MOST_SCORED,
) -> tuple[Rows, Rows]:
    """Read the rows of split 0 and those of split 1.

    Where there are more rows than asked for, those whose users have the smallest hashes are chosen;
    never the first ones of the file.

    Args:
        interactions: Rows with `hist_video_pid`, `target_video_pid`, `split` and `uid`.
        pids: The ids of the items, sorted.
        pid_type: Their type.
        setting: SID_PID_TYPE.
        most_trained: Rows of split 0 that are kept.
        most_scored: Rows of split 1 that are kept.

    Raises:
        InputError: A column is missing or does not hold what it must, or a file is damaged.
    """
    lacking = interactions.missing([*VIDEO_LISTS, SPLIT, USER])
    if lacking:
        raise InputError(
            f"{interactions.path}: there is no column {' or '.join(map(repr, lacking))}. The probe "
            f"needs {', '.join([*VIDEO_LISTS, SPLIT, USER])}; split 1 has the rows that are scored."
        )
    check_types(interactions, [*VIDEO_LISTS, SPLIT, USER])
    chosen = _Chosen(most_trained), _Chosen(most_scored)
    start = 0
    for batch in interactions.batches([*VIDEO_LISTS, SPLIT, USER]):
        users, split = _users(batch, start), splits_of(batch).to_numpy()
        start += batch.num_rows
        lists = [_positions(batch[name], pids, pid_type, setting != "auto") for name in VIDEO_LISTS]
        for number, kept in enumerate(chosen):
            kept.add(users, *lists, of_split=split == number)
    return chosen[0].rows(), chosen[1].rows()


def _users(batch: pa.RecordBatch, start: int) -> np.ndarray:
    """A hash of the user of each row; a row without one has a user of its own."""
    users = batch[USER]
    own = np.flatnonzero(users.is_null(nan_is_null=True).to_numpy(zero_copy_only=False))
    if pa.types.is_integer(users.type):
        hashes = pid_hashes(users.fill_null(0)).copy()
    else:
        hashes = pid_hashes(convert_pids(users, "string").fill_null(""))
    hashes[own] = pid_hashes(pa.array([f"row {start + row}" for row in own], pa.string()))
    return hashes


def _positions(lists: pa.Array, pids: pa.Array, pid_type: PidType, forced: bool) -> Lists:
    """The lists with positions instead of ids; ids of no item are left out."""
    if pa.types.is_null(lists.type):
        return Lists.of(np.empty(0), np.zeros(len(lists), np.int64))
    given = convert_pids(pc.list_flatten(lists), pid_type, forced=forced)
    found = pc.fill_null(pc.index_in(given, value_set=pids), -1).to_numpy()
    rows = pc.list_parent_indices(lists).to_numpy()[found >= 0]
    return Lists.of(found[found >= 0], np.bincount(rows, minlength=len(lists)))


class _Chosen:
    """The rows of a split whose users have the smallest hashes, while rows are read."""

    def __init__(self, most: int) -> None:
        self._most, self._limit = most, np.uint64(np.iinfo(np.uint64).max)
        self._held: list[Rows] = []
        self._usable = self._left_out = self._count = 0

    def add(
        self, users: np.ndarray, histories: Lists, targets: Lists, of_split: np.ndarray
    ) -> None:
        """Keep the rows of a batch that may be among the chosen ones."""
        usable = of_split & (histories.lengths > 0) & (targets.lengths > 0)
        self._left_out += int(of_split.sum() - usable.sum())
        self._usable += int(usable.sum())
        kept = np.flatnonzero(usable & (users <= self._limit))
        self._held.append(
            Rows(users[kept], histories.take(kept).last(MOST_HISTORY), targets.take(kept), 0, 0)
        )
        self._count += len(kept)
        if self._count > 2 * self._most:
            self._held = [self._smallest()]
            self._count = len(self._held[0])
            self._limit = self._held[0].users[-1]

    def rows(self) -> Rows:
        """The chosen rows."""
        rows = self._smallest()
        return Rows(rows.users, rows.histories, rows.targets, self._left_out, self._usable)

    def _smallest(self) -> Rows:
        users = np.concatenate([np.empty(0, np.uint64), *(rows.users for rows in self._held)])
        order = np.argsort(users, kind="stable")[: self._most]
        histories = _concatenated(rows.histories for rows in self._held)
        targets = _concatenated(rows.targets for rows in self._held)
        return Rows(users[order], histories.take(order), targets.take(order), 0, 0)


def _concatenated(parts: Iterable[Lists]) -> Lists:
    held = list(parts)
    items = np.concatenate([np.empty(0, np.int32), *(part.items for part in held)])
    return Lists.of(items, np.concatenate([np.empty(0, np.int64), *(p.lengths for p in held)]))


def pairs_of(rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each (user, item) of the rows."""
    for lists in (rows.histories, rows.targets):
        yield rows.users[lists.rows()], lists.items


def count_repeated_targets(trained: Rows, scored: Rows) -> int:
    """How many scored rows have a target that the same user had in the rows of split 0."""
    known = np.unique(np.concatenate([_keys(u, i) for u, i in pairs_of(trained)]))
    targets = scored.targets
    repeated = np.isin(_keys(scored.users[targets.rows()], targets.items), known)
    return len(np.unique(targets.rows()[repeated]))


def _keys(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """A number for each (user, item); two of them differ, but for hashes that collide."""
    return users * np.uint64(0x9E3779B97F4A7C15) ^ items.astype(np.uint64)
