"""The rows of the registry after a refresh: what was decided, and the SIDs that are new."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import codes_column
from sid_assets.core.registry.decide import (
    NO_RULE,
    NOBODY,
    RETURNS,
    STAYS,
    Decision,
    codes_of,
    column,
    known,
)
from sid_assets.core.schema import TIME
from sid_assets.core.sids.spelling import pack


@dataclass(frozen=True, eq=False)
class NewSids:
    """SIDs for the items that need one, in the order of their pids.

    Attributes:
        sids: Integers (k, 3).
        moved: bool (k,): whether the SID is not that of the codes, because that was taken.
        extra_error: float32 (k,): how much larger the relative error is; 0 where not moved.
        reworded: float32 (m,): the same for the items `decision.reworded`, which keep their SIDs.
    """

    sids: np.ndarray
    moved: np.ndarray
    extra_error: np.ndarray
    reworded: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))

    @classmethod
    def of_codes(cls, codes: np.ndarray) -> "NewSids":
        """SIDs that are the codes: integers (k, 3)."""
        return cls(codes, np.zeros(len(codes), bool), np.zeros(len(codes), np.float32))


@dataclass(frozen=True, eq=False)
class Applied:
    """A window of the registry after a refresh.

    Attributes:
        rows: The rows, sorted by pid and `published_at`.
        owned: bool (rows,): which of them are the row of an item.
        new: bool (rows,): which of them were published by this refresh, also again.
    """

    rows: pa.Table
    owned: np.ndarray
    new: np.ndarray


def apply(decision: Decision, given: NewSids, generation: str, at: pa.TimestampScalar) -> Applied:
    """The rows of a window after this refresh.

    An item whose new SID is one that it had before gets that row again: a generation has one row
    for an item and a SID.

    Args:
        decision: What was decided.
        given: The SIDs of the items `decision.new`.
        generation: Id of the generation.
        at: The time of this refresh, later than all times in the registry.
    """
    new = decision.new
    row = decision.row.copy()
    own = np.flatnonzero(decision.item != NOBODY)
    sids = np.full(len(row), NOBODY)
    sids[new] = pack(given.sids)
    again = own[pack(codes_of(decision.rows["sid"]))[own] == sids[decision.item[own]]]
    row[decision.item[again]] = again
    kept = _kept_rows(decision, row, given, at)
    owned = np.zeros(len(decision.item), bool)
    owned[row[row != NOBODY]] = True
    fresh = row[new] == NOBODY
    added = _added_rows(decision, new, fresh, given, generation, at)
    both = pa.concat_tables([kept, added])
    order = pc.sort_indices(
        both.select(["pid", "published_at"]),
        [("pid", "ascending"), ("published_at", "ascending")],
    )
    is_new = np.zeros(len(owned), bool)
    is_new[again] = True
    places = order.to_numpy()
    return Applied(
        both.take(order),
        np.append(owned, np.ones(added.num_rows, bool))[places],
        np.append(is_new, np.ones(added.num_rows, bool))[places],
    )


def _kept_rows(
    decision: Decision, row: np.ndarray, given: NewSids, at: pa.TimestampScalar
) -> pa.Table:
    """The rows that were there, with what changes. No row vanishes."""
    rows = decision.rows.combine_chunks()
    owners = np.flatnonzero(row != NOBODY)
    owned = row[owners]
    hashes = pa.nulls(rows.num_rows, rows.schema.field("text_hash").type)
    is_owned = np.zeros(rows.num_rows, bool)
    is_owned[owned] = True
    position = np.zeros(rows.num_rows, np.int64)
    position[owned] = owners
    if len(owners):
        hashes = column(decision.items["text_hash"]).take(pa.array(position))
    leaves = decision.live & ~is_owned
    gone = decision.item == NOBODY
    why = np.where(gone, "removed", "text changed").astype(object)
    changes = {
        **_codes_and_made(decision, rows, is_owned, position, given),
        "text_hash": _where(is_owned, hashes, rows["text_hash"]),
        "left_at": _where(leaves, at, rows["left_at"]),
        "left_why": _where(leaves, pa.array(why, pa.string()), rows["left_why"]),
    }
    for name in ("left_at", "left_why", "freed_at"):
        values = changes.get(name, rows[name])
        changes[name] = _where(is_owned, pa.scalar(None, values.type), values)
    return pa.table([changes.get(name, rows[name]) for name in rows.schema.names], rows.schema)


def _codes_and_made(
    decision: Decision,
    rows: pa.Table,
    is_owned: np.ndarray,
    position: np.ndarray,
    given: NewSids,
) -> dict[str, pa.Array]:
    """The columns `codes`, `made` and `extra_error` of rows that were there.

    They change only with the text: a text that is the same has the codes that it was published
    with.
    """
    rule = np.full(rows.num_rows, NO_RULE)
    rule[is_owned] = decision.rule[position[is_owned]]
    same_text = (rule == RETURNS) | ((rule == STAYS) & known(rows["text_hash"]))
    places = np.flatnonzero(is_owned & ~same_text)
    items = position[places]
    before, sids = codes_of(rows["codes"]), codes_of(rows["sid"])
    codes = before.copy()
    codes[places] = decision.codes[items]
    moved, extra = np.zeros(len(decision.row), bool), np.zeros(len(decision.row), np.float32)
    moved[decision.new], extra[decision.new] = given.moved, given.extra_error

    made = rows["made"].to_numpy().astype(object)
    error = np.where(known(rows["extra_error"]), rows["extra_error"].fill_null(0).to_numpy(), 0)
    error = error.astype(np.float32)
    other = (codes[places] != before[places]).any(axis=1) | moved[items]
    made[places[other]] = "kept"
    made[places[moved[items]]] = "resolved"
    error[places[moved[items]]] = extra[items[moved[items]]]
    error[decision.row[decision.reworded]] = given.reworded
    made[places[(codes[places] == sids[places]).all(axis=1)]] = "quantised"
    return {
        "codes": codes_column(codes),
        "made": pa.array(made, pa.string()),
        "extra_error": pa.array(error, pa.float32(), mask=made != "resolved"),
    }


def _added_rows(
    decision: Decision,
    new: np.ndarray,
    fresh: np.ndarray,
    given: NewSids,
    generation: str,
    at: pa.TimestampScalar,
) -> pa.Table:
    """Rows for SIDs that items get for the first time.

    Args:
        decision: What was decided.
        new: int64 (k,): the items that need a SID.
        fresh: bool (k,): those that never had this SID.
        given: Their SIDs.
        generation: Id of the generation.
        at: The time of this refresh.
    """
    items, count = new[fresh], int(fresh.sum())
    moved = given.moved[fresh]
    columns = {
        "generation": pa.array([generation] * count, pa.string()),
        "pid": column(decision.items["pid"]).take(pa.array(items)),
        "sid": codes_column(given.sids[fresh].astype(np.int64)),
        "codes": codes_column(decision.codes[items]),
        "text_hash": column(decision.items["text_hash"]).take(pa.array(items)),
        "made": pa.array(np.where(moved, "resolved", "quantised").astype(object), pa.string()),
        "extra_error": pa.array(given.extra_error[fresh], pa.float32(), mask=~moved),
        "published_at": pa.array(np.full(count, at.value), TIME),
        "left_at": pa.nulls(count, TIME),
        "left_why": pa.nulls(count, pa.string()),
        "freed_at": pa.nulls(count, TIME),
    }
    schema = decision.rows.schema
    return pa.table([columns[name] for name in schema.names], schema)


def _where(mask: np.ndarray, value: pa.Array | pa.Scalar, otherwise: pa.ChunkedArray) -> pa.Array:
    """The value where the mask is true, and the other one elsewhere."""
    return pc.if_else(pa.array(mask), value, otherwise)
