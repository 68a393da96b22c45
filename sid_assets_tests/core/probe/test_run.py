"""Runs are kept, so that a probe that was killed goes on."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from sid_assets.core.errors import StoreError
from sid_assets.core.probe.run import Data, make_runs, time_of_run
from sid_assets.core.probe.words import Spelling
from sid_assets_tests.core.probe.random_rows import random_rows, rows_of
from sid_assets_tests.core.probe.small_decoder import use_small_decoder

ITEMS = 40
DATA = Data.of(random_rows(200, ITEMS, seed=0), random_rows(30, ITEMS, seed=1), ITEMS)
SPELLINGS = {"random": Spelling.of_sids(np.random.default_rng(0).integers(0, 5, (ITEMS, 3)))}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch):
    use_small_decoder(monkeypatch, steps=12, between=4)


def runs_of(folder: Path, data: Data = DATA, spellings=SPELLINGS, **options):
    return make_runs(data, spellings, folder=UPath(folder), **{"seeds": (0, 1), **options})


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        for run, again in zip(one[name], other[name], strict=True):
            assert np.array_equal(run.words, again.words)
            assert (run.seed, run.steps, run.best_step) == (
                again.seed,
                again.steps,
                again.best_step,
            )
            assert run.loss == again.loss


def test_a_run_has_words_for_every_scored_row_and_its_numbers(tmp_path):
    [first, second] = runs_of(tmp_path)["random"]
    assert first.words.shape == (30, 20)
    assert first.words.min() >= 0
    assert (first.seed, second.seed) == (0, 1)
    assert first.best_step <= first.steps <= first.most_steps == 12
    assert first.seconds > 0
    assert not np.array_equal(first.words, second.words)


class KilledError(BaseException):
    """As a kill, which no code of the package handles."""


def test_a_probe_that_was_killed_goes_on_where_it_was(tmp_path):
    whole = runs_of(tmp_path / "whole")
    said: list[str] = []

    def killed(text: str) -> None:
        said.append(text)
        if "seed 1: step 8" in text:
            raise KilledError

    with pytest.raises(KilledError):
        runs_of(tmp_path / "killed", progress=killed)
    again: list[str] = []
    assert_equal(runs_of(tmp_path / "killed", progress=again.append), whole)
    assert not [text for text in again if "seed 0" in text]
    assert again[0].startswith("run 2 of 2: random, seed 1: step 12 of at most 12")


def test_runs_that_were_done_are_read(tmp_path):
    first, said = runs_of(tmp_path), []
    assert_equal(runs_of(tmp_path, progress=said.append), first)
    assert said == []
    shutil.rmtree(tmp_path)
    assert_equal(runs_of(tmp_path, progress=said.append), first)
    assert said


def test_other_rows_words_or_numbers_are_other_runs(tmp_path, monkeypatch: pytest.MonkeyPatch):
    runs_of(tmp_path, seeds=(0,))

    def is_made(**options) -> bool:
        said: list[str] = []
        runs_of(tmp_path, **{"seeds": (0,), "progress": said.append, **options})
        return bool(said)

    assert not is_made()
    assert is_made(data=Data.of(DATA.trained, DATA.scored.take(np.arange(29)), ITEMS))
    assert is_made(spellings={"dealt": SPELLINGS["random"].dealt(0)})
    assert not is_made(spellings={"another name": SPELLINGS["random"]})
    monkeypatch.setattr("sid_assets.core.probe.train.LEARNING_RATE", 1e-3)
    assert is_made()


def test_what_was_done_within_the_time_limit_is_kept(tmp_path):
    runs_of(tmp_path, seeds=(0,))
    said: list[str] = []
    found = runs_of(tmp_path, deadline=time.monotonic(), seeds=(1, 0, 2), progress=said.append)
    assert [run.seed for run in found["random"]] == [0]
    assert said == ["run 1 of 3: random, seed 1: not finished within the time limit."]


def test_a_damaged_run_is_named(tmp_path):
    runs_of(tmp_path, seeds=(0,))
    [path] = tmp_path.rglob("run.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StoreError, match=r"run\.safetensors: damaged.*Remove this file"):
        runs_of(tmp_path, seeds=(0,))


def test_what_a_run_takes_is_known_before():
    taken = time_of_run(DATA, SPELLINGS["random"])
    assert 0 < taken < 60


def test_unseen_rows_have_no_target_of_split_0():
    trained = rows_of([(1, [0], [1])])
    scored = rows_of([(1, [0], [2, 1]), (2, [0], [2, 3]), (3, [2], [0])])
    data = Data.of(trained, scored, 4)
    assert data.unseen().tolist() == [False, True, False]
    assert data.facts()["repeated_targets"] == 1
