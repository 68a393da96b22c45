"""The limits of quality: figures within a limit pass, figures beyond it do not."""

import pytest

from sid_assets.core.quality.limits import Limits, check_limits
from sid_assets.core.quality.measure import measure_sids
from sid_assets_tests.core.quality.small_tables import batches, codes_table

KEPT = Limits(collision_share=0.5, utilisation=0.25, error_ratio=1.25)
FIGURES = measure_sids(batches(codes_table([(0, 1, 0), (0, 1, 0), (1, 0, 2), (2, 3, 3)])), 8)
"""Half of the items collide, each layer uses 3 of 4 codes, and the error is 0.125."""


def broken(limits: Limits, trained_error: float | None = 0.1) -> set[str]:
    findings = check_limits(FIGURES, trained_error, limits)
    assert findings.keys() == {check.name for check in check_limits.checks}
    return {name for name, finding in findings.items() if not finding.passed}


@pytest.mark.parametrize(
    ("limits", "past"),
    [
        (KEPT, set()),
        (Limits(0.4, 0.25, 1.25), {"collisions"}),
        (Limits(0.5, 0.8, 1.25), {"utilisation"}),
        (Limits(0.5, 0.75, 1.2), {"reconstruction"}),
    ],
)
def test_figures_beyond_a_limit_are_found(limits, past):
    assert broken(limits) == past


def test_without_the_error_of_the_training_nothing_is_compared():
    assert broken(Limits(0.5, 0.75, 0), trained_error=None) == set()


@pytest.mark.parametrize("trained_error", [0.0, 1e-8])
def test_an_exact_training_is_compared_without_a_ratio(trained_error):
    exact = measure_sids(batches(codes_table([(0, 1, 0)] * 3, [(1, 0.1, 0.01, 0)] * 3)), 8)
    found = check_limits(exact, trained_error, KEPT)["reconstruction"]
    assert found.passed
    found = check_limits(FIGURES, trained_error, KEPT)["reconstruction"]
    assert not found.passed
    assert "0.125; the tokenizer's training reconstructed its vectors exactly" in found.description


def test_all_limits_only_warn():
    assert all(check.warns for check in check_limits.checks)
