"""The checks of a contract in Dagster's form."""

import logging

import dagster as dg

from sid_assets.assets.check_results import check_results, check_specs
from sid_assets.core.contracts.findings import Check, Finding

KEY = dg.AssetKey(["goods", "codes"])
CHECKS = [
    Check("pids", "Every pid is there once."),
    Check("coverage", "Most pids have a SID.", warns=True),
    Check("last", "The last check."),
]


def test_all_checks_except_warnings_block():
    specs = check_specs(KEY, CHECKS)
    assert [spec.name for spec in specs] == ["pids", "coverage", "last"]
    assert [spec.blocking for spec in specs] == [True, False, True]
    assert {spec.asset_key for spec in specs} == {KEY}
    assert specs[0].description == "Every pid is there once."


def test_each_check_has_a_result_and_failures_are_logged(caplog):
    findings = {
        "pids": Finding(True, "60 pids", {"pids": 60}),
        "coverage": Finding(False, "3% of the pids have a SID"),
    }
    log = logging.getLogger("checks")
    with caplog.at_level(logging.INFO):
        results = list(check_results(KEY, CHECKS, findings, log))
    assert [(result.check_name, result.passed) for result in results] == [
        ("pids", True),
        ("coverage", False),
        ("last", False),
    ]
    error, warning = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
    assert [result.severity for result in results] == [error, warning, error]
    assert results[0].metadata["pids"].value == 60
    assert results[2].description == "not evaluated: see the check that failed"
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "goods/codes: check coverage: 3% of the pids have a SID"),
        ("ERROR", "goods/codes: check last: not evaluated: see the check that failed"),
    ]
