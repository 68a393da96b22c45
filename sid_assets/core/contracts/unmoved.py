"""Published SIDs must not move: two versions of the registry are compared, row by row.

It runs before each commit of the registry, and as a check of what is on disk.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, codes_array
from sid_assets.core.arrow.windows import windows
from sid_assets.core.contracts.findings import Check, Finding, Findings, Offenders, contract
from sid_assets.core.schema import CODE_LAYERS, MAX_CODEBOOK_SIZE
from sid_assets.core.store.versions import Version

COMPARED = ["generation", "pid", "sid", "text_hash", "published_at", "left_at", "left_why"]
COMPARED_ROWS = 65_536

SID_SPACE = MAX_CODEBOOK_SIZE**CODE_LAYERS


@contract(
    Check(
        "unmoved",
        "Every SID that was ever published is still there, and every item with unchanged text "
        "keeps its SID.",
    )
)
def check_unmoved(registry: Version, before: Version | None) -> Findings:
    """No row of the version before vanished, and no item with unchanged text lost its SID.

    Args:
        registry: The version to check, which may not be committed yet.
        before: The version before; None if there is none.
    """
    if before is None:
        return {"unmoved": Finding(True, "no SIDs were published before")}
    vanished, again, moved = Offenders(), Offenders(), Offenders()
    rows = 0
    for generation in generations_of(before):
        for earlier, now in windows(rows_of(before, generation), rows_of(registry, generation)):
            rows += earlier.num_rows
            _compare(earlier, now, vanished, again, moved)
    broken = [
        finding.description
        for finding in (
            vanished.finding("", "a published SID vanished"),
            again.finding("", "a SID has another time of publication"),
            moved.finding("", "an item with unchanged text lost its SID"),
        )
        if not finding.passed
    ]
    if broken:
        counts = {"vanished": vanished.rows, "moved": moved.rows, "published_again": again.rows}
        return {"unmoved": Finding(False, "; ".join(broken), counts)}
    return {"unmoved": Finding(True, f"all {rows:,} published SIDs are where they were")}


def generations_of(version: Version) -> list[str]:
    """The generations of a registry, in the order of its rows."""
    found: dict[str, None] = {}
    for batch in version.stream(["generation"], COMPARED_ROWS):
        found.update(dict.fromkeys(pc.unique(batch["generation"]).to_pylist()))
    return list(found)


def rows_of(version: Version, generation: str) -> pa.RecordBatchReader:
    """The rows of a generation, with the columns that are compared."""
    stream = version.stream(COMPARED, COMPARED_ROWS)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in stream:
            yield batch.filter(pc.equal(batch["generation"], generation))

    return pa.RecordBatchReader.from_batches(stream.schema, batches())


def _compare(
    earlier: pa.Table, now: pa.Table, vanished: Offenders, again: Offenders, moved: Offenders
) -> None:
    """Compare the rows of some pids, of one generation."""
    if not earlier.num_rows:
        return
    pids = _array(earlier["pid"])
    both = pc.unique(pa.concat_arrays([pids, _array(now["pid"])]))
    item, item_now = (
        pc.index_in(table["pid"], value_set=both).to_numpy().astype(np.int64)
        for table in (earlier, now)
    )
    keys, keys_now = item * SID_SPACE + _packed(earlier), item_now * SID_SPACE + _packed(now)
    order = np.argsort(keys_now)
    place = np.searchsorted(keys_now[order], keys)
    found = place < len(order)
    found[found] = keys_now[order][place[found]] == keys[found]
    vanished.add(~found, pids)
    match = order[place[found]]
    other = pc.not_equal(
        _array(earlier["published_at"]).filter(pa.array(found)),
        _array(now["published_at"]).take(pa.array(match)),
    )
    mask = np.zeros(len(pids), bool)
    mask[found] = as_bool(other.fill_null(True))
    again.add(mask, pids)
    mask[:] = False
    mask[found] = _lost(earlier, now, np.flatnonzero(found), match, item, item_now)
    moved.add(mask, pids)


def _lost(
    earlier: pa.Table,
    now: pa.Table,
    rows: np.ndarray,
    match: np.ndarray,
    item: np.ndarray,
    item_now: np.ndarray,
) -> np.ndarray:
    """Which rows their item has left without a reason: bool (k,).

    Args:
        earlier: The rows before.
        now: The rows now.
        rows: Rows of `earlier` that are still there: int64 (k,).
        match: The same rows in `now`: int64 (k,).
        item: The item of each row of `earlier`.
        item_now: The item of each row of `now`.
    """
    left_before, left = _left(earlier)[rows], _left(now)[match]
    live_of = np.full(int(max(item.max(), item_now.max(initial=0))) + 1, -1)
    live = np.flatnonzero(~_left(now))
    live_of[item_now[live]] = live
    owner = live_of[item[rows]]
    has_sid = owner >= 0
    why = _array(now["left_why"]).take(pa.array(match))
    removed = as_bool(pc.equal(why, "removed").fill_null(False)) & ~has_sid
    changed = as_bool(pc.equal(why, "text changed").fill_null(False)) & has_sid
    if changed.any():
        before = _array(earlier["text_hash"]).take(pa.array(rows))
        theirs = _array(now["text_hash"]).take(pa.array(np.where(has_sid, owner, 0)))
        changed &= as_bool(pc.not_equal(before, theirs).fill_null(False))
    return ~left_before & left & ~(removed | changed)


def _left(rows: pa.Table) -> np.ndarray:
    return as_bool(_array(rows["left_at"].is_valid()))


def _packed(rows: pa.Table) -> np.ndarray:
    """The SIDs as integers: int64 (n,)."""
    first, second, third = codes_array(_array(rows["sid"])).T
    return (first * MAX_CODEBOOK_SIZE + second) * MAX_CODEBOOK_SIZE + third


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()
