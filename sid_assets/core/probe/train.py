"""Training of the decoder, which goes on after a kill and stops when it no longer improves."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.probe.decoder import MOST_TARGETS, code_logits, new_decoder
from sid_assets.core.probe.rows import Rows
from sid_assets.core.probe.words import PAD, START, Spelling
from sid_assets.core.store.places import write_pieces

if TYPE_CHECKING:
    import torch
    import transformers

BATCH_ROWS = 64
SORTED_ROWS = 64 * BATCH_ROWS
"""Rows among which those of equal length come into one batch."""

EPOCHS = 20
FEWEST_STEPS, MOST_STEPS = 300, 20_000
"""Limits of the steps: as many as `EPOCHS` take, but within these."""

STEPS_BETWEEN = (25, 500)
"""Limits of the steps between two looks at the held-out rows: an epoch, but within these."""

PATIENCE = 3
"""Looks without improvement after which training stops."""

HELD_OUT = 10
"""One user in ten is held out."""

LEARNING_RATE = 2e-3
WARM_UP = 0.07
"""The share of the steps in which the learning rate rises."""

WEIGHT_DECAY = 0.1
NO_LOSS = -100

TIMED_STEPS = 5
"""Steps that tell how long a training takes."""

NUMBERS: dict[str, type] = {
    "step": int,
    "best_step": int,
    "looks_since_best": int,
    "loss": float,
    "best_loss": float,
    "seconds": float,
}
"""What is kept of a training beside its tensors."""


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        step: Steps that were made.
        most_steps: Steps that are made at most; it may stop before.
        loss: Mean loss of a code of the held-out rows (nats).
        seconds_left: What the remaining steps take.
    """

    step: int
    most_steps: int
    loss: float
    seconds_left: float


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained decoder.

    Attributes:
        decoder: The decoder, with the weights whose loss on the held-out rows was the smallest.
        steps: Steps that were made.
        most_steps: Steps that would have been made at most.
        best_step: The step of these weights.
        loss: Mean loss of a code of the held-out rows (nats).
        seconds: How long it took, with the time before a kill.
    """

    decoder: "transformers.Qwen3ForCausalLM"
    steps: int
    most_steps: int
    best_step: int
    loss: float
    seconds: float


class OutOfTimeError(Exception):
    """The time limit came before the end of a training."""


def held_out_users(rows: Rows) -> np.ndarray:
    """Whether a row is one of the tenth of the users that are held out, by hash: bool (n,)."""
    mixed = rows.users * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(40)) % np.uint64(HELD_OUT) == 0


def train_decoder(
    rows: Rows,
    spelling: Spelling,
    *,
    seed: int,
    state: UPath,
    device: str = "cpu",
    deadline: float = math.inf,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Train a decoder to continue histories with targets.

    Every item of a row is learned from those before it. Rows of one user repeat items of earlier
    rows; so histories are learned in the first row of each user only, targets in every row.

    Args:
        rows: Rows of split 0.
        spelling: The words of the items.
        seed: Weights and the order of rows follow from it.
        state: Its state is kept in this file after each look at the held-out rows. A training that
            was killed goes on from there, with the same result.
        device: The device.
        deadline: The value of `time.monotonic()` at which to stop.
        progress: Called after each look at the held-out rows.

    Raises:
        OutOfTimeError: The deadline came before the end. The state is kept.
    """
    import torch

    held_out = held_out_users(rows)
    if held_out.all() or not held_out.any():  # very few users
        held_out = np.zeros(len(rows), bool)
        held_out[: max(1, len(rows) // HELD_OUT)] = True
    batches = _Batches(rows.take(np.flatnonzero(~held_out)), spelling, seed)
    checked = _Batches(rows.take(np.flatnonzero(held_out)), spelling, seed)
    training = _Training(new_decoder(spelling, seed, device), spelling, batches.most_steps)
    kept = _State(state)
    kept.load(training)
    between = min(max(batches.in_epoch, STEPS_BETWEEN[0]), STEPS_BETWEEN[1])
    while training.step < batches.most_steps and training.looks_since_best < PATIENCE:
        started = time.monotonic()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + training.step)  # of dropout
            for tokens, labels in batches.steps(training.step, between):
                training.make_step(tokens, labels)
                if time.monotonic() > deadline:
                    raise OutOfTimeError
        training.look(checked)
        training.seconds += time.monotonic() - started
        kept.save(training)
        left = training.seconds / training.step * (batches.most_steps - training.step)
        progress(Progress(training.step, batches.most_steps, training.loss, left))
    return training.result()


def time_of_training(rows: Rows, spelling: Spelling, device: str = "cpu") -> float:
    """What a training takes that makes all of its steps (s), from the time of a few steps."""
    batches = _Batches(rows, spelling, seed=0)
    training = _Training(new_decoder(spelling, 0, device), spelling, batches.most_steps)
    started, timed = 0.0, 0
    for tokens, labels in batches.steps(0, 1 + TIMED_STEPS):
        training.make_step(tokens, labels)
        if started:
            timed += 1
        else:  # the first step is slower
            started = time.monotonic()
    return (time.monotonic() - started) / max(1, timed) * batches.most_steps


class _Batches:
    """Rows as batches of tokens and labels, in an order that follows from the seed."""

    def __init__(self, rows: Rows, spelling: Spelling, seed: int) -> None:
        targets = rows.targets
        kept = np.arange(len(targets.items)) - np.repeat(targets.offsets[:-1], targets.lengths)
        lengths = np.minimum(targets.lengths, MOST_TARGETS)
        self._histories = rows.histories
        self._targets = type(targets).of(targets.items[kept < MOST_TARGETS], lengths)
        self._first = rows.first_of_users()
        self._words, self._seed, self._rows = spelling.tokens(), seed, len(rows)
        self._lengths = rows.histories.lengths + lengths
        self.in_epoch = max(1, -(-len(rows) // BATCH_ROWS))
        self.most_steps = min(max(EPOCHS * self.in_epoch, FEWEST_STEPS), MOST_STEPS)

    def steps(self, start: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of some steps."""
        epoch, place = divmod(start, self.in_epoch)
        order = self._order(epoch)
        for _ in range(min(count, self.most_steps - start)):
            if place == self.in_epoch:
                epoch, place = epoch + 1, 0
                order = self._order(epoch)
            yield self._batch(order[place])
            place += 1

    def once(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All rows, in batches."""
        order = np.argsort(self._lengths, kind="stable")
        for start in range(0, self._rows, BATCH_ROWS):
            yield self._batch(order[start : start + BATCH_ROWS])

    def _order(self, epoch: int) -> list[np.ndarray]:
        """The rows of each batch of an epoch: alike in length, so that little is filled up."""
        draw = np.random.default_rng((self._seed, epoch))
        order = draw.permutation(self._rows)
        pieces = [order[at : at + SORTED_ROWS] for at in range(0, self._rows, SORTED_ROWS)]
        order = np.concatenate([p[np.argsort(self._lengths[p], kind="stable")] for p in pieces])
        batches = [order[at : at + BATCH_ROWS] for at in range(0, self._rows, BATCH_ROWS)]
        return [batches[at] for at in draw.permutation(len(batches))]

    def _batch(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens, and the same with NO_LOSS where nothing is learned: int64 (rows, length)."""
        depth = self._words.shape[1]
        longest = int(self._lengths[rows].max())
        tokens = np.full((len(rows), 1 + longest * depth), PAD, np.int64)
        labels = np.full_like(tokens, NO_LOSS)
        tokens[:, 0] = START
        for place, row in enumerate(rows):
            history, targets = self._histories[row], self._targets[row]
            words = self._words[np.concatenate([history, targets])].reshape(-1)
            tokens[place, 1 : 1 + len(words)] = words
            learned = 0 if self._first[row] else len(history) * depth
            labels[place, 1 + learned : 1 + len(words)] = words[learned:]
        return tokens, labels


class _Training:
    """A decoder that is being trained, with everything its next step depends on."""

    def __init__(
        self, decoder: "transformers.Qwen3ForCausalLM", spelling: Spelling, most_steps: int
    ) -> None:
        import torch

        self.decoder, self._spelling = decoder, spelling
        self.optimiser = torch.optim.AdamW(
            decoder.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98)
        )
        self._most_steps = most_steps
        self.step = self.best_step = self.looks_since_best = 0
        self.loss = self.best_loss = math.inf
        self.seconds = 0.0
        self.best: dict[str, torch.Tensor] = {}

    def make_step(self, tokens: np.ndarray, labels: np.ndarray) -> None:
        """One step of AdamW."""
        import torch

        self.decoder.train()
        warm = min(1.0, (self.step + 1) / (WARM_UP * self._most_steps))
        fallen = 0.5 * (1 + math.cos(math.pi * self.step / self._most_steps))
        self.optimiser.param_groups[0]["lr"] = LEARNING_RATE * warm * max(fallen, 0.05)
        total, count = self._losses(tokens, labels)
        self.optimiser.zero_grad(set_to_none=True)
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1

    def look(self, held_out: _Batches) -> None:
        """Measure the loss of the held-out rows, and keep the weights if it is the smallest."""
        import torch

        self.decoder.eval()
        totals, counts = 0.0, 0
        with torch.inference_mode():
            for tokens, labels in held_out.once():
                total, count = self._losses(tokens, labels)
                totals, counts = totals + float(total), counts + count
        self.loss = totals / max(1, counts)
        self.looks_since_best += 1
        if self.loss < self.best_loss:
            self.best_loss, self.best_step, self.looks_since_best = self.loss, self.step, 0
            self.best = {
                name: value.detach().cpu().clone()
                for name, value in self.decoder.state_dict().items()
            }

    def result(self) -> Trained:
        """The decoder with the best weights."""
        self.decoder.load_state_dict(self.best)
        return Trained(
            self.decoder, self.step, self._most_steps, self.best_step, self.best_loss, self.seconds
        )

    def _losses(self, tokens: np.ndarray, labels: np.ndarray) -> "tuple[torch.Tensor, int]":
        """The sum of the losses of the codes that are learned, and their number."""
        import torch

        device, depth = self.decoder.device, self._spelling.depth
        hidden = self.decoder.model(torch.from_numpy(tokens).to(device)).last_hidden_state
        total = torch.zeros((), device=device)
        count = 0
        for place, start in enumerate(self._spelling.starts):
            wanted = labels[:, 1 + place :: depth]
            rows, words = np.nonzero(wanted != NO_LOSS)
            if not len(rows):
                continue
            at = (
                torch.from_numpy(rows).to(device),
                torch.from_numpy(words * depth + place).to(device),
            )
            logits = code_logits(self.decoder, hidden[at], self._spelling, place)
            codes = torch.from_numpy(wanted[rows, words] - start).to(device)
            total = total + torch.nn.functional.cross_entropy(logits, codes, reduction="sum")
            count += len(rows)
        return total, count


class _State:
    """The state of a training in a safetensors file; whole or not there."""

    def __init__(self, path: UPath) -> None:
        self._path = path

    def save(self, training: _Training) -> None:
        """Replace the state."""
        import torch
        from safetensors.torch import save

        tensors = {f"best.{name}": value for name, value in training.best.items()}
        for name, value in training.decoder.named_parameters():
            tensors[f"now.{name}"] = value
            for key, moment in training.optimiser.state[value].items():
                tensors[f"{key}.{name}"] = moment
        for name in NUMBERS:
            tensors[f"number.{name}"] = torch.tensor(getattr(training, name), dtype=torch.float64)
        # Copies, since the format refuses tied weights, which share memory.
        copies = {name: value.detach().cpu().clone() for name, value in tensors.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_pieces(self._path, [save(copies)])

    def load(self, training: _Training) -> None:
        """Go on from the state, if there is one.

        Raises:
            StoreError: It is damaged.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load

        if not self._path.exists():
            return
        groups: dict[str, dict[str, torch.Tensor]] = {}
        try:
            for name, value in load(self._path.read_bytes()).items():
                group, _, rest = name.partition(".")
                groups.setdefault(group, {})[rest] = value
            best, now, numbers = (groups.pop(name) for name in ("best", "now", "number"))
            training.decoder.load_state_dict(best)
        except (SafetensorError, KeyError, RuntimeError) as error:
            raise StoreError(
                f"{self._path}: damaged ({error}). Remove this file; the training starts again."
            ) from error
        training.best = best
        with torch.no_grad():
            for name, value in training.decoder.named_parameters():
                value.copy_(now[name])
                training.optimiser.state[value] = {
                    key: moments[name].to("cpu" if key == "step" else value.device)
                    for key, moments in groups.items()
                }
        for name, kind in NUMBERS.items():
            setattr(training, name, kind(numbers[name]))
