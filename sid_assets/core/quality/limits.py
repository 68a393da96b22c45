"""The limits of the quality figures, beyond which a check of `sid_quality` warns."""

from dataclasses import dataclass

from sid_assets.core.contracts.findings import Check, Finding, Findings, contract
from sid_assets.core.quality.figures import SidQuality

EXACT = 1e-6
"""Relative errors up to this are rounding errors of float32: the vectors are reconstructed."""


@dataclass(frozen=True)
class Limits:
    """The limits of the figures.

    Attributes:
        collision_share: The largest share of items that may share their SID, 0 to 1.
        utilisation: The smallest share of codes that each layer should use, 0 to 1.
        error_ratio: The largest ratio of the catalog's reconstruction error to that of the
            tokenizer's training.
    """

    collision_share: float
    utilisation: float
    error_ratio: float


@contract(
    Check("collisions", "The share of items that share their SID is within its limit.", warns=True),
    Check("utilisation", "Each layer uses enough of its codes.", warns=True),
    Check(
        "reconstruction",
        "The reconstruction error is close to that of the tokenizer's training.",
        warns=True,
    ),
)
def check_limits(quality: SidQuality, trained_error: float | None, limits: Limits) -> Findings:
    """Check whether the figures are within the limits.

    Args:
        quality: The figures.
        trained_error: The mean relative error of the tokenizer's training; None if the tokenizer
            does not state it.
        limits: The limits.
    """
    return {
        "collisions": _collisions(quality, limits.collision_share),
        "utilisation": _utilisation(quality, limits.utilisation),
        "reconstruction": _reconstruction(quality, trained_error, limits.error_ratio),
    }


def _collisions(quality: SidQuality, limit: float) -> Finding:
    share = quality.sids.colliding_share
    return Finding(
        share <= limit,
        f"{share:.1%} of the items share their SID with another; {100 * limit:g}% is the limit "
        "(SID_MAX_COLLISION_SHARE)",
        {"share": share},
    )


def _utilisation(quality: SidQuality, limit: float) -> Finding:
    """A layer cannot use more codes than there are items, so utilisation is relative to that."""
    reachable = min(quality.codebook_size, quality.items)
    used = min(usage.used for usage in quality.layers) / reachable
    return Finding(
        used >= limit,
        f"the least used layer uses {used:.1%} of the {reachable:,} codes that it could use; "
        f"{100 * limit:g}% is the limit (SID_MIN_UTILISATION)",
        {"utilisation": used},
    )


def _reconstruction(quality: SidQuality, trained_error: float | None, limit: float) -> Finding:
    """Embeddings that the tokenizer was not trained for show here first."""
    error = quality.layers[-1].error
    if error is None or trained_error is None:
        return Finding(
            True, "not compared: the reconstruction error of the tokenizer's training is unknown"
        )
    if trained_error <= EXACT:  # all vectors of the training are among the centroids
        return Finding(
            error.mean <= EXACT,
            f"the mean relative error after the last layer is {error.mean:.3f}; the tokenizer's "
            "training reconstructed its vectors exactly",
            {"error": error.mean},
        )
    ratio = error.mean / trained_error
    return Finding(
        ratio <= limit,
        f"the mean relative error after the last layer is {error.mean:.3f}, {ratio:.2f} times "
        f"that of the tokenizer's training; {limit:g} is the limit (SID_MAX_ERROR_RATIO)",
        {"error": error.mean, "ratio": ratio},
    )
