"""The checks of a contract as Dagster takes them: specs before a run, results after it."""

import logging
from collections.abc import Iterable, Iterator

import dagster as dg

from sid_assets.core.contracts.findings import Check, Finding, Findings

NOT_LOOKED_AT = Finding(False, "not looked at: see the check that failed")


def check_specs(key: dg.AssetKey, checks: Iterable[Check]) -> list[dg.AssetCheckSpec]:
    """The specs of an asset's checks; those that do not only warn block what is downstream."""
    return [
        dg.AssetCheckSpec(
            check.name, asset=key, description=check.sentence, blocking=not check.warns
        )
        for check in checks
    ]


def check_results(
    key: dg.AssetKey, checks: Iterable[Check], findings: Findings, log: logging.Logger
) -> Iterator[dg.AssetCheckResult]:
    """A result for each of the checks; one without a finding has not passed.

    The log names those that have not passed: the command line shows no checks.
    """
    for check in checks:
        finding = findings.get(check.name, NOT_LOOKED_AT)
        if not finding.passed:
            tell = log.warning if check.warns else log.error
            tell(f"{key.to_user_string()}: check {check.name}: {finding.description}")
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=check.name,
            passed=finding.passed,
            severity=dg.AssetCheckSeverity.WARN if check.warns else dg.AssetCheckSeverity.ERROR,
            description=finding.description,
            metadata=finding.metadata,
        )
