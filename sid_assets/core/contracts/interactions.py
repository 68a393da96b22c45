"""The contract of `interactions`, checked on the files on disk."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import list_bounds, spans
from sid_assets.core.contracts.findings import Check, Finding, Findings, Offenders, contract
from sid_assets.core.events.making import EventsMaking, as_text
from sid_assets.core.sids.index import SidIndex
from sid_assets.core.store.versions import Version

ROWS_AT_A_TIME = 1024
HISTORY, TARGETS = "hist_video_pid", "target_video_pid"
COLUMNS = ("uid", "split", "history_until", "targets_from", HISTORY, TARGETS)


@contract(
    Check("rows", "There are rows for training."),
    Check("order", "Rows are sorted by user, and those of a user by time."),
    Check(
        "targets_after_history",
        "The history of a row ends before its targets, begins with the history of the user's row "
        "before, and then has the targets of that row in their order.",
    ),
    Check("splits", "Rows are split as the method says."),
    Check("ids", "Every id is that of an item that has a SID, or had one."),
)
def check_interactions(version: Version, known: Iterable[pa.Array]) -> Findings:
    """Rows are in order, histories grow by the targets before them, splits and ids are right.

    A history that is cut at its greatest length cannot be compared with the row before.

    Args:
        version: The table.
        known: The ids of all items that have a SID, or had one; they may repeat.
    """
    making = EventsMaking.of(version.provenance)
    order, histories, splits, unknown = Offenders(), Offenders(), Offenders(), Offenders()
    index, training, last = _index(known), 0, None
    for rows, fresh in _overlapping(version):
        first, second = rows.slice(0, rows.num_rows - 1), rows.slice(1)
        same_user = _true(pc.equal(first["uid"], second["uid"]))
        later_user = _true(pc.less(first["uid"], second["uid"]))
        later_time = _true(pc.less(first["targets_from"], second["targets_from"]))
        order.add(~(later_user | same_user & later_time), second["uid"])
        histories.add(same_user & ~_grown(first, second, making.most_history), second["uid"])
        new = rows.slice(rows.num_rows - fresh)
        histories.add(~_true(pc.less(new["history_until"], new["targets_from"])), new["uid"])
        if making.t1 is None:
            splits.add(_split_1(first) == same_user, first["uid"])
        else:
            times = new["targets_from"].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
            splits.add(_split_1(new) != _true(pc.greater_equal(times, making.t1)), new["uid"])
        unknown.add(_without_item(new, index), new["uid"])
        training += int((~_split_1(new)).sum())
        last = rows.slice(rows.num_rows - 1)
    if making.t1 is None and last:
        splits.add(~_split_1(last), last["uid"])
    return {
        "rows": Finding(training > 0, f"{training:,} rows of split 0", {"rows": version.rows}),
        "order": order.finding("rows are in order", "a row is out of order"),
        "targets_after_history": histories.finding(
            "histories end before their targets, and grow by them",
            "a history ends too late, or does not begin with the row before",
        ),
        "splits": splits.finding(
            f"rows are split {_method(making)}", f"a row is not split {_method(making)}"
        ),
        "ids": unknown.finding("every id has a SID", "an id has no SID and never had one"),
    }


def _method(making: EventsMaking) -> str:
    if making.t1 is None:
        return "by the last row of each user"
    return f"at {as_text(making.t1)}"


def _overlapping(version: Version) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The rows in windows that begin with the last row before, and how many rows are new."""
    before: pa.RecordBatch | None = None
    for batch in version.stream(COLUMNS, ROWS_AT_A_TIME):
        if not batch.num_rows:
            continue
        window = pa.concat_batches([before, batch]) if before else batch
        yield window, batch.num_rows
        before = batch.slice(batch.num_rows - 1)


def _grown(first: pa.RecordBatch, second: pa.RecordBatch, most_history: int) -> np.ndarray:
    """Whether the history of a row is that of the row before, and then has its targets in order.

    bool, shape (n,); true where the history is cut.
    """
    starts, ends = list_bounds(second[HISTORY])
    grown = np.ones(len(starts), bool)
    expected = starts
    for column in (HISTORY, TARGETS):
        begin, end = list_bounds(first[column])
        expected = expected + (end - begin)
    cut = ends - starts >= most_history
    grown[~cut & (expected > ends)] = False
    compared = ~cut & grown
    place = starts
    for column in (HISTORY, TARGETS):
        begin, end = list_bounds(first[column])
        begin, end = np.where(compared, begin, 0), np.where(compared, end, 0)
        earlier, bounds = spans(begin, end)
        later, _ = spans(np.where(compared, place, 0), np.where(compared, place + end - begin, 0))
        same = _true(
            pc.equal(
                first[column].values.take(pa.array(earlier)),
                second[HISTORY].values.take(pa.array(later)),
            )
        )
        wrong = np.add.reduceat(np.append(~same, False), bounds[:-1]) > 0
        grown &= ~(wrong & (end > begin))
        place = place + (end - begin)
    # Events with items that left the catalog may lie between the targets.
    for row in np.flatnonzero(compared & ~grown):
        before, targets = (first[column][int(row)].as_py() for column in (HISTORY, TARGETS))
        grown[row] = _continues(second[HISTORY][int(row)].as_py(), before, targets)
    return grown


def _continues(history: list[Any], before: list[Any], targets: list[Any]) -> bool:
    """Whether a history is the one before, and then has these targets in this order."""
    added = iter(history[len(before) :])
    return history[: len(before)] == before and all(target in added for target in targets)


def _without_item(rows: pa.RecordBatch, index: SidIndex) -> np.ndarray:
    """Whether a row has an id that is not known, or is null: bool, shape (n,)."""
    wrong = np.zeros(rows.num_rows, bool)
    for column in (HISTORY, TARGETS):
        ids, row = rows[column].flatten(), pc.list_parent_indices(rows[column]).to_numpy()
        wrong[row[~index.find(ids).found]] = True
    return wrong


def _index(known: Iterable[pa.Array]) -> SidIndex:
    """An index that finds these ids; their codes are not used."""
    ids = pc.unique(pa.chunked_array(list(known)))
    return SidIndex(ids, np.zeros((len(ids), 3), np.int32))


def _split_1(rows: pa.RecordBatch) -> np.ndarray:
    return ~_true(pc.equal(rows["split"], 0))


def _true(values: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(values, False))
