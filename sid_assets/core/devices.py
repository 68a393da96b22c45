"""The device that torch computes on."""

from sid_assets.core.errors import InputError


def usable_device(name: str | None) -> str:
    """The device of a setting; without one, `cuda` if available, else `cpu`.

    Args:
        name: As torch names it: `cpu`, `cuda`, `cuda:1`, ...; None or "" for the default.

    Raises:
        InputError: torch has no such device here.
    """
    import torch

    if not name:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()
    # AssertionError: torch was built without this kind of device.
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"Device {name!r} cannot be used: {reason}. Use cpu, or set no device (SID_DEVICE, "
            "--device): then cuda is used if torch finds a GPU, else cpu."
        ) from error
    return name
