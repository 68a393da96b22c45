"""The result of a probe as a table for the terminal."""

from collections.abc import Mapping, Sequence

from sid_assets.core.probe.differences import Interval
from sid_assets.core.probe.result import METRICS, Difference, ProbeResult, Scored

NOT_FINISHED = "not finished"
NONE = "-"

HEADS = (
    *("", "hit rate@10", "95 %", "hit rate@20", "NDCG@10", "NDCG@20"),
    *("seen@10", "unseen@10", "of SIDs@10", "steps"),
)


def as_text(result: ProbeResult) -> str:
    """The facts, the table, and the differences in words."""
    facts = result.facts
    lines = [
        f"{facts['trained_rows']:,} rows of split 0 to learn from, {facts['scored_rows']:,} of "
        f"{facts['rows_of_split_1']:,} rows of split 1 scored; {facts['left_out']:,} rows have no "
        "history or no target with a SID.",
        f"{facts['repeated_targets']:,} of the scored rows have a target that the same user had in "
        "split 0. Where that is no habit of your users, it is a leak.",
        "",
        *_aligned([HEADS, *(_row(result, one) for one in result.scored)]),
        "",
        "Hit rate and NDCG are of items: a SID stands for its most popular item. Seen and unseen: "
        "targets that occur in split 0, and others. Of SIDs, any item of the right SID counts: the "
        "fewer SIDs there are, the higher it is, so it does not compare SIDs.",
    ]
    unfinished = [one.name for one in result.scored if not one.finished]
    if unfinished:
        lines.append(
            f"Not finished within the time limit, and compared with nothing: "
            f"{', '.join(unfinished)}. Run the probe again: it goes on."
        )
    said = sentences(result)
    return "\n".join([*lines, *(["", *said] if said else [])])


def sentences(result: ProbeResult) -> tuple[str, ...]:
    """The differences in words."""
    return tuple(_sentence(one) for one in result.differences if one.metric == METRICS[0])


def _row(result: ProbeResult, one: Scored) -> list[str]:
    if not one.finished:
        return [one.name, NOT_FINISHED]
    found = {metric: result.interval(one.name, metric) for metric in METRICS}
    hits = one.values[METRICS[0]]
    groups = (one.rows & ~result.unseen, one.rows & result.unseen)
    return [
        one.name,
        decimal(found[METRICS[0]].mean),
        range_text(found[METRICS[0]]),
        *(decimal(found[metric].mean) for metric in METRICS[1:]),
        *(decimal(float(hits[rows].mean())) if rows.any() else NONE for rows in groups),
        decimal(float(one.sids[METRICS[0]].mean())) if one.sids else NONE,
        ", ".join(f"{run['best_step']:,}" for run in one.runs) or NONE,
    ]


def decimal(value: float) -> str:
    """A share with four decimals."""
    return f"{value:.4f}"


def range_text(found: Interval) -> str:
    """The ends of an interval."""
    return f"{found.low:.4f} to {found.high:.4f}"


def _sentence(one: Difference) -> str:
    """A difference in words."""
    found = one.interval
    ends = f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
    verdicts: Mapping[str, str] = {
        "better": f"{one.of} is better than {one.to}",
        "worse": f"{one.of} is worse than {one.to}",
        "tie": f"{one.of} and {one.to} are a tie",
    }
    return f"{verdicts[one.verdict]}: hit rate@10 {ends}."


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width; the first is set left, the others right."""
    widths = [max(len(row[at]) for row in rows if at < len(row)) for at in range(len(HEADS))]
    return [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    ]
