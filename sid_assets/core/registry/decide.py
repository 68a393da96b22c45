"""Who keeps which SID, who leaves one, and who needs a new one: the rules of the registry.

An item with unchanged text stays, whatever its codes say. All rules work on columns: a window of
items and the rows that the registry has of them.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import as_bool, codes_array
from sid_assets.core.sids.spelling import pack

NOBODY = -1
"""The item of a row whose item is gone, and the row of an item that has none."""

# The first rule that fits decides; smaller numbers come first.
STAYS, SAME_CODES, RETURNS, RETURNS_UNKNOWN, RETURNS_CODES, KEEPS, KEEPS_LEFT, NO_RULE = range(8)


@dataclass(frozen=True, eq=False)
class Decision:
    """What becomes of a window: its items, and the rows of the registry for them.

    Attributes:
        items: n rows with `pid`, `codes` and `text_hash`, sorted by pid.
        rows: m rows of the registry, of one generation, sorted by pid.
        codes: int64 (n, 3): the codes of the items.
        item: int64 (m,): the item of each row, or `NOBODY`.
        row: int64 (n,): the row that each item has from now on, or `NOBODY` if it needs a new SID.
        rule: int64 (n,): the rule that gave it.
        live: bool (m,): the rows that items have now, before this refresh.
    """

    items: pa.Table
    rows: pa.Table
    codes: np.ndarray
    item: np.ndarray
    row: np.ndarray
    rule: np.ndarray
    live: np.ndarray

    @property
    def new(self) -> np.ndarray:
        """The items that need a new SID, ascending: int64 (k,)."""
        return np.flatnonzero(self.row == NOBODY)

    @property
    def reworded(self) -> np.ndarray:
        """The items with a resolved SID and another text with the same codes: int64 (k,).

        Their SID is as far from the codes as before, but not from the vector of the new text.
        """
        kept = np.flatnonzero((self.rule == SAME_CODES) | (self.rule == RETURNS_CODES))
        rows = self.rows.take(pa.array(self.row[kept]))
        resolved = as_bool(column(pc.equal(rows["made"], "resolved")))
        same = (codes_of(rows["codes"]) == self.codes[kept]).all(axis=1)
        return kept[resolved & same]


def decide(items: pa.Table, rows: pa.Table, *, keep: bool = False) -> Decision:
    """Find the row that each item has from now on. The first of these rules that fits decides.

    1. The live row, if the text is the same, or if the registry does not know the earlier text.
    2. The live row, if the new text has its codes, or has codes that are its SID.
    3. A row that the item left, if its text is the same, or not known.
    4. A row that the item left, if the new text has its codes or has codes that are its SID.
    5. With `keep`: the live row, else the row that the item left last.

    Otherwise the item needs a new SID. Rows that a purge freed are not used; of several rows, the
    one left last is.

    Args:
        items: Rows with `pid`, `codes` and `text_hash`, sorted by pid.
        rows: All rows of the registry of one generation with the pids of the window.
        keep: Whether an item keeps its SID when its text changes.
    """
    codes = codes_of(items["codes"])
    item = pc.index_in(rows["pid"], value_set=items["pid"].combine_chunks())
    item = item.fill_null(NOBODY).to_numpy().astype(np.int64)
    live = ~known(rows["left_at"])
    usable = (item != NOBODY) & ~known(rows["freed_at"])
    places = np.flatnonzero(usable)
    rule = _rules(items, rows.take(places), codes, item[places], live[places], keep=keep)
    left_at = column(rows["left_at"]).cast(pa.int64()).fill_null(0).to_numpy()[places]
    order = np.lexsort((-left_at, rule, item[places]))
    order = order[rule[order] != NO_RULE]
    owners, first = np.unique(item[places][order], return_index=True)
    row, by = np.full(len(codes), NOBODY), np.full(len(codes), NO_RULE)
    row[owners], by[owners] = places[order[first]], rule[order[first]]
    return Decision(items, rows, codes, item, row, by, live)


def _rules(
    items: pa.Table,
    rows: pa.Table,
    codes: np.ndarray,
    item: np.ndarray,
    live: np.ndarray,
    *,
    keep: bool,
) -> np.ndarray:
    """The rule by which each row could be that of its item: int64 (m,)."""
    hashes = column(items["text_hash"]).take(pa.array(item))
    unknown = ~known(rows["text_hash"])
    same_text = as_bool(pc.equal(column(rows["text_hash"]), hashes).fill_null(False))
    now = pack(codes[item])
    same_codes = (pack(codes_of(rows["codes"])) == now) | (pack(codes_of(rows["sid"])) == now)
    kept = np.where(live, KEEPS, KEEPS_LEFT) if keep else np.full(len(live), NO_RULE)
    return np.select(
        [
            live & (same_text | unknown),
            live & same_codes,
            same_text,
            unknown,
            same_codes,
        ],
        [STAYS, SAME_CODES, RETURNS, RETURNS_UNKNOWN, RETURNS_CODES],
        kept,
    )


def column(values: pa.ChunkedArray) -> pa.Array:
    """A column of a table as one array."""
    return values.combine_chunks()


def known(values: pa.ChunkedArray) -> np.ndarray:
    """Which values are not null: bool (n,)."""
    return as_bool(column(values.is_valid()))


def codes_of(values: pa.ChunkedArray) -> np.ndarray:
    """A column of SIDs or codes: int64 (n, 3)."""
    return codes_array(column(values))
