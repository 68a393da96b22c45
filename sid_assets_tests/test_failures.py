"""Errors of this package reach the person as one message; all others as they are."""

import dagster as dg
import pytest

from sid_assets.core.errors import InputError, StoreError
from sid_assets.failures import clear_failures


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
