"""A decoder that tests can train in seconds."""

import pytest

from sid_assets.core.probe import decoder, train


def use_small_decoder(patch: pytest.MonkeyPatch, *, steps: int, between: int) -> None:
    """Let the probe train a small decoder for a few steps.

    Args:
        patch: What undoes it.
        steps: Steps that are made at most, where an epoch has fewer.
        between: Steps between two looks at the held-out rows.
    """
    for name, value in {"WIDTH": 48, "INNER_WIDTH": 96, "HEADS": 2, "LAYERS": 1}.items():
        patch.setattr(decoder, name, value)
    patch.setattr(train, "BATCH_ROWS", 32)
    patch.setattr(train, "EPOCHS", 1)
    patch.setattr(train, "FEWEST_STEPS", steps)
    patch.setattr(train, "STEPS_BETWEEN", (between, between))
    patch.setattr(train, "LEARNING_RATE", 5e-3)
