"""The contract of the training data sets, checked on the files on disk."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow.compute as pc

from sid_assets.core.arrow.columns import codes_array
from sid_assets.core.contracts.findings import Check, Finding, Findings, contract
from sid_assets.core.contracts.training_rows import NO_SIDS, check_rows
from sid_assets.core.sids.spelling import pack
from sid_assets.core.store.provenance import Provenance
from sid_assets.core.store.versions import Version
from sid_assets.core.training.counts import RowCounts
from sid_assets.core.training_sets import DataSet

LEAST_COVERAGE = 0.95
"""The smallest share of pids that should have a SID."""

ROWS = 1024


@contract(
    Check("contract", "Columns, JSON, roles, uuids and SIDs are as OneRec's trainer expects."),
    Check(
        "free_texts",
        "Texts from the input contain no SID that is missing from the catalog.",
        warns=True,
    ),
    Check("rows_add_up", "Candidate rows = rows written + rows dropped."),
    Check("coverage", "In each column of pids, at least 95 % have a SID.", warns=True),
    Check("not_empty", "The data set has rows.", warns=True),
)
def check_data_set(
    version: Version,
    data_set: DataSet,
    items: np.ndarray,
    goods: np.ndarray | None,
    removed: np.ndarray = NO_SIDS,
) -> Findings:
    """The rows are as a trainer expects them, and the counts of input rows add up.

    Args:
        version: A training data set.
        data_set: Which one it is.
        items: int64, sorted: the packed SIDs of the catalog.
        goods: The same for goods, if there are any.
        removed: The SIDs of items and goods that are no longer there, which histories may spell.
    """
    counts = RowCounts.of(version.provenance)
    found = check_rows(version.stream(batch_rows=ROWS), data_set, items, goods, removed)
    return {
        "contract": Finding(
            not found.broken,
            _listed(found.broken) or f"{found.rows:,} rows, {found.sids:,} SIDs",
            {"rows": found.rows, "sids": found.sids},
        ),
        "free_texts": Finding(
            not found.doubtful, _listed(found.doubtful) or "nothing to report in the texts"
        ),
        "rows_add_up": _check_counts(counts, version, data_set),
        "coverage": _check_coverage(counts),
        "not_empty": Finding(version.rows > 0, f"{version.rows:,} rows"),
    }


@contract(
    Check("current_sids", "The data set was made from the SIDs that pid2sid has now.", warns=True)
)
def check_current_sids(version: Version, sids: Iterable[Version]) -> Findings:
    """The data set was made from the current SIDs.

    Args:
        version: A training data set.
        sids: The current versions of `pid2sid`, of the items and of goods.
    """
    made_from = version.provenance.inputs
    for now in (pid2sid.provenance for pid2sid in sids):
        if made_from.get(now.asset, now.version) != now.version:
            return {"current_sids": sids_replaced(now)}
    shown = ", ".join(f"version {made} of {asset}" for asset, made in made_from.items())
    return {"current_sids": Finding(True, f"made from {shown}")}


def sids_replaced(by: Provenance) -> Finding:
    """What `check_current_sids` finds in a data set whose SIDs were replaced.

    Args:
        by: The provenance of the `pid2sid` that replaces them.
    """
    return Finding(
        False,
        f"made from an earlier version of {by.asset}; the current one is {by.version}. Do not "
        "train on it: materialise it again",
    )


def known_sids(pid2sid: Version) -> np.ndarray:
    """The distinct SIDs of a catalog, packed into one integer each: int64, sorted."""
    packed = [np.empty(0, np.int64)]
    for batch in pid2sid.stream(["sid"], batch_rows=65_536):
        packed.append(np.unique(pack(codes_array(batch["sid"]))))
    return np.unique(np.concatenate(packed))


def left_sids(registry: Version) -> np.ndarray:
    """The distinct SIDs that items have left and that are still theirs: packed, sorted.

    Args:
        registry: The table `sid_registry`.
    """
    packed = [np.empty(0, np.int64)]
    for batch in registry.stream(["sid", "left_at", "freed_at"], batch_rows=65_536):
        left = pc.and_(batch["left_at"].is_valid(), batch["freed_at"].is_null())
        packed.append(np.unique(pack(codes_array(batch["sid"].filter(left)))))
    return np.unique(np.concatenate(packed))


def _listed(rows_by_problem: Counter[str]) -> str:
    return "; ".join(f"{problem} ({rows:,} rows)" for problem, rows in rows_by_problem.items())


def _check_counts(counts: RowCounts | None, version: Version, data_set: DataSet) -> Finding:
    """Input rows = rows written + rows dropped by reason.

    If an input row can become several, the candidate rows add up instead.
    """
    if counts is None:
        return Finding(False, "the table does not record the counts of its input rows")
    dropped = sum(counts.dropped.values())
    used = counts.rows - sum(counts.dropped_rows.values())
    adds_up = counts.candidates == counts.written + dropped
    adds_up &= counts.candidates >= used if data_set.several_a_row else counts.candidates == used
    return Finding(
        adds_up and counts.written == version.rows,
        f"{counts.rows:,} rows read, {counts.candidates:,} candidates, {version.rows:,} rows "
        f"written, {dropped:,} dropped",
        {"candidates": counts.candidates, "written": version.rows, "dropped": dropped},
    )


def _check_coverage(counts: RowCounts | None) -> Finding:
    """The share of pids that have a SID, by column."""
    shares = {
        column: count.with_sid / count.pids
        for column, count in (counts.pids if counts else {}).items()
        if count.pids
    }
    shown = ", ".join(f"{column}: {share:.2%}" for column, share in shares.items())
    return Finding(
        min(shares.values(), default=1.0) >= LEAST_COVERAGE,
        f"pids with a SID, by column: {shown or 'no column of pids'}",
        dict(shares),
    )
