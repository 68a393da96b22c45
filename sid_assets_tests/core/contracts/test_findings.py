"""A contract returns findings for the checks that it declares, and for no others."""

import numpy as np
import pyarrow as pa
import pytest

from sid_assets.core.contracts.findings import Check, Finding, Findings, Offenders, contract


@contract(Check("even", "The number is even."), Check("small", "It is below ten.", warns=True))
def check_number(number: int, *, misspelt: bool = False) -> Findings:
    """Findings about a number; whether an odd number is small is not checked."""
    found = {"even": Finding(number % 2 == 0, f"{number}")}
    if found["even"].passed:
        found["smal" if misspelt else "small"] = Finding(number < 10, f"{number}")
    return found


def test_checks_are_declared_beside_the_function():
    assert [(check.name, check.warns) for check in check_number.checks] == [
        ("even", False),
        ("small", True),
    ]
    assert check_number.__doc__
    assert check_number.__doc__.startswith("Findings about a number")


def test_a_contract_is_called_like_its_function():
    assert {name: found.passed for name, found in check_number(12).items()} == {
        "even": True,
        "small": False,
    }
    assert check_number(7).keys() == {"even"}


def test_a_finding_of_an_undeclared_check_is_an_error():
    with pytest.raises(LookupError, match="smal: a finding of an undeclared check"):
        check_number(12, misspelt=True)


def test_offenders_are_counted_and_the_first_five_named():
    offenders = Offenders()
    assert offenders.finding("all are well", "ill").passed
    for start in (0, 4):
        offenders.add(np.array([True, True, False, True]), pa.array(range(start, start + 4)))
    found = offenders.finding("all are well", "ill")
    assert found.description == "ill (6 rows; first ids: 0, 1, 3, 4, 5)"
    assert found.metadata == {"rows_offending": 6, "first_ids": "0, 1, 3, 4, 5"}
