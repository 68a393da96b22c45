"""The contracts of sid2pid, sid_prefixes and sid_vocabulary, checked on the files on disk."""

from collections.abc import Mapping

import numpy as np
from upath import UPath

from sid_assets.core.arrow.columns import codes_array
from sid_assets.core.contracts.findings import Check, Finding, Findings, contract
from sid_assets.core.contracts.training import known_sids
from sid_assets.core.sids.prefixes import SidPrefixes, check_prefixes
from sid_assets.core.sids.sid2pid import check_reverse, json_chunks
from sid_assets.core.sids.spelling import pack
from sid_assets.core.store.versions import Version

BATCH_ROWS = 65_536


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


def _check_json(version: Version, json_file: UPath, id_name: str) -> Finding:
    """The file is the table as JSON, byte for byte."""
    if not json_file.exists():
        return Finding(False, f"{json_file} is missing. Materialise its asset again.")
    with json_file.open("rb") as file:
        rows = version.stream(batch_rows=BATCH_ROWS)
        same = all(file.read(len(chunk)) == chunk for chunk in json_chunks(rows, id_name))
        same = same and not file.read(1)
    what = "has the same content as the table" if same else "differs from the table"
    return Finding(same, f"{json_file} {what}", {"bytes": json_file.stat().st_size})
