"""Changes of SIDs between two versions of a catalog: published SIDs must not move.

`check_unmoved` compares new codes with the published SIDs, the table `pid2sid`, before a new
`pid2sid` is made. If it stops a refresh, `pid2sid` stays unchanged, so the next refresh fails too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, codes_array
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.contracts.findings import Check, Finding, Findings, contract
from sid_assets.core.contracts.tables import COMPARED_ROWS
from sid_assets.core.errors import IDS_SHOWN
from sid_assets.core.schema import CODES, HASH
from sid_assets.core.store.versions import Version


@dataclass(frozen=True)
class SidChange:
    """An item whose SID changed although the item did not.

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
        edited: Items of both whose text or vector is different (count).
        moved: Unchanged items that have a different SID now (count). With the same tokenizer,
            anything but 0 is a fault.
        edited_and_moved: Edited items that have a different SID now (count); this is expected.
        first_moved: The first moved items, by pid (up to 5).
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
    compared: Literal["text_hash", "vector_hash"] | None = "vector_hash",
) -> SidChanges:
    """Compare the SIDs of two versions of a catalog, as a merge of two sorted streams.

    Args:
        previous: Batches with the columns `pid`, `codes` and the compared one, sorted by pid.
            `joined` puts the `text_hash` of `item_texts` beside `codes`.
        current: The same for the current version.
        compared: The column that shows whether an item is unchanged; None: all items are.
    """
    counted = _Counted(previous)
    both = added = unchanged = moved = edited_and_moved = 0
    first_moved: list[SidChange] = []
    columns = [("codes_before", CODES), *([("compared_before", HASH)] if compared else [])]
    for batch in joined(current, _before(counted, compared), pa.schema(columns)):
        known = batch.filter(batch["codes_before"].is_valid())
        added += batch.num_rows - known.num_rows
        both += known.num_rows
        same = _same(known, compared)
        before, after = codes_array(known["codes_before"]), codes_array(known["codes"])
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


@contract(
    Check(
        "unmoved",
        "Every item with unchanged text keeps the SID that is published in pid2sid.",
    )
)
def check_unmoved(codes: Version, published: Version | None, vectors: Version) -> Findings:
    """Every item with unchanged text keeps its published SID.

    Args:
        codes: The table `codes`.
        published: The table `pid2sid`; None if there is none yet.
        vectors: The table `item_embeddings` that the codes were made from.
    """
    if published is None or not _comparable(codes, published):
        return _unmoved("nothing to compare with: no SIDs of this generation are published")
    if published.provenance.inputs[codes.provenance.asset] == codes.provenance.version:
        return _unmoved("the published SIDs were made from these codes")
    changes, known = _changes(codes, published, vectors)
    found = f"{changes.moved:,} of {changes.unchanged:,} items with unchanged text have a new SID"
    if not known:
        found = (
            f"{changes.moved:,} of {changes.unchanged:,} items have a new SID; whether their texts "
            "changed is unknown, because earlier refreshes stopped after `codes`"
        )
    if changes.moved:
        first = ", ".join(repr(moved.pid) for moved in changes.first_moved)
        found += (
            f"; first ids: {first}. Find out why. To publish them anyway, materialise "
            f"{published.provenance.asset} and everything downstream, but nothing upstream"
        )
    counts = {"moved": changes.moved, "unchanged": changes.unchanged, "edited": changes.edited}
    counts |= {"added": changes.added, "removed": changes.removed}
    return {"unmoved": Finding(changes.moved == 0, found, counts)}


def _unmoved(why: str) -> Findings:
    return {"unmoved": Finding(True, why)}


def _comparable(codes: Version, published: Version) -> bool:
    """Whether both belong to one generation and have the same type of ids."""
    one, other = codes.provenance, published.provenance
    generation = (one.space, one.tokenizer) == (other.space, other.tokenizer)
    return generation and codes.pid_type == published.pid_type


def _changes(codes: Version, published: Version, vectors: Version) -> tuple[SidChanges, bool]:
    """What moved between the published SIDs and the codes, and whether edited items are known.

    The vectors that the codes were made from tell whether an item's text is unchanged. If those of
    the published SIDs are not kept, hashes of vectors are compared instead; if the codes of the
    published SIDs are not kept either, every item counts as unchanged.
    """
    before = codes.previous()
    behind = published.provenance.inputs[codes.provenance.asset]
    if before is None or before.provenance.version != behind:
        now = codes.stream(["pid", "codes"], COMPARED_ROWS)
        return sid_changes(_as_codes(published), now, compared=None), False
    texts_before, texts_now = _texts_behind(before, vectors), _texts_behind(codes, vectors)
    if texts_before is None or texts_now is None:
        columns = ["pid", "codes", "vector_hash"]
        streams = before.stream(columns, COMPARED_ROWS), codes.stream(columns, COMPARED_ROWS)
        return sid_changes(*streams), True
    return sid_changes(texts_before, texts_now, compared="text_hash"), True


def _texts_behind(codes: Version, vectors: Version) -> Iterator[pa.RecordBatch] | None:
    """The codes with the text hashes of the vectors they were made from, if those are kept."""
    made_from = codes.provenance.inputs[vectors.provenance.asset]
    for candidate in (vectors, vectors.previous()):
        if candidate and candidate.provenance.version == made_from:
            return joined(
                codes.stream(["pid", "codes"], COMPARED_ROWS),
                candidate.stream(["pid", "text_hash"], COMPARED_ROWS),
                pa.schema([("text_hash", HASH)]),
            )
    return None


def _as_codes(pid2sid: Version) -> Iterator[pa.RecordBatch]:
    for batch in pid2sid.stream(["pid", "sid"], COMPARED_ROWS):
        yield batch.rename_columns(["pid", "codes"])


class _Counted:
    """Batches whose rows are counted as they are read."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self._rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self._rows += batch.num_rows
            yield batch

    def read_all(self) -> int:
        """The number of rows in all batches, after reading the remaining ones."""
        for _ in self:
            pass
        return self._rows


def _before(batches: Iterable[pa.RecordBatch], compared: str | None) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        columns = {"pid": batch["pid"], "codes_before": batch["codes"]}
        if compared:
            columns["compared_before"] = batch[compared]
        yield pa.record_batch(columns)


def _same(known: pa.RecordBatch, compared: str | None) -> np.ndarray:
    """Which items are unchanged: bool, shape (n,)."""
    if compared is None:
        return np.ones(known.num_rows, bool)
    same = pc.equal(known[compared], known["compared_before"]).fill_null(False)
    return as_bool(same)
