"""Changes of SIDs between two versions of a catalog: published SIDs must not move.

`check_unmoved` compares new codes with the published SIDs, the table `pid2sid`, before a new
`pid2sid` is made. If it stops a refresh, `pid2sid` stays unchanged, so the next refresh fails too.

A refresh that repairs a damaged table compares with the damaged version. What cannot be read there
is taken from another table if possible, and is reported as not compared otherwise.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, codes_array
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.contracts.findings import Check, Finding, Findings, contract
from sid_assets.core.contracts.tables import COMPARED_ROWS
from sid_assets.core.errors import IDS_SHOWN, SidAssetsError
from sid_assets.core.schema import CODES, HASH, Pid
from sid_assets.core.store.pid_ranges import DamageError, SortedParts
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
        unknown: Items of both that no hash tells about (count).
        moved: Unchanged items that have a different SID now (count). With the same tokenizer,
            anything but 0 is a fault.
        edited_and_moved: Edited items that have a different SID now (count); this is expected.
        unknown_and_moved: Unknown items that have a different SID now (count).
        first_moved: The first moved items, by pid (up to 5).
        first_unknown: The first items that are unknown and moved, by pid (up to 5).
    """

    added: int
    removed: int
    unchanged: int
    edited: int
    unknown: int
    moved: int
    edited_and_moved: int
    unknown_and_moved: int
    first_moved: tuple[SidChange, ...]
    first_unknown: tuple[SidChange, ...]


def sid_changes(
    previous: Iterable[pa.RecordBatch],
    current: Iterable[pa.RecordBatch],
    compared: Sequence[str] = ("vector_hash",),
) -> SidChanges:
    """Compare the SIDs of two versions of a catalog, as a merge of two sorted streams.

    Args:
        previous: Batches with the columns `pid`, `codes` and the compared ones, sorted by pid.
            `joined` puts the `text_hash` of `item_texts` beside `codes`.
        current: The same for the current version.
        compared: The columns that show whether an item is unchanged. The first one that is not
            null in either version counts.
    """
    counted = _Counted(previous)
    both = added = 0
    totals = dict.fromkeys((*_KINDS, *(f"{kind}_and_moved" for kind in _KINDS)), 0)
    first: dict[str, list[SidChange]] = {kind: [] for kind in _KINDS}
    columns = pa.schema([("codes_before", CODES), *((f"{name}_before", HASH) for name in compared)])
    for batch in joined(current, _before(counted, compared), columns):
        known = batch.filter(batch["codes_before"].is_valid())
        added += batch.num_rows - known.num_rows
        both += known.num_rows
        before, after = codes_array(known["codes_before"]), codes_array(known["codes"])
        differs = (before != after).any(axis=1)
        for kind, rows in zip(_KINDS, _kinds(known, compared), strict=True):
            totals[kind] += int(rows.sum())
            totals[f"{kind}_and_moved"] += int((rows & differs).sum())
            for row in np.flatnonzero(rows & differs)[: IDS_SHOWN - len(first[kind])].tolist():
                pid = known["pid"][row].as_py()
                change = SidChange(pid, tuple(before[row].tolist()), tuple(after[row].tolist()))
                first[kind].append(change)
    return SidChanges(
        added=added,
        removed=counted.read_all() - both,
        unchanged=totals["unchanged"],
        edited=totals["edited"],
        unknown=totals["unknown"],
        moved=totals["unchanged_and_moved"],
        edited_and_moved=totals["edited_and_moved"],
        unknown_and_moved=totals["unknown_and_moved"],
        first_moved=tuple(first["unchanged"]),
        first_unknown=tuple(first["unknown"]),
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
    behind = _codes_behind(published, codes)
    damage = _Damage()
    before = _published_sids(published, behind, damage)
    now = codes.stream(["pid", "codes", "vector_hash"], COMPARED_ROWS)
    compared = ("text_hash", "vector_hash")
    changes = sid_changes(
        _with_text_hashes(before, behind, vectors, damage),
        _with_text_hashes(now, codes, vectors, damage),
        compared,
    )
    return {"unmoved": _finding(changes, damage, published, behind)}


def _finding(
    changes: SidChanges, damage: "_Damage", published: Version, behind: Version | None
) -> Finding:
    moved, first = changes.moved, changes.first_moved
    found = f"{moved:,} of {changes.unchanged:,} items with unchanged text have a new SID"
    if behind is None:
        moved, first = changes.unknown_and_moved, changes.first_unknown
        found = (
            f"{moved:,} of {changes.unknown:,} items have a new SID; whether their texts changed "
            "is unknown, because earlier refreshes stopped after `codes`"
        )
    if moved:
        found += (
            f"; first ids: {_ids(first)}. Find out why. To publish them anyway, materialise "
            f"{published.provenance.asset} and everything downstream, but nothing upstream"
        )
    lost = changes.unknown_and_moved if behind else 0
    if lost or damage.rows:
        found += f"; {damage.describe(lost, changes.first_unknown)}"
    counts = {"moved": moved, "unchanged": changes.unchanged, "edited": changes.edited}
    counts |= {"added": changes.added, "removed": changes.removed}
    if behind:
        counts["not_compared"] = lost + damage.rows
    return Finding(moved == 0, found, counts)


def _ids(changes: Iterable[SidChange]) -> str:
    return ", ".join(repr(change.pid) for change in changes)


def _unmoved(why: str) -> Findings:
    return {"unmoved": Finding(True, why)}


def _comparable(codes: Version, published: Version) -> bool:
    """Whether both belong to one generation and have the same type of ids."""
    one, other = codes.provenance, published.provenance
    generation = (one.space, one.tokenizer) == (other.space, other.tokenizer)
    return generation and codes.pid_type == published.pid_type


@dataclass
class _Damage:
    """What cannot be read of earlier versions.

    Attributes:
        found: Parts and row groups that cannot be read.
        rows: Published SIDs that are lost (count).
        pids: The ranges of pids that they are in.
    """

    found: list[DamageError] = field(default_factory=list)
    rows: int = 0
    pids: list[tuple[Pid, Pid]] = field(default_factory=list)

    def describe(self, unknown: int, first: Sequence[SidChange]) -> str:
        """What could not be compared, and the damaged files.

        Args:
            unknown: Items whose SID changed, but whose earlier text and vector are lost.
            first: The first of them.
        """
        parts = []
        if unknown:
            parts.append(
                f"{unknown:,} items have a new SID, but whether their texts changed is lost "
                f"(first ids: {_ids(first)})"
            )
        if self.rows:
            ranges = ", ".join(f"{low!r} to {high!r}" for low, high in self.pids[:IDS_SHOWN])
            parts.append(f"{self.rows:,} published SIDs are lost (ids from {ranges})")
        # The run that compares has repaired them already.
        told = (str(damage).removesuffix(" Materialise its asset again.") for damage in self.found)
        messages = list(dict.fromkeys(told))[:IDS_SHOWN]
        return f"not compared: {'; '.join(parts)}. {' '.join(messages)}".strip()


def _codes_behind(published: Version, codes: Version) -> Version | None:
    """The codes that the published SIDs were made from; None if they are not kept."""
    before = _previous(codes)
    wanted = published.provenance.inputs[codes.provenance.asset]
    return before if before and before.provenance.version == wanted else None


def _published_sids(
    published: Version, behind: Version | None, damage: _Damage
) -> Iterator[pa.RecordBatch]:
    """The published SIDs as `pid`, `codes` and, where known, `vector_hash`.

    Rows that cannot be read are taken from the codes that they were made from.
    """
    rows = _sids_or_codes(published, behind, damage)
    return joined(
        rows, _readable(behind, "vector_hash", damage), pa.schema([("vector_hash", HASH)])
    )


def _sids_or_codes(
    published: Version, behind: Version | None, damage: _Damage
) -> Iterator[pa.RecordBatch]:
    holes: list[DamageError] = []  # each is noted before the rows that follow it

    def fill() -> Iterator[pa.RecordBatch]:
        while holes:
            hole, rows = holes.pop(0), 0
            damage.found.append(hole)
            if behind:
                parts = SortedParts.of(behind)
                for batch in parts.between(*hole.pids, ["pid", "codes"], damage.found.append):
                    rows += batch.num_rows
                    yield batch.select(["pid", "codes"])
            if rows < hole.rows:
                damage.rows += hole.rows - rows
                damage.pids.append(hole.pids)

    for batch in SortedParts.of(published).all_rows(["pid", "sid"], holes.append):
        yield from fill()
        yield batch.select(["pid", "sid"]).rename_columns(["pid", "codes"])
    yield from fill()


def _with_text_hashes(
    codes: Iterable[pa.RecordBatch], of: Version | None, vectors: Version, damage: _Damage
) -> Iterator[pa.RecordBatch]:
    """Rows of codes with the text hashes of the vectors they were made from; null if not known.

    Args:
        codes: The rows.
        of: The version of `codes` that they belong to; None if it is not kept.
        vectors: The table `item_embeddings`.
        damage: Notes what cannot be read.
    """
    behind = None
    if of:
        made_from = of.provenance.inputs[vectors.provenance.asset]
        kept = (vectors, _previous(vectors))
        behind = next((v for v in kept if v and v.provenance.version == made_from), None)
    return joined(codes, _readable(behind, "text_hash", damage), pa.schema([("text_hash", HASH)]))


def _readable(version: Version | None, column: str, damage: _Damage) -> Iterator[pa.RecordBatch]:
    """The `pid` and a column of all rows that can be read."""
    if version:
        yield from SortedParts.of(version).all_rows(["pid", column], damage.found.append)


def _previous(version: Version) -> Version | None:
    """The previous version; None if it is not kept, or its manifest cannot be read."""
    try:
        return version.previous()
    except SidAssetsError:
        return None


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


def _before(batches: Iterable[pa.RecordBatch], compared: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        columns = {"pid": batch["pid"], "codes_before": batch["codes"]}
        yield pa.record_batch(columns | {f"{name}_before": batch[name] for name in compared})


_KINDS = ("unchanged", "edited", "unknown")


def _kinds(known: pa.RecordBatch, compared: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Which items are unchanged, edited and unknown: bool, shape (n,) each."""
    same = pa.nulls(known.num_rows, pa.bool_())
    for name in compared:
        same = pc.coalesce(same, pc.equal(known[name], known[f"{name}_before"]))
    unchanged, edited = as_bool(same.fill_null(False)), as_bool(pc.invert(same).fill_null(False))
    return unchanged, edited, ~(unchanged | edited)
