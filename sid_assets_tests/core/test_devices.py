"""The device of a setting: one that works here, or a message."""

import pytest
import torch

from sid_assets.core.devices import usable_device
from sid_assets.core.errors import InputError


@pytest.mark.parametrize("name", [None, ""])
def test_without_a_setting_the_gpu_is_used_if_there_is_one(name):
    assert usable_device(name) == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_device_that_works_is_used():
    assert usable_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["nodev", "cuda:x", "cuda:99", "hpu", "meta"])
def test_a_device_that_torch_cannot_use_is_refused(name):
    with pytest.raises(InputError, match=rf"Device '{name}' cannot be used: .+\. Use cpu, or"):
        usable_device(name)
