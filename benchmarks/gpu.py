"""What a GPU can do, and how long work on a device takes."""

import time
from collections.abc import Callable

import torch

BFLOAT16_TFLOPS = {
    "NVIDIA A10": 125,
    "NVIDIA A100 80GB PCIe": 312,
    "NVIDIA A100-PCIE-40GB": 312,
    "NVIDIA A100-SXM4-40GB": 312,
    "NVIDIA A100-SXM4-80GB": 312,
    "NVIDIA B200": 2250,
    "NVIDIA H100 80GB HBM3": 989,
    "NVIDIA H100 PCIe": 756,
    "NVIDIA H200": 989,
    "NVIDIA L4": 121,
    "NVIDIA L40S": 362,
}
"""Peaks of dense matrix products in bfloat16 (TFLOP/s), from the data sheets of the cards, by the
name that torch gives a card."""


def device_name(device: str) -> str:
    """The name of a card, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def share_of_peak(tflops: float, device: str) -> float | None:
    """A speed as a share of the card's peak in bfloat16; None if the peak is not known."""
    peak = BFLOAT16_TFLOPS.get(device_name(device))
    return tflops / peak if peak else None


def seconds_on(device: str, run: Callable[[], object], repeats: int) -> float:
    """Mean wall time of a function that is called a few times in a row, after one more call."""
    run()
    _wait_for(device)
    started = time.perf_counter()
    for _ in range(repeats):
        run()
    _wait_for(device)
    return (time.perf_counter() - started) / repeats


def in_percent(share: float | None) -> str:
    """A share of the peak in words."""
    return "peak unknown" if share is None else f"{share:.0%} of the card's peak"


def _wait_for(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
