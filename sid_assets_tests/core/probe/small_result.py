"""A result of a probe, made by hand."""

from collections.abc import Sequence

import numpy as np

from sid_assets.core.probe.measure import dealt
from sid_assets.core.probe.result import METRICS, Kind, ProbeResult, Scored, find_differences

ROWS = 200
RUNS = tuple(
    {"seed": seed, "steps": 30, "most_steps": 90, "best_step": 20, "loss": 1.5, "seconds": 2.0}
    for seed in range(3)
)
FACTS = {
    "items": 60,
    "trained_rows": 1_000,
    "rows_of_split_0": 1_000,
    "scored_rows": ROWS,
    "rows_of_split_1": 5_000,
    "left_out": 12,
    "repeated_targets": 7,
}


def scored_of(name: str, kind: Kind, hits: np.ndarray, **fields) -> Scored:
    """Something that was scored, with the same values in each metric."""
    rows = fields.pop("rows", np.ones(ROWS, bool))
    values = {metric: hits.astype(float) for metric in METRICS}
    sids = values if kind in ("sids", "dealt") else {}
    runs = () if kind == "baseline" else fields.pop("runs", RUNS)
    return Scored(name, kind, values, rows, sids, runs, **fields)


def small_result(name: str = "pid2sid", more: Sequence[Scored] = ()) -> ProbeResult:
    """A set of SIDs that is right in 80 % of the rows, its control (20 %), and popularity (10 %).

    One row in ten has a target that nobody has met.
    """
    row = np.arange(ROWS)
    scored = (
        scored_of("popularity", "baseline", row % 10 == 1),
        scored_of(name, "sids", row % 5 != 0),
        scored_of(dealt(name), "dealt", row % 5 == 0),
        *more,
    )
    others = [dealt(name), "popularity", *(one.name for one in more)]
    differences = find_differences(scored, [(name, other) for other in others], row)
    return ProbeResult(scored, differences, row % 10 == 0, row.astype(np.uint64), FACTS)
