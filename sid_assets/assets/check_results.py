"""The checks of a contract in Dagster's form: specs before a run, results after it."""

import logging
from collections.abc import Iterable, Iterator

import dagster as dg

from sid_assets.core.contracts.findings import Check, Finding, Findings

NOT_LOOKED_AT = Finding(False, "not evaluated: see the check that failed")


def check_specs(key: dg.AssetKey, checks: Iterable[Check]) -> list[dg.AssetCheckSpec]:
    """The specs of an asset's checks; all except warnings block everything downstream."""
    return [
        dg.AssetCheckSpec(
            check.name, asset=key, description=check.sentence, blocking=not check.warns
        )
        for check in checks
    ]


def check_results(
    key: dg.AssetKey, checks: Iterable[Check], findings: Findings, log: logging.Logger
) -> Iterator[dg.AssetCheckResult]:
    """A result for each check; a check without a finding has not passed.

    Failures are logged as well, because the command line shows no checks.
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
