"""Errors of this package reach the person as one message; all others as they are."""

import os
import subprocess
import sys
from pathlib import Path

import click
import dagster as dg
import pytest

from sid_assets.core.errors import InputError, StoreError
from sid_assets.failures import clear_failures, clear_refusals_to_start

REPOSITORY = str(Path(__file__).parents[1])


@pytest.mark.parametrize("error", [InputError("catalog.csv: no rows"), StoreError("disk is full")])
def test_a_refusal_is_a_failure_with_its_message_that_is_not_retried(error):
    @clear_failures
    def body() -> None:
        raise error

    with pytest.raises(dg.Failure) as failed:
        body()
    assert failed.value.description == str(error)
    assert not failed.value.allow_retries
    assert failed.value.__suppress_context__


def test_a_generator_gives_what_it_made_before_it_fails():
    @clear_failures
    def body(count: int):
        yield from range(count)
        raise InputError("too many")

    rows = body(2)
    assert [next(rows), next(rows)] == [0, 1]
    with pytest.raises(dg.Failure, match="too many"):
        next(rows)


def test_other_errors_stay_as_they_are():
    @clear_failures
    def body() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()


def test_names_and_results_stay_as_they_are():
    @clear_failures
    def body(one: int, *, two: int = 2) -> int:
        """Adds."""
        return one + two

    assert (body.__name__, body.__doc__, body(1, two=5)) == ("body", "Adds.", 6)


@dg.asset
@clear_failures
def refused() -> None:
    raise InputError("catalog.csv: no rows")


def test_dagster_stores_the_message_of_a_refusal_without_a_stack():
    with dg.instance_for_test() as instance:
        result = dg.materialize([refused], instance=instance, raise_on_error=False)
        (entry,) = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    data = entry.get_dagster_event().step_failure_data
    assert data.error
    assert (data.error.message, list(data.error.stack)) == ("catalog.csv: no rows\n", [])
    assert (data.error.cause, data.error.context) == (None, None)
    assert data.user_failure_data
    assert data.user_failure_data.description == "catalog.csv: no rows"


def test_a_refusal_to_start_is_an_error_of_this_package_and_one_that_commands_print():
    with pytest.raises(InputError, match=r"^SID_SEED=-1") as refused, clear_refusals_to_start():
        raise InputError("SID_SEED=-1: too small")
    assert isinstance(refused.value, click.ClickException)
    assert refused.value.format_message() == "SID_SEED=-1: too small"


def test_another_error_at_the_start_stays_as_it_is():
    with pytest.raises(dg.DagsterInvariantViolationError), clear_refusals_to_start():
        raise dg.DagsterInvariantViolationError("no such job")


COMMANDS = {
    "in one process": ["asset", "materialize", "--select", "*"],
    "with a code server, as dagster dev": ["definitions", "validate"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_dagsters_commands_print_a_wrong_setting_without_frames(arguments, tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "dagster", *arguments, "-m", "sid_assets.definitions"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": REPOSITORY, "SID_SEED": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = result.stdout + result.stderr
    assert result.returncode == 1
    assert "SID_SEED=-1: must be a whole number from 0 to 2,147,483,645." in output
    for frame in ("Traceback", "Stack Trace", 'File "'):
        assert frame not in output
