"""The limits of a catalog's quality, past which a check of `sid_quality` warns."""

from dataclasses import dataclass

from sid_assets.core.contracts.findings import Check, Finding, Findings, contract
from sid_assets.core.quality.figures import SidQuality


@dataclass(frozen=True)
class Limits:
    """How far the figures may go.

    Attributes:
        collision_share: Share of the items that may share their SID, 0 to 1.
        utilisation: Share of the codes that each layer should use, 0 to 1.
        error_ratio: How many times the reconstruction error of the tokenizer's training that of
            the catalog may be.
    """

    collision_share: float
    utilisation: float
    error_ratio: float


@contract(
    Check("collisions", "Few enough items share their SID.", warns=True),
    Check("utilisation", "Enough codes of each layer are used.", warns=True),
    Check(
        "reconstruction",
        "Vectors are reconstructed about as well as those of the training.",
        warns=True,
    ),
)
def check_limits(quality: SidQuality, trained_error: float | None, limits: Limits) -> Findings:
    """Whether the figures keep the limits.

    Args:
        quality: The figures.
        trained_error: The mean relative error of the tokenizer's training; None where the
            tokenizer does not say.
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
        f"{share:.1%} of the items share their SID; {100 * limit:g}% is the limit "
        "(SID_MAX_COLLISION_SHARE)",
        {"share": share},
    )


def _utilisation(quality: SidQuality, limit: float) -> Finding:
    """A layer cannot use more codes than there are items, so it is measured by what it could."""
    reachable = min(quality.codebook_size, quality.items)
    used = min(usage.used for usage in quality.layers) / reachable
    return Finding(
        used >= limit,
        f"the layer that uses least uses {used:.1%} of the {reachable:,} codes it could; "
        f"{100 * limit:g}% is the limit (SID_MIN_UTILISATION)",
        {"utilisation": used},
    )


def _reconstruction(quality: SidQuality, trained_error: float | None, limit: float) -> Finding:
    """An embedding that the tokenizer does not know shows here first."""
    error = quality.layers[-1].error
    if error is None or trained_error is None:
        return Finding(
            True, "not compared: the tokenizer does not say how well it fitted its training"
        )
    ratio = error.mean / trained_error
    return Finding(
        ratio <= limit,
        f"the mean relative error after the last layer is {error.mean:.3f}, {ratio:.2f} times "
        f"that of the training; {limit:g} is the limit (SID_MAX_ERROR_RATIO)",
        {"error": error.mean, "ratio": ratio},
    )
