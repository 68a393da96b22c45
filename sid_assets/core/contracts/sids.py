"""The contracts of sid2pid, sid_prefixes and sid_vocabulary, checked on the files on disk."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from sid_assets.core.arrow.columns import codes_array
from sid_assets.core.arrow.duck import spilling_database
from sid_assets.core.contracts.findings import Check, Finding, Findings, contract
from sid_assets.core.contracts.training import known_sids
from sid_assets.core.sids.prefixes import SidPrefixes
from sid_assets.core.sids.spelling import pack, unpack
from sid_assets.core.store.versions import Version

BATCH_ROWS = 65_536
PIECE = 1 << 20
"""Characters of the JSON file read at a time; an item is never as long."""


@contract(
    Check("sids_in_order", "SIDs are sorted by their codes and unique."),
    Check(
        "inverts_pid2sid",
        "The pairs of item and SID are exactly those of pid2sid; the items of a SID are sorted by "
        "interactions, most first.",
    ),
    Check("json_file", "The JSON file has the same content as the table."),
)
def check_sid2pid(version: Version, pid2sid: Version, json_file: UPath, id_name: str) -> Findings:
    """Every SID occurs once, with the items that `pid2sid` gives it; the JSON file agrees.

    Args:
        version: The table sid2pid.
        pid2sid: The table that sid2pid inverts.
        json_file: The JSON file for OneRec.
        id_name: The name of a pid in the JSON file.
    """
    rows, items = version.stream(batch_rows=BATCH_ROWS), pid2sid.stream(batch_rows=BATCH_ROWS)
    holds = f"{version.rows:,} SIDs of {pid2sid.rows:,} items"
    return {
        "sids_in_order": _check_order(version),
        "inverts_pid2sid": _finding(check_reverse(rows, items), holds),
        "json_file": _check_json(version, json_file, id_name),
    }


@contract(Check("only_the_catalog", "Every SID of the catalog is accepted, and no other."))
def check_sid_prefixes(prefixes: SidPrefixes, pid2sid: Version) -> Findings:
    """The prefixes lead to the SIDs of the catalog and to no other.

    Args:
        prefixes: The prefixes, read from their file.
        pid2sid: The table that they are made from.
    """
    wrong = check_prefixes(prefixes, known_sids(pid2sid))
    return {"only_the_catalog": _finding(wrong, f"{len(prefixes):,} SIDs, as in the catalog")}


@contract(
    Check("tokens", "The tokens are OneRec's, in OneRec's order."),
    Check("ids", "The ids match OneRec's models."),
)
def check_sid_vocabulary(version: Version) -> Findings:
    """The tokens and ids match OneRec's models: layer by layer, then begin and end."""
    rows = version.stream().read_all()
    wanted = [f"<s_{layer}_{code}>" for layer in "abc" for code in range(8192)]
    wanted += ["<|sid_begin|>", "<|sid_end|>"]
    tokens, ids = rows["token"].to_pylist(), rows["id"].to_numpy()
    wrong = sum(token != want for token, want in zip(tokens, wanted, strict=False))
    return {
        "tokens": Finding(
            tokens == wanted,
            f"{len(tokens):,} tokens of {len(wanted):,}; {wrong:,} are out of place",
            {"tokens": len(tokens), "out_of_place": wrong},
        ),
        "ids": Finding(
            np.array_equal(ids, np.arange(151_669, 176_247)),
            f"ids {ids.min(initial=176_247):,} to {ids.max(initial=0):,}",
        ),
    }


def _finding(wrong: Mapping[str, int], holds: str) -> Finding:
    listed = "; ".join(f"{what} ({count:,})" for what, count in wrong.items())
    return Finding(not wrong, listed or holds, dict(wrong))


def _check_order(version: Version) -> Finding:
    """Codes increase from row to row, so no SID occurs twice."""
    last = -1
    for batch in version.stream(["codes"], BATCH_ROWS):
        packed = pack(codes_array(batch["codes"]))
        if (np.diff(packed, prepend=last) <= 0).any():
            return Finding(False, "SIDs are not sorted by their codes, or are repeated")
        last = int(packed[-1])
    return Finding(True, f"{version.rows:,} SIDs, sorted by their codes")


def check_reverse(rows: pa.RecordBatchReader, pid2sid: pa.RecordBatchReader) -> dict[str, int]:
    """Errors in the table sid2pid, with the number of rows; empty if it inverts pid2sid.

    Args:
        rows: The table sid2pid.
        pid2sid: The table that sid2pid must invert.
    """
    wrong: Counter[str] = Counter()
    schema = pa.schema([pid2sid.schema.field("pid"), pa.field("packed", pa.int64())])
    forth = ([batch["pid"], pa.array(pack(codes_array(batch["sid"])))] for batch in pid2sid)
    back = (_checked_pairs(batch, wrong) for batch in rows)
    with spilling_database() as connection:
        for name, pairs in (("forth", forth), ("back", back)):
            batches = (pa.record_batch(columns, schema=schema) for columns in pairs)
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            connection.from_arrow(reader).create(name)
        lost = connection.sql("SELECT * FROM forth EXCEPT ALL FROM back")
        other = connection.sql("SELECT * FROM back EXCEPT ALL FROM forth")
        wrong["items of pid2sid that are missing"] += len(lost)
        wrong["items that pid2sid does not have"] += len(other)
    return {what: count for what, count in wrong.items() if count}


def _checked_pairs(batch: pa.RecordBatch, wrong: Counter[str]) -> list[pa.Array]:
    """The pids of some rows of sid2pid, each with its packed SID; errors are counted in `wrong`."""
    codes = codes_array(batch["codes"])
    lengths = pc.list_value_length(batch["pids"]).to_numpy()
    other_text = pc.not_equal(batch["sid"], _spelled(codes))
    wrong["rows whose text is not that of their codes"] += other_text.true_count
    other_length = pc.not_equal(pc.list_value_length(batch["counts"]), lengths)
    wrong["rows that do not have a count for each pid"] += other_length.true_count
    if not other_length.true_count:
        counts = batch["counts"].flatten().to_numpy()
        rises = np.flatnonzero(np.diff(counts) > 0) + 1
        wrong["rows that are not by their counts"] += len(np.setdiff1d(rises, np.cumsum(lengths)))
    return [batch["pids"].flatten(), pa.array(np.repeat(pack(codes), lengths))]


def _spelled(codes: np.ndarray) -> pa.StringArray:
    """The text of each SID, spelled without the code that wrote the table."""
    a, b, c = (pa.array(layer).cast(pa.string()) for layer in codes.T)
    parts = ("<|sid_begin|><s_a_", a, "><s_b_", b, "><s_c_", c, "><|sid_end|>")
    return pc.binary_join_element_wise(*parts, "")


def check_prefixes(prefixes: SidPrefixes, catalog: np.ndarray) -> dict[str, int]:
    """Errors in the prefixes of a catalog, with the number of SIDs; empty if there are none.

    All SIDs in the arrays are compared with those of the catalog. Then the walk through the arrays
    is tested: it must find each SID of the catalog, but not the adjacent SIDs that no item has.

    Args:
        prefixes: The prefixes of the catalog.
        catalog: The distinct SIDs of the catalog, packed and sorted: int64 (`known_sids`).
    """
    own = prefixes.packed()
    lost, found = np.zeros(0, bool), np.zeros(0, bool)
    if not len(lost_sids := np.setdiff1d(catalog, own)):
        lost = ~prefixes.contain(unpack(catalog))
        beside = np.setdiff1d(catalog + 1, catalog)
        found = prefixes.contain(unpack(beside))
    wrong = {
        "SIDs of the catalog that are missing": len(lost_sids),
        "SIDs that no item has": len(np.setdiff1d(own, catalog)),
        "SIDs of the catalog that are not found": int(lost.sum()),
        "SIDs found that no item has": int(found.sum()),
    }
    return {what: count for what, count in wrong.items() if count}


def _check_json(version: Version, json_file: UPath, id_name: str) -> Finding:
    """The file has the SIDs and items of the table, in the same order."""
    if not json_file.exists():
        return Finding(False, f"{json_file} is missing. Materialise its asset again.")
    rows = version.stream(["codes", "pids", "counts"], BATCH_ROWS)
    with json_file.open(encoding="utf-8") as file:
        try:
            pairs = zip_longest(_json_items(file), _items(rows, id_name))
            same = all(read == item for read, item in pairs)
        except ValueError:  # It is not JSON, or the table's lists differ in length.
            same = False
    what = "has the same content as the table" if same else "differs from the table"
    return Finding(same, f"{json_file} {what}", {"bytes": json_file.stat().st_size})


JsonItem = tuple[str, int, Any]
"""A packed SID, the place of an item in its list, and the item."""


def _items(rows: Iterable[pa.RecordBatch], id_name: str) -> Iterator[JsonItem]:
    """The items that the JSON file must have.

    Raises:
        ValueError: The pids and the counts of a SID differ in number.
    """
    for batch in rows:
        packed = pack(codes_array(batch["codes"])).tolist()
        pids, counts = batch["pids"].to_pylist(), batch["counts"].to_pylist()
        for sid, own, uses in zip(packed, pids, counts, strict=True):
            for place, (pid, n) in enumerate(zip(own, uses, strict=True)):
                yield str(sid), place, {id_name: pid, "count": n, "count_after_downsample": n}


_EMPTY = re.compile(r"\s*{\s*}\s*")
_FIRST = re.compile(r'\s*{\s*"(\d+)"\s*:\s*\[\s*')
_NEXT = re.compile(r'\s*(?:\]\s*,\s*"(\d+)"\s*:\s*\[|,)\s*')
_END = re.compile(r"\s*\]\s*}\s*")


def _json_items(file: IO[str]) -> Iterator[JsonItem]:
    """The items in a JSON object of lists, in order; only a piece of the file is in memory.

    Raises:
        ValueError: It is not such an object.
    """
    decode = json.JSONDecoder().raw_decode
    text, at = file.read(2 * PIECE), 0
    if _EMPTY.fullmatch(text):
        return
    sid, place, before = "", 0, _FIRST.match(text)
    while before:
        sid, place = (before[1], 0) if before[1] else (sid, place + 1)
        item, at = decode(text, before.end())
        yield sid, place, item
        if len(text) - at < PIECE and (piece := file.read(PIECE)):
            text, at = text[at:] + piece, 0
        before = _NEXT.match(text, at)
    if not _END.fullmatch(text, at) or file.read(1):
        raise ValueError("not a JSON object of lists")
