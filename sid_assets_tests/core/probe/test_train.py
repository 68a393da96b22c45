"""Training of the decoder: equal for equal seeds, and after a kill."""

import time
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.probe import train
from sid_assets.core.probe.train import OutOfTimeError, held_out_users, train_decoder
from sid_assets.core.probe.words import Spelling
from sid_assets_tests.core.probe.random_rows import random_rows
from sid_assets_tests.core.probe.small_decoder import use_small_decoder

ROWS = random_rows(300, 40, seed=0)
SPELLING = Spelling.of_sids(np.random.default_rng(0).integers(0, 5, (40, 3)))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch):
    use_small_decoder(monkeypatch, steps=12, between=4)
    monkeypatch.setattr(train, "EPOCHS", 2)


def trained(path: Path, seed: int = 0, **options):
    return train_decoder(ROWS, SPELLING, seed=seed, state=UPath(path), **options)


def weights(made) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in made.decoder.state_dict().items()}


def assert_equal(one, other):
    assert (one.steps, one.best_step, one.loss) == (other.steps, other.best_step, other.loss)
    for name, value in weights(one).items():
        assert np.array_equal(value, weights(other)[name]), name


def test_equal_seeds_give_equal_weights_and_others_do_not(tmp_path):
    first = trained(tmp_path / "first")
    assert_equal(first, trained(tmp_path / "second"))
    assert trained(tmp_path / "third", seed=1).loss != first.loss


class KilledError(BaseException):
    """As a kill, which no code of the package handles."""


def test_a_training_that_was_killed_goes_on_to_the_same_weights(tmp_path):
    whole = trained(tmp_path / "whole")
    looks = []

    def killed(progress):
        looks.append(progress.step)
        if len(looks) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        trained(tmp_path / "killed", progress=killed)
    steps = []
    again = trained(tmp_path / "killed", progress=lambda now: steps.append(now.step))
    assert steps[0] > looks[-1]  # it did not begin again
    assert_equal(again, whole)


def test_out_of_time_it_stops_and_goes_on_later(tmp_path):
    whole = trained(tmp_path / "whole")
    deadlines = []
    with pytest.raises(OutOfTimeError):
        trained(tmp_path / "late", deadline=time.monotonic(), progress=deadlines.append)
    assert not deadlines
    assert_equal(trained(tmp_path / "late"), whole)


def test_a_damaged_state_is_named(tmp_path):
    (tmp_path / "state").write_bytes(b"nonsense")
    with pytest.raises(StoreError, match=r"state: damaged.*Remove this file"):
        trained(tmp_path / "state")


def test_the_number_of_steps_follows_from_the_rows(tmp_path):
    seen = []
    trained(tmp_path / "state", progress=seen.append)
    rows = int((~held_out_users(ROWS)).sum())
    assert seen[0].most_steps == 2 * -(-rows // train.BATCH_ROWS) > 12


def test_a_tenth_of_the_users_is_held_out():
    rows = random_rows(5_000, 9, seed=1, users=2_000)
    held_out = held_out_users(rows)
    assert 0.07 < held_out.mean() < 0.13
    assert not set(rows.users[held_out]) & set(rows.users[~held_out])


def test_two_users_are_enough(tmp_path):
    few = random_rows(2, 40, seed=2)
    made = train_decoder(few, SPELLING, seed=0, state=UPath(tmp_path / "state"))
    assert made.steps > 0
