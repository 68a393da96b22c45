"""Runs of the probe: a decoder for each set of words and each seed, and what it recommends.

Each run that is done is kept, so that a probe that was killed, or ran out of time, goes on.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.probe import decoder, generate, train
from sid_assets.core.probe.generate import recommend
from sid_assets.core.probe.rows import Rows, count_repeated_targets, pairs_of
from sid_assets.core.probe.train import (
    OutOfTimeError,
    Progress,
    time_of_training,
    train_decoder,
)
from sid_assets.core.probe.words import Spelling, Tree
from sid_assets.core.store.places import write_pieces

FORMAT = 1
RUNS = ".probe"
"""The folder below the data folder in which runs are kept."""

SEEDS = (0, 1, 2)
TIMED_ROWS = 256


@dataclass(frozen=True, eq=False)
class Data:
    """What all runs have in common.

    Attributes:
        trained: Rows of split 0.
        scored: Rows of split 1.
        users: int64 (items,): how many users have interacted with each item in split 0.
    """

    trained: Rows
    scored: Rows
    users: np.ndarray

    @classmethod
    def of(cls, trained: Rows, scored: Rows, items: int) -> "Data":
        """Count the users of each item: each user and item once."""
        users, of = (np.concatenate(parts) for parts in zip(*pairs_of(trained), strict=True))
        _, user = np.unique(users, return_inverse=True)
        met = np.unique(user.astype(np.int64) * items + of)
        return cls(trained, scored, np.bincount(met % items, minlength=items))

    def unseen(self) -> np.ndarray:
        """Whether none of the targets of a scored row occurs in split 0: bool (n,)."""
        targets = self.scored.targets
        known = self.users[targets.items] > 0
        return np.bincount(targets.rows()[known], minlength=len(self.scored)) == 0

    def facts(self) -> dict[str, int]:
        """Numbers of the rows, by name."""
        return {
            "items": len(self.users),
            "trained_rows": len(self.trained),
            "rows_of_split_0": self.trained.of_all,
            "scored_rows": len(self.scored),
            "rows_of_split_1": self.scored.of_all,
            "left_out": self.trained.left_out + self.scored.left_out,
            "repeated_targets": count_repeated_targets(self.trained, self.scored),
        }

    def digest(self) -> "hashlib._Hash":
        """A hash of everything."""
        digest = hashlib.sha256(str(FORMAT).encode())
        for rows in (self.trained, self.scored):
            for array in (
                rows.users,
                *(
                    part
                    for lists in (rows.histories, rows.targets)
                    for part in (lists.items, lists.offsets)
                ),
            ):
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest


@dataclass(frozen=True, eq=False)
class Run:
    """One decoder, trained and asked.

    Attributes:
        seed: Its seed.
        words: Integers (n, 20): for each scored row, positions in the tree's words; -1 for none.
        steps: Steps that were made.
        most_steps: Steps that would have been made without improvement coming to an end.
        best_step: The step whose weights were used.
        loss: Mean loss of a code of the held-out rows (nats).
        seconds: How long training and scoring took.
    """

    seed: int
    words: np.ndarray
    steps: int
    most_steps: int
    best_step: int
    loss: float
    seconds: float


NUMBERS: dict[str, type] = {
    "seed": int,
    "steps": int,
    "most_steps": int,
    "best_step": int,
    "loss": float,
    "seconds": float,
}


def make_runs(
    data: Data,
    spellings: Mapping[str, Spelling],
    *,
    folder: UPath,
    seeds: Sequence[int] = SEEDS,
    device: str = "cpu",
    deadline: float = math.inf,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Run]]:
    """Train a decoder for each spelling and seed, and ask it for every scored row.

    Args:
        data: The rows.
        spellings: The words by name.
        folder: Runs are kept here, those of other rows or words too.
        seeds: A decoder is trained for each.
        device: The device of torch.
        deadline: The value of `time.monotonic()` at which to stop.
        progress: Called with what is being done.

    Returns:
        The runs of each name that were done in time.
    """
    done: dict[str, list[Run]] = {name: [] for name in spellings}
    out_of_time = False
    total = len(seeds) * len(spellings)
    for number, (seed, name) in enumerate(((s, n) for n in spellings for s in seeds), 1):
        kept = _Kept(folder, data, spellings[name], seed)
        label = f"run {number} of {total}: {name}, seed {seed}"
        run = kept.read()
        if run is None and not out_of_time:
            try:
                run = _make_run(
                    data, spellings[name], seed, kept, device, deadline, label, progress
                )
                kept.write(run)
            except OutOfTimeError:
                out_of_time = True
                progress(f"{label}: not finished within the time limit.")
        if run is not None:
            done[name].append(run)
    return done


def time_of_run(data: Data, spelling: Spelling, device: str = "cpu") -> float:
    """What a run takes at most (s): from a few steps of training, and a few rows scored."""
    training = time_of_training(data.trained, spelling, device)
    rows = np.arange(min(TIMED_ROWS, len(data.scored)))
    tree = Tree.of(spelling, data.users)
    fresh = decoder.new_decoder(spelling, seed=0, device=device)
    started = time.monotonic()
    recommend(fresh, spelling, tree, data.scored.histories.take(rows))
    return training + (time.monotonic() - started) / len(rows) * len(data.scored)


def _make_run(
    data: Data,
    spelling: Spelling,
    seed: int,
    kept: "_Kept",
    device: str,
    deadline: float,
    label: str,
    progress: Callable[[str], None],
) -> Run:
    def tell(now: Progress) -> None:
        progress(
            f"{label}: step {now.step:,} of at most {now.most_steps:,}, loss {now.loss:.3f}, at "
            f"most {_duration(now.seconds_left)} left"
        )

    trained = train_decoder(
        data.trained,
        spelling,
        seed=seed,
        state=kept.state,
        device=device,
        deadline=deadline,
        progress=tell,
    )
    progress(f"{label}: scoring {len(data.scored):,} rows")
    started = time.monotonic()
    tree = Tree.of(spelling, data.users)
    words = recommend(trained.decoder, spelling, tree, data.scored.histories)
    seconds = trained.seconds + time.monotonic() - started
    return Run(
        seed, words, trained.steps, trained.most_steps, trained.best_step, trained.loss, seconds
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


class _Kept:
    """Where a run is kept, under a hash of what it depends on."""

    def __init__(self, folder: UPath, data: Data, spelling: Spelling, seed: int) -> None:
        digest = data.digest()
        digest.update(np.ascontiguousarray(spelling.words).tobytes())
        digest.update(json.dumps([spelling.sizes, seed, _constants()]).encode())
        self._folder = folder / digest.hexdigest()[:16]
        self.state = self._folder / "training.safetensors"
        self._run = self._folder / "run.safetensors"

    def read(self) -> Run | None:
        """The run, if it was done before."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        if not self._run.exists():
            return None
        try:
            arrays = load(self._run.read_bytes())
            numbers = {name: kind(arrays[name]) for name, kind in NUMBERS.items()}
            return Run(words=arrays["words"], **numbers)
        except (SafetensorError, KeyError) as error:
            raise StoreError(
                f"{self._run}: damaged ({error}). Remove this file; the run is made again."
            ) from error

    def write(self, run: Run) -> None:
        """Keep a run; the state of its training is no longer needed."""
        from safetensors.numpy import save

        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = {name: np.array(getattr(run, name), np.float64) for name in NUMBERS}
        write_pieces(self._run, [save({"words": run.words, **numbers})])
        self.state.unlink(missing_ok=True)


def _constants() -> list[float]:
    """The numbers that a run depends on."""
    return [
        *(decoder.WIDTH, decoder.LAYERS, decoder.HEADS, decoder.INNER_WIDTH),
        *(train.BATCH_ROWS, train.EPOCHS, train.FEWEST_STEPS, train.MOST_STEPS),
        *(train.LEARNING_RATE, train.PATIENCE, *train.STEPS_BETWEEN, generate.BEAMS),
    ]
