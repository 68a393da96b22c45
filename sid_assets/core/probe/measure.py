"""A probe of sets of SIDs: what is trained, what it is compared with, and the result."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from upath import UPath

from sid_assets.core.probe.result import (
    Kind,
    ProbeResult,
    Scored,
    find_differences,
    score_runs,
)
from sid_assets.core.probe.run import SEEDS, Data, make_runs
from sid_assets.core.probe.words import Spelling, Tree

MOST_ITEM_TOKENS = 200_000
"""Items up to which a model with one token an item is trained."""

ITEM_WORDS = "one token an item"
DEALT_SEED = 0


@dataclass(frozen=True)
class Controls:
    """What SIDs are compared with, beside each other.

    Attributes:
        dealt: Whether the same SIDs dealt to the items at random are trained on, too.
        items: Whether a model with one token an item is.
        baselines: What needs no training.
    """

    dealt: bool = True
    items: bool = True
    baselines: Sequence[Scored] = ()


@dataclass(frozen=True, eq=False)
class Subject:
    """Words that decoders are trained on."""

    kind: Kind
    spelling: Spelling


def probe_sids(
    data: Data,
    sids: Mapping[str, np.ndarray],
    controls: Controls,
    *,
    folder: UPath,
    seeds: int = len(SEEDS),
    device: str = "cpu",
    deadline: float = math.inf,
    progress: Callable[[str], None] = lambda _: None,
) -> ProbeResult:
    """Train decoders on SIDs and on their controls, and compare what they recommend.

    Args:
        data: The rows.
        sids: By name, integers (items, 3): the SID of each item.
        controls: What they are compared with.
        folder: Runs are kept here.
        seeds: Decoders that are trained for each set of words.
        device: The device of torch.
        deadline: The value of `time.monotonic()` at which to stop.
        progress: Called with what is being done.
    """
    subjects = subjects_of(sids, controls, len(data.users))
    runs = make_runs(
        data,
        {name: subject.spelling for name, subject in subjects.items()},
        folder=folder,
        seeds=range(seeds),
        device=device,
        deadline=deadline,
        progress=progress,
    )
    scored = [*controls.baselines]
    for name, subject in subjects.items():
        tree = Tree.of(subject.spelling, data.users)
        scored.append(score_runs(name, subject.kind, runs[name], seeds, tree, data))
    names = list(sids)
    pairs = [(name, dealt(name)) for name in names if controls.dealt]
    pairs += [(first, other) for at, first in enumerate(names) for other in names[at + 1 :]]
    rest = [one.name for one in controls.baselines] + [ITEM_WORDS] * (ITEM_WORDS in subjects)
    pairs += [(name, other) for name in names for other in rest]
    differences = find_differences(scored, pairs, data.scored.users)
    return ProbeResult(tuple(scored), differences, data.unseen(), data.scored.users, data.facts())


def subjects_of(
    sids: Mapping[str, np.ndarray], controls: Controls, items: int
) -> dict[str, Subject]:
    """What decoders are trained on, in the order in which they are trained."""
    subjects: dict[str, Subject] = {}
    for name, codes in sids.items():
        spelling = Spelling.of_sids(codes)
        subjects[name] = Subject("sids", spelling)
        if controls.dealt:
            subjects[dealt(name)] = Subject("dealt", spelling.dealt(DEALT_SEED))
    if controls.items and items <= MOST_ITEM_TOKENS:
        subjects[ITEM_WORDS] = Subject(ITEM_WORDS, Spelling.of_items(items))
    return subjects


def dealt(name: str) -> str:
    """The name of the control of a set of SIDs."""
    return f"{name}, dealt at random"
