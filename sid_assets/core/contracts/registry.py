"""The contracts of the registry and of what follows from it, checked on the files on disk."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_assets.core import schema
from sid_assets.core.arrow.columns import as_bool, codes_array, run_starts
from sid_assets.core.arrow.sorted_join import joined
from sid_assets.core.arrow.windows import windows
from sid_assets.core.contracts.findings import Check, Finding, Findings, Offenders, contract
from sid_assets.core.contracts.tables import COMPARED_ROWS, PIDS, PidOrder
from sid_assets.core.schema import CODE_LAYERS, CODES, LEFT_WHY, MADE, MAX_CODEBOOK_SIZE
from sid_assets.core.store.parts import rebatched
from sid_assets.core.store.versions import Version

ROWS = Check(
    "rows_in_order", "Rows are sorted by generation, pid and time, and no SID of an item repeats."
)
ROOM = Check("room", "No SID has more than SID_MAX_ITEMS_PER_SID items.", warns=True)


@contract(
    ROWS,
    Check("values", "Every SID has three codes, and every row says how it was made and why left."),
    Check("one_sid", "No item has two SIDs in a generation."),
    Check("same_items", "The items that have a SID are those of codes."),
    Check(
        "same_codes",
        "Every item with unchanged text has the codes that it was published with.",
        warns=True,
    ),
    ROOM,
)
def check_sid_registry(version: Version, codes: Version) -> Findings:
    """Rows are in order and consistent, and the items that have a SID are those of `codes`.

    Args:
        version: The registry.
        codes: The table `codes`.
    """
    values = _Values()
    seen: dict[str, None] = {}
    for batch in version.stream(batch_rows=COMPARED_ROWS):
        values.add(batch)
        seen.update(dict.fromkeys(pc.unique(batch["generation"]).to_pylist()))
    if values.without_codes.rows:
        return {"values": values.finding()}
    order, twice = Offenders(), Offenders()
    for generation in seen:
        _add_order(version, generation, order, twice)
    apart = _generations_apart(version, list(seen))
    return {
        "rows_in_order": order.finding(
            f"{version.rows:,} rows, sorted and unique", "a row is out of order or repeats"
        )
        if apart
        else Finding(False, "the rows of a generation are not together"),
        "values": values.finding(),
        "one_sid": twice.finding("no item has two SIDs", "an item has two SIDs"),
        **_compared_with_codes(version, codes),
        "room": _room(version),
    }


class _Values:
    """Whether the columns of each row fit together."""

    def __init__(self) -> None:
        self.without_codes = Offenders()
        self._bad = Offenders()

    def add(self, batch: pa.RecordBatch) -> None:
        pids = batch["pid"]
        lengths = [pc.list_value_length(batch[name]) for name in ("sid", "codes")]
        wrong = ~_true(pc.and_(*(pc.equal(length, CODE_LAYERS) for length in lengths)))
        self.without_codes.add(wrong, pids)
        if wrong.any():
            return
        sids, codes = codes_array(batch["sid"]), codes_array(batch["codes"])
        outside = ((sids < 0) | (sids >= MAX_CODEBOOK_SIZE)).any(axis=1)
        made, left, why = batch["made"], batch["left_at"].is_valid(), batch["left_why"]
        same = (sids == codes).all(axis=1)
        known = pc.and_(_one_of(made, MADE), pc.or_(why.is_null(), _one_of(why, LEFT_WHY)))
        fits = pc.and_(
            pc.and_(known, pc.equal(left, why.is_valid())),
            pc.and_(
                pc.or_(left, batch["freed_at"].is_null()),
                pc.equal(batch["extra_error"].is_valid(), pc.equal(made, "resolved")),
            ),
        )
        quantised = _true(pc.equal(made, "quantised"))
        self._bad.add(outside | (quantised & ~same) | ~_true(fits), pids)

    def finding(self) -> Finding:
        if self.without_codes.rows:
            return self.without_codes.finding("", f"a row does not have {CODE_LAYERS} codes")
        return self._bad.finding(
            "every row says how its SID was made and why it was left",
            "the columns of a row contradict each other",
        )


def _add_order(version: Version, generation: str, order: Offenders, twice: Offenders) -> None:
    """Count the rows of a generation that are out of order or repeat, and second SIDs of items."""
    columns = ["generation", "pid", "sid", "published_at", "left_at"]
    last = None
    for batch in _of_generation(version, generation, columns):
        pids = batch["pid"]
        if len(pids) and last is not None:
            order.add(np.array([pids[0].as_py() < last]), pids[:1])
        order.add(np.append(_true(pc.greater(pids[:-1], pids[1:])), False), pids)
        last = pids[-1].as_py() if len(pids) else last
    if order.rows:
        return
    rows = _of_generation(version, generation, columns)
    for window, _ in windows(rows, pa.RecordBatchReader.from_batches(rows.schema, [])):
        pids = window["pid"].combine_chunks()
        item = pc.index_in(pids, value_set=pc.unique(pids)).to_numpy()
        times = window["published_at"].combine_chunks().cast(pa.int64()).to_numpy()
        again = (np.diff(item, prepend=-1) == 0) & (np.diff(times, prepend=0) < 0)
        keys = np.column_stack([item, codes_array(window["sid"].combine_chunks())])
        repeats = np.ones(len(pids), bool)
        repeats[np.unique(keys, axis=0, return_index=True)[1]] = False
        order.add(again | repeats, pids)
        live = np.flatnonzero(~_true(window["left_at"].is_valid()))
        second = np.ones(len(live), bool)
        second[np.unique(item[live], return_index=True)[1]] = False
        twice.add(second, pids.take(pa.array(live)))


def _generations_apart(version: Version, generations: list[str]) -> bool:
    """Whether all rows of a generation follow each other."""
    position = -1
    for batch in version.stream(["generation"], COMPARED_ROWS):
        places = pc.index_in(batch["generation"], value_set=pa.array(generations)).to_numpy()
        if len(places) and (places[0] < position or (np.diff(places) < 0).any()):
            return False
        position = places[-1] if len(places) else position
    return True


def _compared_with_codes(version: Version, codes: Version) -> Findings:
    """Whether the items that have a SID are those of `codes`, and whether these codes are new."""
    live = live_rows(version, ["pid", "codes", "text_hash"])
    apart, other = Offenders(), Offenders()
    found = items = 0
    columns = pa.schema([("codes", CODES)])
    published = (batch.select(["pid", "codes"]).rename_columns(["pid", "codes"]) for batch in live)
    raw = codes.stream(["pid", "codes"], COMPARED_ROWS)
    renamed = (batch.rename_columns(["pid", "raw"]) for batch in raw)
    for batch in joined(renamed, published, columns):
        there = batch["codes"].is_valid()
        items += batch.num_rows
        found += pc.sum(there).as_py()
        apart.add(~_true(there), batch["pid"])
        both = batch.filter(there)
        differs = (codes_array(both["raw"]) != codes_array(both["codes"])).any(axis=1)
        other.add(differs, both["pid"])
    without = apart.finding(f"the {items:,} items of codes have a SID", "an item has no SID")
    total = sum(batch.num_rows for batch in live_rows(version, ["pid"]))
    if without.passed and total != found:
        without = Finding(False, f"{total - found:,} items that have a SID are not in codes")
    return {
        "same_items": without,
        "same_codes": other.finding(
            "every item has the codes that it was published with",
            "the codes of an unchanged text are now others; the published SID stays",
        ),
    }


def _room(version: Version) -> Finding:
    """Whether SIDs have more items than the registry was made for."""
    most = version.provenance.details.get("max_items_per_sid", 0)
    if not most:
        return Finding(True, "any number of items may have the same SID (SID_MAX_ITEMS_PER_SID=0)")
    arrays = [_packed(batch["sid"]) for batch in live_rows(version, ["sid"])]
    sids = np.sort(np.concatenate([np.empty(0, np.int64), *arrays]))
    sizes = np.diff(run_starts(sids), append=len(sids)) if len(sids) else np.zeros(0, np.int64)
    over = sizes[sizes > most]
    if not len(over):
        return Finding(True, f"at most {most:,} items have the same SID", {"items_over": 0})
    return Finding(
        False,
        f"{len(over):,} SIDs have more than SID_MAX_ITEMS_PER_SID={most} items, "
        f"{int((over - most).sum()):,} items too many. They were published before, or there was "
        "no room, and published SIDs stay. The run config new_generation gives new SIDs to all "
        "items",
        {"items_over": int((over - most).sum()), "sids_over": len(over)},
    )


@contract(PIDS, Check("equal_to_registry", "Every SID is the one that sid_registry says."))
def check_pid2sid(version: Version, registry: Version) -> Findings:
    """Pids are unique, and the rows are those that the registry says.

    Args:
        version: The table `pid2sid`.
        registry: The table `sid_registry`.
    """
    wanted = live_rows(registry, ["pid", "sid"])
    return _equal_rows(version, wanted, registry)


@contract(PIDS, Check("equal_to_registry", "The rows are the resolved ones of sid_registry."))
def check_sid_moves(version: Version, registry: Version) -> Findings:
    """Pids are unique, and the rows are the items whose SID was resolved.

    Args:
        version: The table `sid_moves`.
        registry: The table `sid_registry`.
    """
    rows = live_rows(registry, ["pid", "codes", "sid", "extra_error", "made"])
    wanted = (batch.filter(pc.equal(batch["made"], "resolved")) for batch in rows)
    columns = version.schema().names
    return _equal_rows(version, (batch.select(columns) for batch in wanted), registry)


@contract(
    Check("times", "Refreshes are in order of time."),
    Check("last_refresh", "The last refresh has a row."),
)
def check_sid_refreshes(version: Version, registry: Version) -> Findings:
    """Rows are in order, and the last refresh of the registry is there.

    Args:
        version: The table `sid_refreshes`.
        registry: The table `sid_registry`.
    """
    times = version.stream(["at"]).read_all()["at"].cast(pa.int64()).to_numpy()
    ordered = bool((np.diff(times) > 0).all())
    refreshes = registry.provenance.details.get("refreshes", [])
    last = pa.array([refresh["at"] for refresh in refreshes]).cast(schema.TIME).cast(pa.int64())
    there = bool(np.isin(last.to_numpy(), times).all())
    return {
        "times": Finding(ordered, f"{len(times):,} refreshes, {'' if ordered else 'not '}in order"),
        "last_refresh": Finding(
            there,
            "the last refresh has a row"
            if there
            else "the last refresh has no row; the next run adds it",
        ),
    }


def live_rows(registry: Version, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of the items that have a SID in the current generation, sorted by pid."""
    current = registry.provenance.generation
    wanted = [*columns, *(name for name in ("generation", "left_at") if name not in columns)]
    for batch in registry.stream(wanted, COMPARED_ROWS):
        live = pc.and_(pc.equal(batch["generation"], current), batch["left_at"].is_null())
        yield batch.filter(live).select(columns)


def _equal_rows(version: Version, wanted: Iterable[pa.RecordBatch], registry: Version) -> Findings:
    """Whether a table has the rows that follow from the registry."""
    order, other = PidOrder(), Offenders()
    mine_all = rebatched(version.stream(batch_rows=COMPARED_ROWS), COMPARED_ROWS)
    rows = expected = 0
    for mine, theirs in zip_longest(mine_all, rebatched(wanted, COMPARED_ROWS)):
        if mine is not None:
            rows += mine.num_rows
            order.add(mine["pid"].combine_chunks())
        expected += theirs.num_rows if theirs is not None else 0
        if mine is None or theirs is None or mine.num_rows != theirs.num_rows:
            continue
        if not mine.equals(theirs):
            other.add(_differs(mine, theirs), mine["pid"].combine_chunks())
    name = registry.provenance.asset
    equal = other.finding(f"the rows are those of {name}", f"a row differs from {name}")
    if rows != expected:
        equal = Finding(False, f"{rows:,} rows; {name} says {expected:,}")
    made_from = version.provenance.inputs.get(name)
    if not equal.passed and made_from != registry.provenance.version:
        found = (
            f"it was made from an earlier version of {name}: a run stopped before it made this "
            f"table again. The next run makes it from {name}. {equal.description}"
        )
        equal = Finding(False, found, equal.metadata)
    return {"pids": order.finding(), "equal_to_registry": equal}


def _differs(mine: pa.Table, theirs: pa.Table) -> np.ndarray:
    """Which rows of two tables of the same length differ: bool (n,)."""
    differs = np.zeros(mine.num_rows, bool)
    for name in mine.column_names:
        one, other = mine[name].combine_chunks(), theirs[name].combine_chunks()
        if pa.types.is_list(one.type):
            lists = (
                pc.binary_join(pc.cast(each, pa.list_(pa.string())), " ") for each in (one, other)
            )
            one, other = lists
        differs |= ~_true(pc.equal(one, other))
    return differs


def _of_generation(version: Version, generation: str, columns: list[str]) -> pa.RecordBatchReader:
    stream = version.stream(columns, COMPARED_ROWS)
    rows = (batch.filter(pc.equal(batch["generation"], generation)) for batch in stream)
    return pa.RecordBatchReader.from_batches(stream.schema, rows)


def _one_of(values: pa.Array, words: tuple[str, ...]) -> pa.Array:
    return pc.is_in(values, value_set=pa.array(words, pa.string()))


def _packed(sids: pa.Array) -> np.ndarray:
    """SIDs as integers: int64 (n,)."""
    first, second, third = codes_array(sids).T
    return (first * MAX_CODEBOOK_SIZE + second) * MAX_CODEBOOK_SIZE + third


def _true(mask: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Where a mask is true; null counts as false: bool (n,)."""
    mask = mask.combine_chunks() if isinstance(mask, pa.ChunkedArray) else mask
    return as_bool(pc.fill_null(mask, False))
