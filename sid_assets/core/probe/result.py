"""The result of a probe: hit rates and NDCG by name, and which differences are more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from sid_assets.core.probe.differences import Interval, Verdict, interval
from sid_assets.core.probe.rows import Lists
from sid_assets.core.probe.run import Data, Run
from sid_assets.core.probe.score import CUTOFFS, score
from sid_assets.core.probe.words import Tree

Kind = Literal["sids", "dealt", "one token an item", "baseline"]

FEWEST_SEEDS = 3
"""Seeds without which two sets of SIDs are not compared."""

METRICS = tuple(f"{name}@{cutoff}" for name in ("hit_rate", "ndcg") for cutoff in CUTOFFS)
"""`hit_rate@10`, `hit_rate@20`, `ndcg@10`, `ndcg@20`."""


@dataclass(frozen=True, eq=False)
class Scored:
    """How well the scored rows were recommended for.

    Attributes:
        name: What recommended.
        kind: What it is.
        values: By metric, floats (n,): of each row, the mean over the seeds. Empty if unfinished.
        sids: The same for SIDs instead of items; empty where there are no SIDs.
        runs: Numbers of each run (steps, loss, ...); none of a baseline.
        rows: bool (n,): the rows that it was asked for.
        finished: Whether every seed was done in time.
    """

    name: str
    kind: Kind
    values: Mapping[str, np.ndarray]
    rows: np.ndarray
    sids: Mapping[str, np.ndarray] = field(default_factory=dict)
    runs: Sequence[Mapping[str, int | float]] = ()
    finished: bool = True


@dataclass(frozen=True)
class Difference:
    """A difference of two that were scored, in one metric.

    Attributes:
        of, to: Their names.
        metric: The metric.
        interval: `of` minus `to`: mean and 95 % interval.
    """

    of: str
    to: str
    metric: str
    interval: Interval

    @property
    def verdict(self) -> Verdict:
        """Whether `of` is better."""
        return self.interval.verdict


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What a probe found.

    Attributes:
        scored: What was scored, in the order of the table.
        differences: Of SIDs to their control and to other SIDs.
        unseen: bool (n,): the scored rows none of whose targets occurs in split 0.
        users: uint64 (n,): a hash of the user of each scored row.
        facts: Numbers of the rows, by name.
    """

    scored: tuple[Scored, ...]
    differences: tuple[Difference, ...]
    unseen: np.ndarray
    users: np.ndarray
    facts: Mapping[str, int]

    @property
    def finished(self) -> bool:
        """Whether every run was done in time."""
        return all(one.finished for one in self.scored)

    def interval(self, name: str, metric: str) -> Interval:
        """The mean and the interval of one metric."""
        return self._intervals[name, metric]

    @cached_property
    def _intervals(self) -> dict[tuple[str, str], Interval]:
        return {
            (one.name, metric): interval(values[one.rows], self.users[one.rows])
            for one in self.scored
            for metric, values in one.values.items()
        }


def score_items(
    name: str, recommended: np.ndarray, data: Data, *, asked: np.ndarray | None = None
) -> Scored:
    """Score a baseline.

    Args:
        name: Its name.
        recommended: Integers (n, 20): items; -1 for none.
        data: The rows.
        asked: bool (n,): the rows that it was asked for; by default all.
    """
    rows = np.ones(len(data.scored), bool) if asked is None else asked
    return Scored(name, "baseline", _metrics(recommended, data.scored.targets), rows)


def score_runs(
    name: str, kind: Kind, runs: Sequence[Run], seeds: int, tree: Tree, data: Data
) -> Scored:
    """Score the runs of one set of words.

    Args:
        name: Its name.
        kind: What it is.
        runs: The runs that were done.
        seeds: How many were asked for.
        tree: The words.
        data: The rows.
    """
    targets = data.scored.targets
    of_items, of_sids = [], []
    for run in runs:
        items = np.where(run.words >= 0, tree.items[run.words], -1)
        of_items.append(_metrics(items, targets))
        groups = Lists(tree.groups[targets.items].astype(np.int32), targets.offsets)
        of_sids.append(_metrics(run.words, groups))
    numbers = ("seed", "steps", "most_steps", "best_step", "loss", "seconds")
    return Scored(
        name,
        kind,
        _mean(of_items),
        np.ones(len(data.scored), bool),
        _mean(of_sids) if kind in ("sids", "dealt") else {},
        tuple({number: getattr(run, number) for number in numbers} for run in runs),
        len(runs) == seeds,
    )


def find_differences(
    scored: Sequence[Scored], pairs: Sequence[tuple[str, str]], users: np.ndarray
) -> tuple[Difference, ...]:
    """The differences of pairs that were both finished, with enough seeds.

    Args:
        scored: What was scored.
        pairs: Names: `of` and `to`.
        users: Integers (n,): the user of each row.
    """
    named = {one.name: one for one in scored}
    found = []
    for of, to in pairs:
        if not (_comparable(named[of]) and _comparable(named[to])):
            continue
        both = named[of].rows & named[to].rows
        for metric in METRICS:
            difference = (named[of].values[metric] - named[to].values[metric])[both]
            found.append(Difference(of, to, metric, interval(difference, users[both])))
    return tuple(found)


def _comparable(one: Scored) -> bool:
    return one.kind == "baseline" or (one.finished and len(one.runs) >= FEWEST_SEEDS)


def _metrics(recommended: np.ndarray, targets: Lists) -> dict[str, np.ndarray]:
    scores = score(recommended, targets)
    by_cutoff = [*scores.hits.T, *scores.ndcg.T]
    return dict(zip(METRICS, by_cutoff, strict=True))


def _mean(of_runs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if not of_runs:
        return {}
    return {metric: np.mean([run[metric] for run in of_runs], axis=0) for metric in METRICS}


def as_json(result: ProbeResult) -> dict[str, Any]:
    """The result as JSON; shares from 0 to 1."""
    return {
        "finished": result.finished,
        "rows": dict(result.facts),
        "scored": [_scored_json(result, one) for one in result.scored],
        "differences": [
            {
                "of": one.of,
                "to": one.to,
                "metric": one.metric,
                "mean": one.interval.mean,
                "low": one.interval.low,
                "high": one.interval.high,
                "verdict": one.verdict,
            }
            for one in result.differences
        ],
    }


def _scored_json(result: ProbeResult, one: Scored) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": one.name,
        "kind": one.kind,
        "finished": one.finished,
        "rows": int(one.rows.sum()),
        "runs": [dict(run) for run in one.runs],
    }
    for metric, values in one.values.items():
        found = result.interval(one.name, metric)
        made[metric] = {"mean": found.mean, "low": found.low, "high": found.high}
        for group, of_group in (("seen", ~result.unseen), ("unseen", result.unseen)):
            chosen = values[one.rows & of_group]
            made[metric][group] = float(chosen.mean()) if len(chosen) else None
    if one.sids:
        made["of_sids"] = {
            metric: float(values[one.rows].mean()) for metric, values in one.sids.items()
        }
    return made
