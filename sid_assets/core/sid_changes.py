"""What happened to SIDs between two versions of a catalog: published ones must stay."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.errors import IDS_SHOWN
from sid_assets.core.schema import CODE_LAYERS, CODES, HASH
from sid_assets.core.sorted_join import joined


@dataclass(frozen=True)
class SidChange:
    """An item whose SID changed although it did not.

    Attributes:
        pid: The item.
        before: Its SID in the previous version.
        after: Its SID now.
    """

    pid: int | str
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class SidChanges:
    """The items of two versions, compared.

    Attributes:
        added: Items that only the current version has (count).
        removed: Items that only the previous version has (count).
        unchanged: Items of both whose text or vector, whichever was compared, is the same (count).
        edited: Items of both whose text or vector is another (count).
        moved: Unchanged items that have another SID now (count). With one tokenizer: 0, or
            something is broken.
        edited_and_moved: Edited items that have another SID now (count); that is in order.
        first_moved: The first of the moved items, by pid (up to 5).
    """

    added: int
    removed: int
    unchanged: int
    edited: int
    moved: int
    edited_and_moved: int
    first_moved: tuple[SidChange, ...]


def sid_changes(
    previous: Iterable[pa.RecordBatch],
    current: Iterable[pa.RecordBatch],
    compared: Literal["text_hash", "vector_hash"] = "vector_hash",
) -> SidChanges:
    """Compare the SIDs of two versions of a catalog, as a merge of two sorted streams.

    Args:
        previous: Batches with the columns `pid`, `codes` and the compared one, sorted by pid.
            `joined` puts the `text_hash` of `item_texts` beside `codes`.
        current: The same of the current version.
        compared: The column that says whether an item is the one it was.
    """
    counted = _Counted(previous)
    both = added = unchanged = moved = edited_and_moved = 0
    first_moved: list[SidChange] = []
    columns = pa.schema([("codes_before", CODES), ("compared_before", HASH)])
    for batch in joined(current, _before(counted, compared), columns):
        known = batch.filter(batch["codes_before"].is_valid())
        added += batch.num_rows - known.num_rows
        both += known.num_rows
        same = pc.equal(known[compared], known["compared_before"]).fill_null(False)
        same = same.to_numpy(zero_copy_only=False)
        before, after = _code_rows(known["codes_before"]), _code_rows(known["codes"])
        differs = (before != after).any(axis=1)
        unchanged += int(same.sum())
        moved += int((same & differs).sum())
        edited_and_moved += int((~same & differs).sum())
        for row in np.flatnonzero(same & differs)[: IDS_SHOWN - len(first_moved)].tolist():
            pid = known["pid"][row].as_py()
            first_moved.append(
                SidChange(pid, tuple(before[row].tolist()), tuple(after[row].tolist()))
            )
    return SidChanges(
        added=added,
        removed=counted.read_all() - both,
        unchanged=unchanged,
        edited=both - unchanged,
        moved=moved,
        edited_and_moved=edited_and_moved,
        first_moved=tuple(first_moved),
    )


class _Counted:
    """Batches that are counted as they pass."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self._rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self._rows += batch.num_rows
            yield batch

    def read_all(self) -> int:
        """The rows of all batches, after reading those that nobody asked for."""
        for _ in self:
            pass
        return self._rows


def _before(batches: Iterable[pa.RecordBatch], compared: str) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        columns = [batch["pid"], batch["codes"], batch[compared]]
        yield pa.record_batch(columns, names=["pid", "codes_before", "compared_before"])


def _code_rows(codes: pa.Array) -> np.ndarray:
    return pc.list_flatten(codes).to_numpy().reshape(-1, CODE_LAYERS)
