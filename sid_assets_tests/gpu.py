"""Marks of tests that need a GPU."""

from collections.abc import Callable

import pytest
import torch


def on_gpu(test: Callable) -> Callable:
    """Mark a test as one for a GPU; without one, it is skipped and says so."""
    skipped = pytest.mark.skipif(
        not torch.cuda.is_available(), reason="torch finds no GPU on this machine"
    )
    return pytest.mark.gpu(skipped(test))
